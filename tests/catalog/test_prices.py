"""Prices in currencies that are not the product's own."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from orderkit.catalog import prices
from orderkit.catalog.models import Product, ProductPrice
from orderkit.db import Database
from orderkit.errors import Conflict, Invalid, NotFound
from orderkit.money import MAX_AMOUNT
from tests.factories import make_product
from tests.threads import at_once


@pytest.fixture
def shelf(rolled_back: Session) -> Session:
    for sku in ("TEA", "POT"):
        rolled_back.add(Product(sku=sku, name=sku, unit_price=100, currency="GBP", stock=0))
    rolled_back.flush()
    return rolled_back


def test_a_price_is_put_replaced_and_removed(shelf: Session) -> None:
    prices.put(shelf, "TEA", "EUR", 120)
    prices.put(shelf, "TEA", "JPY", 180)
    prices.put(shelf, "TEA", "EUR", 125)
    prices.put(shelf, "POT", "KWD", 1_234)
    assert prices.by_product(shelf.connection(), ["TEA", "POT", "NONE"]) == {
        "TEA": {"EUR": 125, "JPY": 180},
        "POT": {"KWD": 1_234},
    }
    prices.remove(shelf, "TEA", "EUR")
    assert prices.of(shelf.connection(), ["TEA"]) == {("TEA", "JPY"): 180}


@pytest.mark.parametrize("amount", [0, MAX_AMOUNT])
def test_a_price_may_be_nothing_and_may_be_large(shelf: Session, amount: int) -> None:
    prices.put(shelf, "TEA", "EUR", amount)
    assert prices.of(shelf.connection(), ["TEA"]) == {("TEA", "EUR"): amount}


@pytest.mark.parametrize("amount", [-1, MAX_AMOUNT + 1])
def test_the_database_refuses_what_is_no_price(shelf: Session, amount: int) -> None:
    shelf.add(ProductPrice(sku="TEA", currency="EUR", unit_price=amount))
    with pytest.raises(IntegrityError, match="unit_price_in_bounds"):
        shelf.flush()
    shelf.rollback()


def test_its_own_currency_has_one_price_only(shelf: Session) -> None:
    with pytest.raises(Conflict, match="own currency"):
        prices.put(shelf, "TEA", "GBP", 1)
    with pytest.raises(Conflict, match="own currency"):
        prices.remove(shelf, "TEA", "GBP")
    assert prices.of(shelf.connection(), ["TEA"]) == {}


@pytest.mark.parametrize("currency", ["gbp", "EURO", "XAU", ""])
def test_a_price_is_in_a_currency_that_one_can_pay_with(shelf: Session, currency: str) -> None:
    with pytest.raises(Invalid) as caught:
        prices.put(shelf, "TEA", currency, 1)
    assert [where for where, _ in caught.value.pointers] == ["#/currency"]


def test_what_is_not_there_is_not_found(shelf: Session) -> None:
    with pytest.raises(NotFound, match="no product"):
        prices.put(shelf, "NONE", "EUR", 1)
    with pytest.raises(NotFound, match="no product"):
        prices.remove(shelf, "NONE", "EUR")
    with pytest.raises(NotFound, match="TEA has no price in EUR"):
        prices.remove(shelf, "TEA", "EUR")


def test_two_who_price_it_at_once_both_do(database: Database) -> None:
    sku = make_product(database).sku

    def put(amount: int) -> None:
        with database.transaction() as session:
            prices.put(session, sku, "EUR", amount)

    at_once(*[lambda amount=amount: put(amount) for amount in range(8)])
    with database.reading() as session:
        [amount] = prices.of(session.connection(), [sku]).values()
    assert amount in range(8)
