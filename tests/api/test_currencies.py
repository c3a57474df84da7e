"""One product in several currencies, over HTTP: what it costs, what it is ordered in, and what cannot be counted."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import select

from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.money import MAX_AMOUNT
from orderkit.orders.models import Order
from tests.client import Answer, Client
from tests.factories import make_product


@pytest.fixture
def prices(api: Client, staff: dict[str, str]) -> Any:
    """Puts the price of a product in a currency, or takes it away; the answer."""

    def act(sku: str, currency: str, unit_price: Any = None) -> Answer:
        body = None if unit_price is None else {"unit_price": unit_price}
        method = "PUT" if body else "DELETE"
        return api.run(api.call(method, f"/products/{sku}/prices/{currency}", body, headers=staff))

    return act


@pytest.fixture
def order(api: Client, customer: dict[str, str]) -> Any:
    """Orders so many of each SKU."""

    def act(quantities: dict[str, int], **more: Any) -> Answer:
        items = [{"sku": sku, "quantity": quantity} for sku, quantity in quantities.items()]
        body = {"items": items, "payment_method": "pm_card_visa"} | more
        return api.post("/orders", body, customer | {"Idempotency-Key": new_id().hex})

    return act


def test_prices_are_shown_with_the_product(api: Client, prices: Any, database: Database) -> None:
    make_product(database, sku="TEA", unit_price=1999, currency="GBP")
    make_product(database, sku="POT")
    before = api.get("/products/TEA").json()
    assert before["prices"] == {}
    assert prices("TEA", "JPY", 3800).status == 200
    priced = prices("TEA", "EUR", 2299)
    assert priced.json() == before | {
        "prices": {"EUR": 2299, "JPY": 3800},
        "updated_at": priced.json()["updated_at"],
    }
    assert api.get("/products/TEA").json() == priced.json()
    assert [one["prices"] for one in api.get("/products").json()["items"]] == [{}, {"EUR": 2299, "JPY": 3800}]
    assert prices("TEA", "EUR", 0).json()["prices"] == {"EUR": 0, "JPY": 3800}


def test_a_price_is_taken_away_once(api: Client, prices: Any, database: Database) -> None:
    make_product(database, sku="TEA")
    prices("TEA", "EUR", 5)
    gone = prices("TEA", "EUR")
    assert (gone.status, gone.body) == (204, b"")
    assert prices("TEA", "EUR").code == "not_found"
    assert api.get("/products/TEA").json()["prices"] == {}


def test_its_own_currency_is_no_other_price(prices: Any, database: Database) -> None:
    make_product(database, sku="TEA", currency="GBP")
    for answer in (prices("TEA", "GBP", 5), prices("TEA", "GBP")):
        assert (answer.status, answer.code) == (409, "conflict")
        assert "own currency" in answer.json()["detail"]


@pytest.mark.parametrize("currency", ["eur", "EURO", "XAU", "ZZZ"])
def test_a_price_is_in_a_currency_that_one_can_pay_with(prices: Any, database: Database, currency: str) -> None:
    make_product(database, sku="TEA")
    answer = prices("TEA", currency, 5)
    assert (answer.status, answer.pointers) == (422, ["#/currency"])
    assert prices("TEA", currency).status == 404


@pytest.mark.parametrize("unit_price", [-1, MAX_AMOUNT + 1, 1.5, True, "5"])
def test_a_price_is_whole_minor_units(prices: Any, database: Database, unit_price: Any) -> None:
    make_product(database, sku="TEA")
    assert prices("TEA", "EUR", unit_price).pointers == ["#/unit_price"]


def test_what_is_not_there_has_no_price(prices: Any) -> None:
    assert prices("NONE", "EUR", 5).code == "not_found"
    assert prices("NONE", "EUR").code == "not_found"


def test_an_order_is_priced_in_the_currency_that_it_asks_for(prices: Any, order: Any, database: Database) -> None:
    make_product(database, sku="TEA", unit_price=1000, currency="GBP")
    make_product(database, sku="THE", unit_price=7, currency="EUR")
    prices("TEA", "EUR", 1299)
    prices("TEA", "KWD", 4_005)
    placed = order({"TEA": 2, "THE": 1}, currency="EUR", expected_total=2605)
    assert placed.status == 201
    assert (placed.json()["currency"], placed.json()["total"]) == ("EUR", 2605)
    assert [one["unit_price"] for one in placed.json()["items"]] == [1299, 7]
    assert order({"TEA": 1}, currency="KWD").json()["total"] == 4_005
    assert order({"TEA": 1}, currency=None).json()["currency"] == "GBP"
    assert order({"TEA": 1}).json()["total"] == 1000


def test_an_order_keeps_the_price_that_it_was_placed_at(
    api: Client, customer: dict[str, str], prices: Any, order: Any, database: Database
) -> None:
    make_product(database, sku="TEA")
    prices("TEA", "JPY", 500)
    placed = order({"TEA": 1}, currency="JPY").json()
    prices("TEA", "JPY", 600)
    assert order({"TEA": 1}, currency="JPY").json()["total"] == 600
    prices("TEA", "JPY")
    kept = api.get(f"/orders/{placed['id']}", customer).json()
    assert (kept["total"], kept["currency"], kept["items"]) == (500, "JPY", placed["items"])


def test_a_product_without_that_price_is_pointed_at(api: Client, prices: Any, order: Any, database: Database) -> None:
    for sku in ("TEA", "POT"):
        make_product(database, sku=sku, stock=5)
    prices("TEA", "EUR", 5)
    refused = order({"TEA": 1, "POT": 1}, currency="EUR")
    assert (refused.status, refused.code, refused.pointers) == (422, "validation_failed", ["#/items/1/sku"])
    assert refused.json()["errors"][0]["detail"] == "POT has no price in EUR"
    assert [one["stock"] for one in api.get("/products").json()["items"]] == [5, 5]


def test_without_a_currency_mixed_ones_are_refused_as_ever(prices: Any, order: Any, database: Database) -> None:
    make_product(database, sku="TEA", currency="GBP")
    make_product(database, sku="THE", currency="EUR")
    prices("TEA", "EUR", 5)
    assert order({"TEA": 1, "THE": 1}).pointers == ["#/items/1/sku"]


@pytest.mark.parametrize("currency", ["eur", "EURO", "XAU", "ZZZ", "", 5])
def test_an_order_asks_for_a_currency_that_one_can_pay_with(order: Any, database: Database, currency: Any) -> None:
    make_product(database, sku="TEA")
    assert order({"TEA": 1}, currency=currency).pointers == ["#/currency"]


def test_the_expected_total_is_in_the_currency_asked_for(prices: Any, order: Any, database: Database) -> None:
    make_product(database, sku="TEA", unit_price=100)
    prices("TEA", "EUR", 120)
    changed = order({"TEA": 1}, currency="EUR", expected_total=100)
    assert (changed.status, changed.code) == (409, "price_changed")
    assert (changed.json()["total"], changed.json()["currency"]) == (120, "EUR")


def test_a_repeat_in_another_currency_is_another_request(
    api: Client, customer: dict[str, str], prices: Any, database: Database
) -> None:
    make_product(database, sku="TEA")
    prices("TEA", "EUR", 120)
    body = {"items": [{"sku": "TEA", "quantity": 1}], "payment_method": "pm_card_visa"}
    keyed = customer | {"Idempotency-Key": "one"}
    assert api.post("/orders", body | {"currency": "EUR"}, keyed).status == 201
    assert api.post("/orders", body, keyed).code == "idempotency_key_reused"


@pytest.mark.parametrize("currency", [None, "EUR"])
def test_what_would_overflow_is_refused_before_it_does(
    prices: Any, order: Any, database: Database, currency: str | None
) -> None:
    """10,000 times the largest price is more than 64 bits hold."""
    make_product(database, sku="DEAR", unit_price=MAX_AMOUNT, stock=20_000)
    make_product(database, sku="CENT", unit_price=1)
    prices("DEAR", "EUR", MAX_AMOUNT)
    prices("CENT", "EUR", 1)
    asked = {"currency": currency} if currency else {}
    assert order({"CENT": 1, "DEAR": 10_000}, **asked).pointers == ["#/items/1/quantity"]
    assert order({"DEAR": 1, "CENT": 1}, **asked).pointers == ["#/items"]
    most = order({"DEAR": 1}, **asked)
    assert (most.status, most.json()["total"]) == (201, MAX_AMOUNT)
    with database.reading() as session:
        assert session.exec(select(Order.total)).all() == [MAX_AMOUNT]
