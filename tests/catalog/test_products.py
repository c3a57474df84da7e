"""The catalog without HTTP."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from orderkit.catalog import products
from orderkit.db import Database
from orderkit.errors import Conflict, Invalid, NotFound
from orderkit.money import MAX_AMOUNT
from tests.factories import make_product

TEA = {"name": "Tea", "unit_price": 100, "currency": "GBP"}


@pytest.mark.unmeasured
@given(st.text(max_size=70))
def test_an_sku_can_be_shown_and_asked_for(text: str) -> None:
    if products.is_sku(text):
        assert 1 <= len(text) <= 64
        assert text == text.strip()
        assert text.isprintable()
        assert not {"/", "\0", "\n", "\ud800"} & set(text)


@pytest.mark.parametrize("sku", ["A", "TEA-001", "gift 20", "85123A", "é", "'\"", "x" * 64, "..."])
def test_these_are_skus(sku: str) -> None:
    assert products.is_sku(sku)


@pytest.mark.parametrize("sku", ["", " ", " A", "A ", "A  B", "A/B", ".", "..", "A\nB", "A\u200bB", "\ud800", "x" * 65])
def test_these_are_not(sku: str) -> None:
    assert not products.is_sku(sku)


def test_everything_wrong_with_a_product_is_told_at_once(database: Database) -> None:
    with database.transaction() as session, pytest.raises(Invalid) as caught:
        products.create(session, sku="a/b", name="x", unit_price=1, currency="GBX")
    assert [where for where, _ in caught.value.pointers] == ["#/sku", "#/currency"]


def test_a_taken_sku_is_a_conflict_that_spoils_nothing(database: Database) -> None:
    make_product(database, sku="TEA", name="Old")
    with pytest.raises(Conflict), database.transaction() as session:
        products.create(session, sku="TEA", **TEA)  # type: ignore[arg-type]
    with database.reading() as session:
        assert products.find(session, "TEA").name == "Old"


def test_what_is_not_there_is_not_found(database: Database) -> None:
    with database.transaction() as session:
        with pytest.raises(NotFound):
            products.find(session, "NONE")
        with pytest.raises(NotFound):
            products.change(session, "NONE", name="x")


@pytest.mark.parametrize("threshold", [-1, MAX_AMOUNT + 1])
def test_the_database_refuses_what_is_no_threshold(database: Database, threshold: int) -> None:
    with pytest.raises(IntegrityError, match="low_stock_at_in_bounds"):
        make_product(database, low_stock_at=threshold)


def test_a_change_leaves_stock_to_inventory(database: Database) -> None:
    make_product(database, sku="TEA", name="Tea", unit_price=100, stock=7)
    with database.transaction() as session:
        changed = products.change(session, "TEA", name="Chai", unit_price=0)
    assert (changed.name, changed.unit_price, changed.stock, changed.currency) == ("Chai", 0, 7, "GBP")


def test_pages_are_by_sku(database: Database) -> None:
    for sku in ("C", "A", "B"):
        make_product(database, sku=sku)
    with database.reading() as session:
        assert [one.sku for one in products.page(session, limit=2)] == ["A", "B"]
        assert [one.sku for one in products.page(session, limit=2, after="B")] == ["C"]
