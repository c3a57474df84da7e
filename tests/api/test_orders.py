"""POST /orders, row by row of the contract's table, and reading orders."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import func, select

from orderkit import clock
from orderkit.catalog.models import Product
from orderkit.db import Database
from orderkit.orders.models import Order
from orderkit.payments.models import Payment
from orderkit.redaction import looks_like_card
from tests.client import Answer, Client
from tests.engines import decided_by_the_request
from tests.factories import make_product, make_user

ADDRESS = {"name": "A", "line1": "1 Road", "city": "C", "postal_code": "AB1", "country": "GB"}


@pytest.fixture(autouse=True)
def tea(database: Database) -> None:
    make_product(database, sku="TEA-001", name="Tea", unit_price=1999, stock=10)


def wanted(**changes: Any) -> dict[str, Any]:
    return {"items": [{"sku": "TEA-001", "quantity": 2}], "payment_method": "pm_card_visa"} | changes


def place(
    api: Client, who: dict[str, str], key: str = "k", *, headers: dict[str, str] | None = None, **changes: Any
) -> Answer:
    return api.post("/orders", wanted(**changes), who | {"Idempotency-Key": key} | (headers or {}))


def orders(database: Database) -> int:
    with database.reading() as session:
        return session.exec(select(func.count()).select_from(Order)).one()


def stock(database: Database) -> int:
    with database.reading() as session:
        return session.get_one(Product, "TEA-001").stock


# ── what becomes of an order ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_paid_order_answers_201_with_all_its_members(
    api: Client, customer: dict[str, str], database: Database
) -> None:
    answer = place(api, customer, shipping_address=ADDRESS, note="ring twice", expected_total=3998)
    body = answer.json()
    assert answer.status == 201
    assert answer.headers["location"] == f"/orders/{body['id']}"
    assert answer.headers["etag"] == f'"{body["version"]}"'
    assert "idempotent-replayed" not in answer.headers
    assert (body["status"], body["currency"], body["total"], body["fulfillment"]) == ("paid", "GBP", 3998, None)
    assert body["items"] == [{"sku": "TEA-001", "name": "Tea", "quantity": 2, "unit_price": 1999, "line_total": 3998}]
    assert body["payment"]["status"] == "captured"
    assert body["payment"]["provider_reference"]
    assert body["shipping_address"] == ADDRESS
    assert stock(database) == 8


@pytest.mark.parametrize("method", ["pm_card_declined", "pm_card_insufficient_funds"])
def test_a_declined_order_answers_402_and_is_kept_without_its_stock(
    api: Client, customer: dict[str, str], database: Database, method: str
) -> None:
    answer = place(api, customer, payment_method=method)
    assert (answer.status, answer.code) == (402, "payment_declined")
    kept = api.get(answer.headers["location"], customer).json()
    assert (kept["status"], kept["payment"]["status"]) == ("payment_failed", "declined")
    assert stock(database) == 10


@pytest.mark.parametrize("method", ["pm_card_timeout_before_charge", "pm_card_timeout_after_charge"])
def test_an_order_whose_charge_is_unknown_answers_202(
    api: Client, customer: dict[str, str], database: Database, method: str
) -> None:
    answer = place(api, customer, payment_method=method)
    assert (answer.status, answer.json()["status"], answer.json()["payment"]["status"]) == (202, "pending", "unknown")
    assert stock(database) == 8


def test_errors_of_the_provider_are_tried_again_inline(api: Client, customer: dict[str, str]) -> None:
    assert place(api, customer, payment_method="pm_card_error_then_ok").status == 201


def test_whoever_prefers_not_to_wait_gets_202_at_once_and_stock_decided(
    api: Client, customer: dict[str, str], database: Database
) -> None:
    answer = place(api, customer, headers={"Prefer": "respond-async, wait=10"})
    assert (answer.status, answer.headers["preference-applied"]) == (202, "respond-async")
    assert (answer.json()["status"], answer.json()["payment"]["status"]) == ("pending", "created")
    refused = place(
        api, customer, "other", items=[{"sku": "TEA-001", "quantity": 9}], headers={"Prefer": "respond-async"}
    )
    assert (refused.status, refused.code) == (409, "out_of_stock")
    again = place(api, customer)
    assert (again.status, again.body) == (202, answer.body), "Prefer is no part of the fingerprint"
    with database.reading() as session:
        [payment] = session.exec(select(Payment))
    assert payment.run_at <= clock.now(), "the worker may charge at once"


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"items": [{"sku": "TEA-001", "quantity": 1}, {"sku": "NONE", "quantity": 1}]}, "#/items/1/sku"),
        ({"items": [{"sku": "TEA-001", "quantity": 1}, {"sku": "THE", "quantity": 1}]}, "#/items/1/sku"),
        ({"payment_method": "pm_unknown"}, "#/payment_method"),
        ({"note": "card 4242 4242 4242 4242 please"}, "#/note"),
        ({"items": []}, "#/items"),
        ({"items": [{"sku": "TEA-001", "quantity": 1}] * 101}, "#/items"),
        ({"items": [{"sku": "TEA-001", "quantity": 0}]}, "#/items/0/quantity"),
        ({"items": [{"sku": "TEA-001", "quantity": 10_001}]}, "#/items/0/quantity"),
        ({"items": [{"sku": "TEA-001", "quantity": True}]}, "#/items/0/quantity"),
        ({"items": [{"sku": "TEA-001", "quantity": "1"}]}, "#/items/0/quantity"),
        ({"items": [{"sku": "TEA-001", "quantity": 1.0}]}, "#/items/0/quantity"),
        ({"items": [{"sku": "TEA-001", "quantity": 2**63}]}, "#/items/0/quantity"),
        ({"items": [{"sku": "TEA-001", "quantity": 1, "price": 1}]}, "#/items/0/price"),
        ({"expected_total": -1}, "#/expected_total"),
        ({"status": "paid"}, "#/status"),
        ({"user_id": "somebody"}, "#/user_id"),
        ({"shipping_address": {"name": "A"}}, "#/shipping_address/line1"),
    ],
    ids=str,
)
def test_what_cannot_be_ordered_is_422_with_a_pointer_and_keeps_nothing(
    api: Client, customer: dict[str, str], database: Database, changes: dict[str, Any], pointer: str
) -> None:
    make_product(database, sku="THE", currency="EUR")
    answer = place(api, customer, **changes)
    assert (answer.status, answer.code) == (422, "validation_failed")
    assert pointer in answer.pointers
    assert (orders(database), stock(database)) == (0, 10)


def test_a_price_that_changed_is_409_with_the_new_total_before_stock_is_looked_at(
    api: Client, customer: dict[str, str]
) -> None:
    answer = place(api, customer, items=[{"sku": "TEA-001", "quantity": 11}], expected_total=1)
    assert (answer.status, answer.code) == (409, "price_changed")
    assert answer.json()["total"] == 11 * 1999


def test_too_little_stock_is_409_that_names_the_skus(api: Client, customer: dict[str, str], database: Database) -> None:
    answer = place(api, customer, items=[{"sku": "TEA-001", "quantity": 6}, {"sku": "TEA-001", "quantity": 5}])
    assert (answer.status, answer.code) == (409, "out_of_stock")
    assert answer.json()["skus"] == ["TEA-001"]
    assert (orders(database), stock(database)) == (0, 10)


def test_a_total_beyond_counting_is_refused(api: Client, customer: dict[str, str], database: Database) -> None:
    make_product(database, sku="GOLD", unit_price=2**53 - 1, stock=10)
    answer = place(api, customer, items=[{"sku": "GOLD", "quantity": 2}])
    assert (answer.status, answer.code) == (422, "validation_failed")


def test_nobody_orders_without_a_token(api: Client) -> None:
    answer = place(api, {})
    assert (answer.status, answer.code) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["pm_card_visa", "pm_card_declined", "pm_card_timeout_before_charge"])
def test_a_replayed_key_returns_the_first_response(
    api: Client, customer: dict[str, str], database: Database, method: str
) -> None:
    first = place(api, customer, payment_method=method)
    again = place(api, customer, payment_method=method)
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["idempotent-replayed"] == "true"
    for name in ("content-type", "location", "etag"):
        assert again.headers.get(name) == first.headers.get(name)
    assert orders(database) == 1


def test_a_quoted_key_is_the_same_as_a_bare_one(api: Client, customer: dict[str, str], database: Database) -> None:
    first = place(api, customer, "abc")
    assert place(api, customer, '"abc"').body == first.body
    assert orders(database) == 1


def test_white_space_and_order_of_members_make_no_other_request(
    api: Client, customer: dict[str, str], database: Database
) -> None:
    sent = customer | {"Idempotency-Key": "k", "Content-Type": "application/json; charset=utf-8"}
    one = b'{"items":[{"sku":"TEA-001","quantity":1}],"payment_method":"pm_card_visa"}'
    two = b'{ "payment_method" : "pm_card_visa", "items": [ {"quantity": 1, "sku": "TEA-001"} ] }'
    first, again = (api.run(api.call("POST", "/orders", body, headers=sent)) for body in (one, two))
    assert (first.status, again.body) == (201, first.body)


@decided_by_the_request
@pytest.mark.parametrize("key", ["", '"', '"abc', "a b", "é".encode(), "x" * 256, '""'], ids=repr)
def test_a_malformed_key_is_400(api: Client, customer: dict[str, str], key: str | bytes) -> None:
    answer = api.post("/orders", wanted(), [*customer.items(), ("Idempotency-Key", key)])
    assert (answer.status, answer.code) == (400, "idempotency_key_malformed")


def test_a_missing_key_is_400(api: Client, customer: dict[str, str]) -> None:
    answer = api.post("/orders", wanted(), customer)
    assert (answer.status, answer.code) == (400, "idempotency_key_missing")


def test_a_key_given_twice_is_400(api: Client, customer: dict[str, str]) -> None:
    answer = api.post("/orders", wanted(), [*customer.items(), ("Idempotency-Key", "a"), ("Idempotency-Key", "a")])
    assert (answer.status, answer.code) == (400, "idempotency_key_malformed")


@pytest.mark.parametrize("key", ["a", "x" * 255, "!~,;=", "\\"])
def test_any_visible_ascii_is_a_key(api: Client, customer: dict[str, str], key: str) -> None:
    assert place(api, customer, key).status == 201


def test_another_request_under_a_used_key_is_422(api: Client, customer: dict[str, str]) -> None:
    """draft-ietf-httpapi-idempotency-key-header-07, section 2.7."""
    place(api, customer)
    answer = place(api, customer, note="something else")
    assert (answer.status, answer.json()["code"]) == (422, "idempotency_key_reused")


def test_while_the_first_runs_its_repeat_is_409_and_another_request_422(api: Client, customer: dict[str, str]) -> None:
    headers = customer | {"Idempotency-Key": "k"}

    async def at_once() -> list[Answer]:
        first = asyncio.create_task(
            api.call("POST", "/orders", wanted(payment_method="pm_card_error_then_ok"), headers=headers)
        )
        await asyncio.sleep(0.1)  # the provider's two errors and the pauses after them take 150 ms
        same = await api.call("POST", "/orders", wanted(payment_method="pm_card_error_then_ok"), headers=headers)
        other = await api.call("POST", "/orders", wanted(), headers=headers)
        return [await first, same, other]

    first, same, other = api.run(at_once())
    assert first.status == 201
    assert (same.status, same.code) == (409, "idempotency_key_in_use")
    assert int(same.headers["retry-after"]) >= 1
    assert (other.status, other.code) == (422, "idempotency_key_reused")


def test_one_key_of_two_users_is_two_orders(api: Client, customer: dict[str, str], database: Database) -> None:
    """OWASP API Security Top 10 2023, API1."""
    other = api.token(make_user(database))
    assert place(api, customer).json()["id"] != place(api, other).json()["id"]


def test_an_expired_key_is_409_with_the_place_of_its_order(api: Client, database: Database) -> None:
    user = make_user(database)
    first = place(api, api.token(user))
    with clock.moved(timedelta(days=31)):
        answer = place(api, api.token(user))
    assert (answer.status, answer.code) == (409, "idempotency_key_expired")
    assert answer.headers["location"] == first.headers["location"]


@pytest.mark.parametrize(
    "refused",
    [
        {"items": [{"sku": "TEA-001", "quantity": 11}]},
        {"items": [{"sku": "NONE", "quantity": 1}]},
        {"expected_total": 1},
        {"payment_method": "pm_unknown"},
    ],
    ids=str,
)
def test_a_refusal_does_not_use_its_key_up(api: Client, customer: dict[str, str], refused: dict[str, Any]) -> None:
    assert place(api, customer, **refused).status in (409, 422)
    assert place(api, customer).status == 201


def test_fifty_at_once_with_one_key_are_one_order(api: Client, customer: dict[str, str], database: Database) -> None:
    async def at_once() -> list[Answer]:
        sent = [api.call("POST", "/orders", wanted(), headers=customer | {"Idempotency-Key": "k"}) for _ in range(50)]
        return list(await asyncio.gather(*sent))

    answers = api.run(at_once())
    assert {answer.status for answer in answers} <= {201, 409}
    assert Counter("idempotent-replayed" in answer.headers for answer in answers if answer.status == 201)[False] == 1
    assert (orders(database), stock(database)) == (1, 8)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_order_is_shown_to_its_owner_and_to_staff_and_to_nobody_else(
    api: Client, customer: dict[str, str], staff: dict[str, str], database: Database
) -> None:
    where = place(api, customer).headers["location"]
    assert api.get(where, customer).headers["etag"] == '"2"'
    shown = api.get(where, staff)
    for compact in (shown, api.get("/orders", staff)):
        assert compact.body == json.dumps(compact.json(), separators=(",", ":"), ensure_ascii=False).encode()
    assert (shown.status, shown.json()["number"]) == (200, 1001)
    by_number = api.get("/orders/1001", staff)
    assert (by_number.status, by_number.pointers) == (422, ["#/path/order_id"])
    assert by_number.json()["errors"][0]["detail"] == "is no id, but a number; ask for GET /orders?number=1001"
    stranger = api.get(where, api.token(make_user(database)))
    absent = api.get("/orders/00000000-0000-7000-8000-000000000000", customer)
    assert (stranger.status, stranger.code) == (absent.status, absent.code) == (404, "not_found")


def test_lists_show_ones_own_orders_newest_first_and_staff_everyones(
    api: Client, customer: dict[str, str], staff: dict[str, str], database: Database
) -> None:
    other = api.token(make_user(database))
    mine = [place(api, customer, f"k{n}", items=[{"sku": "TEA-001", "quantity": 1}]).json()["id"] for n in range(3)]
    theirs = place(api, other, items=[{"sku": "TEA-001", "quantity": 1}]).json()["id"]
    assert [order["id"] for order in api.get("/orders", customer).json()["items"]] == mine[::-1]
    assert {order["id"] for order in api.get("/orders", staff).json()["items"]} == {*mine, theirs}


def test_pages_neither_skip_nor_repeat(api: Client, customer: dict[str, str]) -> None:
    placed = [place(api, customer, f"k{n}", items=[{"sku": "TEA-001", "quantity": 1}]).json()["id"] for n in range(7)]
    seen: list[str] = []
    path = "/orders?limit=2"
    while path:
        page = api.get(path, customer).json()
        seen += [order["id"] for order in page["items"]]
        path = f"/orders?limit=2&cursor={page['next_cursor']}" if page["next_cursor"] else ""
    assert seen == placed[::-1]


def test_orders_can_be_listed_by_status(api: Client, customer: dict[str, str]) -> None:
    place(api, customer)
    place(api, customer, "declined", payment_method="pm_card_declined")
    found = api.get("/orders?status=payment_failed", customer).json()["items"]
    assert [order["status"] for order in found] == ["payment_failed"]
    assert api.get("/orders?status=lost", customer).status == 422


def test_a_cursor_of_another_list_or_with_an_edited_letter_is_400(
    api: Client, customer: dict[str, str], staff: dict[str, str]
) -> None:
    for n in range(3):
        place(api, customer, f"k{n}", items=[{"sku": "TEA-001", "quantity": 1}])
    cursor = api.get("/orders?limit=1", customer).json()["next_cursor"]
    edited = cursor[:10] + ("A" if cursor[10] != "A" else "B") + cursor[11:]
    for path, who in (
        (f"/orders?cursor={edited}", customer),
        (f"/orders?cursor={cursor}", staff),
        (f"/orders?status=paid&cursor={cursor}", customer),
        (f"/products?cursor={cursor}", customer),
    ):
        answer = api.get(path, who)
        assert (answer.status, answer.code) == (400, "cursor_invalid"), path


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "1e1", ""])
def test_a_limit_out_of_bounds_is_422(api: Client, customer: dict[str, str], limit: str) -> None:
    assert api.get(f"/orders?limit={limit}", customer).status == 422


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("4242424242424242", True),
        ("pay with 4242-4242-4242-4242.", True),
        ("5500 0055 5555 5559", True),
        ("378282246310005", True),
        ("4242 4242 4242 4242 12/27", True),
        ("2 4242 4242 4242 4242", True),
        ("4242424242424242 123", True),
        ("4242.4242.4242.4242", True),
        ("4242  4242  4242  4242", True),
        ("4242 - 4242", False),
        ("4242\n4242\n4242\n4242", True),
        ("4242\u20134242\u20134242\u20134242", True),
        ("4242_4242_4242_4242", True),
        ("4242/4242/4242/4242", True),
        ("4242\u200b4242\u200d4242\ufeff4242", True),
        ("4242\u200b \u200b4242 4242 4242", True),
        ("from 21/11/2026 to 23/11/2026", False),
        ("unit_1234_5678, gate 2026/11/22", False),
        ("４２４２４２４２４２４２４２４２", True),
        ("07700900123 4222222222222", True),
        ("6212345678901265 and 6212345678901232", True),
        ("4242424242424241", False),  # fails the check digit
        ("order 1234567890123", False),
        ("+44 20 7946 0958", False),
        ("+44 20 7946 0958 or +44 20 7946 0959", False),
        ("4242 4242 4242 / 4242", False),
        ("ring 020 7946 0958 before 18.30, 21.11.2026", False),
        ("42" * 400 + "1", True),
        ("1" * 1000, False),
        ("", False),
    ],
)
def test_card_numbers_are_recognised_by_length_and_check_digit(text: str, found: bool) -> None:
    assert looks_like_card(text) is found
