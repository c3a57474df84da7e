"""The catalog over HTTP."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from orderkit import clock
from orderkit.auth.models import User
from orderkit.db import Database
from orderkit.events.models import OutboxEvent
from orderkit.inventory.models import StockMovement
from tests.client import Client
from tests.factories import make_product, make_user

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
    changed = {"unit_price": 90, "updated_at": cheaper.json()["updated_at"], "low_stock_at": None}
    assert cheaper.json() == before | changed
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
        ("PATCH", "/products/OLD", {"low_stock_at": 5}),
        ("POST", "/products/OLD/stock", {"delta": 1, "reason": "x"}),
        ("GET", "/products/OLD/movements", None),
        ("PUT", "/products/OLD/prices/EUR", {"unit_price": 1}),
        ("DELETE", "/products/OLD/prices/EUR", None),
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
    assert api.get("/products/NONE/movements", staff).code == "not_found"


# ── low stock ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_threshold_is_set_and_taken_away(api: Client, staff: dict[str, str], database: Database) -> None:
    make_product(database, sku="TEA", name="Tea", stock=3)
    assert api.patch("/products/TEA", {"low_stock_at": 0}, staff).json()["low_stock_at"] == 0
    changed = api.patch("/products/TEA", {"name": "Chai"}, staff).json()
    assert (changed["name"], changed["low_stock_at"]) == ("Chai", 0)
    assert api.patch("/products/TEA", {"low_stock_at": None}, staff).json()["low_stock_at"] is None


def test_a_threshold_is_for_staff_and_nobody_else(api: Client, staff: dict[str, str], database: Database) -> None:
    make_product(database, sku="TEA", stock=3)
    api.patch("/products/TEA", {"low_stock_at": 2}, staff)
    moved = api.post("/products/TEA/stock", {"delta": 1, "reason": "found"}, staff)
    assert moved.json()["low_stock_at"] == 2
    for shown in (api.get("/products/TEA").json(), *api.get("/products").json()["items"]):
        assert "low_stock_at" not in shown


@pytest.mark.parametrize("threshold", [-1, 2**53, True, "5", 5.0])
def test_a_threshold_is_a_number_of_pieces(
    api: Client, staff: dict[str, str], database: Database, threshold: Any
) -> None:
    make_product(database, sku="TEA")
    answer = api.patch("/products/TEA", {"low_stock_at": threshold}, staff)
    assert (answer.status, answer.pointers) == (422, ["#/low_stock_at"])


@pytest.mark.parametrize("field", ["name", "unit_price"])
def test_what_every_product_has_cannot_be_taken_away(
    api: Client, staff: dict[str, str], database: Database, field: str
) -> None:
    make_product(database, sku="TEA")
    assert api.patch("/products/TEA", {field: None}, staff).pointers == [f"#/{field}"]


def test_an_order_that_takes_stock_to_its_threshold_is_told_of(
    api: Client, staff: dict[str, str], customer: dict[str, str], database: Database
) -> None:
    make_product(database, sku="TEA", stock=6)
    api.patch("/products/TEA", {"low_stock_at": 5}, staff)
    ordered = {"items": [{"sku": "TEA", "quantity": 1}], "payment_method": "pm_card_visa"}
    for key in "ab":
        assert api.post("/orders", ordered, customer | {"Idempotency-Key": key}).status == 201
    with database.reading() as session:
        told = session.scalars(select(OutboxEvent).where(OutboxEvent.type == "product.low_stock")).all()
    assert [(one.order_id, one.payload) for one in told] == [(None, {"sku": "TEA", "stock": 5, "threshold": 5})]


# ── movements ────────────────────────────────────────────────────────────────────────────────────────────────────────

MOVE = {"delta": 4, "reason": "delivery"}


def test_movements_are_listed_newest_first(api: Client, staff: dict[str, str], admin: User, database: Database) -> None:
    make_product(database, sku="OTHER", stock=9)
    make_product(database, sku="TEA", stock=5)
    api.post("/products/TEA/stock", MOVE, staff)
    listed = api.get("/products/TEA/movements", staff).json()
    assert [(one["delta"], one["reason"], one["author_id"]) for one in listed["items"]] == [
        (4, "delivery", str(admin.id)),
        (5, "opening stock", None),
    ]
    assert listed["items"][0].keys() == {"id", "delta", "reason", "author_id", "created_at"}
    assert listed["items"][0]["created_at"].endswith("Z")
    assert listed["next_cursor"] is None


def test_movements_of_one_instant_are_paged_without_a_gap_while_more_come(
    api: Client, staff: dict[str, str], database: Database
) -> None:
    for sku in ("TEA", "POT"):
        make_product(database, sku=sku, stock=0)
    at = clock.now()
    with database.transaction() as session:
        session.add_all(StockMovement(sku="TEA", delta=n, reason="count", created_at=at) for n in range(1, 26))
    seen: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        page = api.get(f"/products/TEA/movements?limit=4{cursor and f'&cursor={cursor}'}", staff).json()
        seen += [one["delta"] for one in page["items"]]
        api.post("/products/TEA/stock", {"delta": 100, "reason": "meanwhile"}, staff)
        last, cursor = cursor, page["next_cursor"]
    assert seen == list(range(25, 0, -1))
    assert api.get(f"/products/POT/movements?limit=4&cursor={last}", staff).code == "cursor_invalid"


def test_a_movement_that_is_repeated_under_its_key_moves_once(
    api: Client, staff: dict[str, str], admin: User, database: Database
) -> None:
    make_product(database, sku="TEA", stock=0)
    keyed = staff | {"Idempotency-Key": "one"}
    first = api.post("/products/TEA/stock", MOVE, keyed)
    api.post("/products/TEA/stock", MOVE, staff)
    again = api.post("/products/TEA/stock", dict(reversed(MOVE.items())), keyed)
    assert (first.status, first.json()["stock"]) == (200, 4)
    assert "idempotent-replayed" not in first.headers
    assert (again.status, again.body, again.headers["idempotent-replayed"]) == (200, first.body, "true")
    assert movements(database, "TEA") == [(4, "delivery", admin.id)] * 2


def test_a_key_is_for_one_movement_of_one_product_by_one_person(
    api: Client, staff: dict[str, str], database: Database
) -> None:
    for sku in ("TEA", "POT"):
        make_product(database, sku=sku, stock=0)
    key = {"Idempotency-Key": "one"}
    assert api.post("/products/TEA/stock", MOVE, staff | key).status == 200
    for path, body in [("/products/TEA/stock", MOVE | {"delta": 5}), ("/products/POT/stock", MOVE)]:
        other = api.post(path, body, staff | key)
        assert (other.status, other.code) == (422, "idempotency_key_reused")
    colleague = api.token(make_user(database, role="operations"))
    assert api.post("/products/TEA/stock", MOVE, colleague | key).json()["stock"] == 8
    assert api.get("/products/POT").json()["stock"] == 0


def test_a_refused_movement_does_not_use_its_key_up(api: Client, staff: dict[str, str], database: Database) -> None:
    make_product(database, sku="TEA", stock=0)
    taking, keyed = {"delta": -1, "reason": "broken"}, staff | {"Idempotency-Key": "one"}
    assert api.post("/products/TEA/stock", taking, keyed).code == "conflict"
    assert api.post("/products/NONE/stock", MOVE, keyed).code == "not_found"
    api.post("/products/TEA/stock", MOVE, staff)
    assert api.post("/products/TEA/stock", taking, keyed).json()["stock"] == 3


def test_a_key_that_nobody_could_mean_is_refused(api: Client, staff: dict[str, str], database: Database) -> None:
    make_product(database, sku="TEA", stock=0)
    for headers in [{"Idempotency-Key": ""}, {"Idempotency-Key": '"a'}, {"Idempotency-Key": "x" * 256}]:
        assert api.post("/products/TEA/stock", MOVE, staff | headers).code == "idempotency_key_malformed"
    assert api.get("/products/TEA").json()["stock"] == 0


def test_an_old_key_is_expired_and_says_where_the_movements_are(
    api: Client, staff: dict[str, str], admin: User, database: Database
) -> None:
    make_product(database, sku="A B", stock=0)
    api.post("/products/A%20B/stock", MOVE, staff | {"Idempotency-Key": "one"})
    with clock.moved(timedelta(days=31)):
        late = api.post("/products/A%20B/stock", MOVE, api.token(admin) | {"Idempotency-Key": "one"})
    assert (late.status, late.code) == (409, "idempotency_key_expired")
    assert late.headers["location"] == "/products/A%20B/movements"


def test_one_key_many_times_at_once_moves_once(api: Client, staff: dict[str, str], database: Database) -> None:
    make_product(database, sku="TEA", stock=0)
    keyed = staff | {"Idempotency-Key": "one"}
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: api.post("/products/TEA/stock", MOVE, keyed), range(20)))
    assert {(answer.status, answer.body) for answer in answers} == {(200, answers[0].body)}
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert api.get("/products/TEA").json()["stock"] == 4
