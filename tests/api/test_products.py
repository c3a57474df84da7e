"""The catalog over HTTP."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlmodel import col, select

from orderkit.auth.models import User
from orderkit.db import Database
from orderkit.inventory.models import StockMovement
from tests.client import Client
from tests.factories import make_product

TEA = {"sku": "TEA-001", "name": "Assam tea, 250 g", "unit_price": 1999, "currency": "GBP", "stock": 5}


def movements(database: Database, sku: str) -> list[tuple[int, str, Any]]:
    with database.reading() as session:
        found = session.scalars(select(StockMovement).where(col(StockMovement.sku) == sku).order_by("id")).all()
    return [(one.delta, one.reason, one.author_id) for one in found]


def test_a_product_is_created_read_and_listed(api: Client, staff: dict[str, str]) -> None:
    made = api.post("/products", TEA, staff)
    assert made.status == 201
    assert made.headers["location"] == "/products/TEA-001"
    assert made.json().items() >= TEA.items()
    assert made.json()["created_at"].endswith("Z")
    assert api.get("/products/TEA-001").json() == made.json()
    assert api.get("/products").json() == {"items": [made.json()], "next_cursor": None}


def test_opening_stock_is_a_movement_by_whoever_made_the_product(
    api: Client, staff: dict[str, str], admin: User, database: Database
) -> None:
    api.post("/products", TEA, staff)
    api.post("/products", TEA | {"sku": "NONE", "stock": 0}, staff)
    assert movements(database, "TEA-001") == [(5, "opening stock", admin.id)]
    assert movements(database, "NONE") == []


def test_an_sku_is_there_once_and_case_counts(api: Client, staff: dict[str, str]) -> None:
    assert api.post("/products", TEA, staff).status == 201
    again = api.post("/products", TEA | {"name": "Other"}, staff)
    assert (again.status, again.code) == (409, "conflict")
    assert api.post("/products", TEA | {"sku": "tea-001"}, staff).status == 201
    assert api.get("/products/TEA-001").json()["name"] == TEA["name"]


def test_of_ten_who_create_one_sku_at_once_one_does(api: Client, staff: dict[str, str], database: Database) -> None:
    with ThreadPoolExecutor(10) as threads:
        statuses = list(threads.map(lambda _: api.post("/products", TEA, staff).status, range(10)))
    assert sorted(statuses) == [201] + [409] * 9
    assert [delta for delta, _, _ in movements(database, "TEA-001")] == [5]


def test_a_product_is_found_where_its_location_says(api: Client, staff: dict[str, str]) -> None:
    for sku in ["A B", "100%", "Ünï", "a+b&c=d?e#f", "🍵", "'", "x" * 64]:
        made = api.post("/products", TEA | {"sku": sku}, staff)
        assert made.status == 201
        assert made.headers["location"].isascii()
        assert api.get(made.headers["location"]).json()["sku"] == sku


def test_an_sku_that_no_one_could_read_or_ask_for_is_refused(api: Client, staff: dict[str, str]) -> None:
    for sku in ["a/b", ".", "..", " a", "a ", "a  b", "a\tb", "a\u202eb", "a\u00a0b", "x" * 65, ""]:
        answer = api.post("/products", TEA | {"sku": sku}, staff)
        assert (answer.status, answer.code, answer.pointers) == (422, "validation_failed", ["#/sku"])


def test_a_currency_is_one_that_can_be_paid_with(api: Client, staff: dict[str, str]) -> None:
    for currency in ["gbp", "GBX", "ZZZ", "XAU", "XXX", "£££"]:
        answer = api.post("/products", TEA | {"currency": currency}, staff)
        assert (answer.status, answer.pointers) == (422, ["#/currency"])


@pytest.mark.parametrize("price", [0, 2**53 - 1])
def test_a_price_may_be_nothing_and_may_be_large(api: Client, staff: dict[str, str], price: int) -> None:
    assert api.post("/products", TEA | {"unit_price": price}, staff).json()["unit_price"] == price


def test_a_change_changes_what_it_names(api: Client, staff: dict[str, str], database: Database) -> None:
    make_product(database, sku="TEA", name="Tea", unit_price=100, stock=3)
    before = api.get("/products/TEA").json()
    cheaper = api.patch("/products/TEA", {"unit_price": 90}, staff)
    assert cheaper.status == 200
    assert cheaper.json() == before | {"unit_price": 90, "updated_at": cheaper.json()["updated_at"]}
    assert cheaper.json()["updated_at"] > before["updated_at"]
    assert api.patch("/products/TEA", {"name": "Chai", "unit_price": 0}, staff).json()["name"] == "Chai"
    assert api.get("/products/TEA").json().items() >= {"name": "Chai", "unit_price": 0, "stock": 3}.items()


def test_a_change_of_nothing_is_refused(api: Client, staff: dict[str, str], database: Database) -> None:
    make_product(database, sku="TEA")
    assert api.patch("/products/TEA", {}, staff).pointers == ["#"]


def test_stock_is_moved_and_every_movement_kept(
    api: Client, staff: dict[str, str], admin: User, database: Database
) -> None:
    make_product(database, sku="TEA", stock=0)
    assert api.post("/products/TEA/stock", {"delta": 10, "reason": "delivery"}, staff).json()["stock"] == 10
    assert api.post("/products/TEA/stock", {"delta": -3, "reason": "broken"}, staff).json()["stock"] == 7
    assert movements(database, "TEA") == [(10, "delivery", admin.id), (-3, "broken", admin.id)]


@pytest.mark.parametrize(("delta", "status"), [(-5, 200), (-6, 409), (2**53 - 1, 409), (0, 422), (2**53, 422)])
def test_stock_stays_countable(api: Client, staff: dict[str, str], database: Database, delta: int, status: int) -> None:
    make_product(database, sku="TEA", stock=5)
    assert api.post("/products/TEA/stock", {"delta": delta, "reason": "count"}, staff).status == status
    assert api.get("/products/TEA").json()["stock"] == (0 if status == 200 else 5)


def test_twenty_movements_at_once_all_count(api: Client, staff: dict[str, str], database: Database) -> None:
    make_product(database, sku="TEA", stock=0)
    with ThreadPoolExecutor(20) as threads:
        answers = threads.map(
            lambda n: api.post("/products/TEA/stock", {"delta": n, "reason": "delivery"}, staff), range(1, 21)
        )
    assert {answer.status for answer in answers} == {200}
    assert api.get("/products/TEA").json()["stock"] == 210


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/products", TEA),
        ("PATCH", "/products/OLD", {"name": "x"}),
        ("POST", "/products/OLD/stock", {"delta": 1, "reason": "x"}),
    ],
)
def test_changing_is_for_staff(
    api: Client, customer: dict[str, str], database: Database, method: str, path: str, body: Any
) -> None:
    make_product(database, sku="OLD", name="Old", stock=1)
    nobody = api.run(api.call(method, path, body))
    assert (nobody.status, nobody.code) == (401, "unauthenticated")
    someone = api.run(api.call(method, path, body, headers=customer))
    assert (someone.status, someone.code) == (403, "forbidden")
    assert [(one["name"], one["stock"]) for one in api.get("/products").json()["items"]] == [("Old", 1)]


def test_what_is_not_there_is_not_found(api: Client, staff: dict[str, str]) -> None:
    assert api.get("/products/NONE").code == "not_found"
    assert api.patch("/products/NONE", {"name": "x"}, staff).code == "not_found"
    assert api.post("/products/NONE/stock", {"delta": 1, "reason": "x"}, staff).code == "not_found"
