"""PATCH /orders/{id} and POST /orders/{id}/cancel, as the contract has them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from orderkit.auth.models import User
from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.orders.models import OrderHistory
from orderkit.settings import Settings
from tests.client import Answer, Client
from tests.engines import decided_by_the_request
from tests.factories import PASSWORD, make_user
from tests.shop import PRICE, STOCK, Shop

ADDRESS = {"name": "B", "line1": "2 Road", "city": "D", "country": "GB", "postal_code": "CD2"}
ANY = {"If-Match": "*"}


@pytest.fixture
def shop(database: Database, settings: Settings) -> Shop:
    return Shop(database, settings)


@pytest.fixture
def owner(api: Client, shop: Shop) -> dict[str, str]:
    with shop.database.reading() as session:
        return api.token(session.get_one(User, shop.user_id))


@pytest.fixture
def support(api: Client, database: Database) -> dict[str, str]:
    return api.token(make_user(database, role="support", password=PASSWORD))


def patch(api: Client, order: Any, body: Any, who: dict[str, str], seen: str | None = "*") -> Answer:
    return api.patch(f"/orders/{order.id}", body, who | ({} if seen is None else {"If-Match": seen}))


def cancel(api: Client, order: Any, who: dict[str, str] | None, body: Any = None) -> Answer:
    return api.post(f"/orders/{order.id}/cancel", body, who)


# ── If-Match ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seen", ['"2"', "*", '"1", "2"', ' "7" ,"2",', '"2","2"'])
def test_a_change_of_the_version_that_was_seen_is_made_and_has_a_new_etag(
    api: Client, shop: Shop, support: dict[str, str], seen: str
) -> None:
    answer = patch(api, shop.paid(), {"staff_note": "gift"}, support, seen)
    body = answer.json()
    assert (answer.status, answer.headers["etag"]) == (200, '"3"')
    assert (body["version"], body["staff_note"], body["status"]) == (3, "gift", "paid")


@pytest.mark.parametrize("seen", ['"1"', '"3"', 'W/"2"', "2", '"2', '"02"', '""', '"two"', '*, "2"', 'w/"2"', '"2" x'])
def test_a_change_of_another_version_is_refused_before_it_is_looked_at(
    api: Client, shop: Shop, support: dict[str, str], seen: str
) -> None:
    for body in ({"staff_note": "gift"}, {"status": "refunded"}, {"status": "delivered"}):
        order = shop.paid()
        answer = patch(api, order, body, support, seen)
        assert (answer.status, answer.code, answer.headers["etag"]) == (412, "precondition_failed", '"2"')
        assert shop.order(order.id).version == 2


@pytest.mark.parametrize("seen", ["2", 'W/"2"', '"2'])
def test_a_tag_without_its_quotes_is_told_so(api: Client, shop: Shop, support: dict[str, str], seen: str) -> None:
    refused = patch(api, shop.paid(), {"staff_note": "gift"}, support, seen)
    assert refused.json()["detail"].endswith("""in quotes and without W/; this order's is "2\"""")


@pytest.mark.parametrize("status", ["shipped", "delivered", "cancelled"])
def test_a_status_that_the_order_has_already_is_no_change(
    api: Client, shop: Shop, support: dict[str, str], status: str
) -> None:
    """Whoever says which version they saw hears of a repeat that it is another by now, as of any change."""
    order = shop.paid()
    if status == "delivered":
        patch(api, order, {"status": "shipped"}, support)
    before = f'"{shop.order(order.id).version}"'
    first = patch(api, order, {"status": status}, support, before)
    assert (first.status, first.json()["status"]) == (200, status)
    for seen in ("*", first.headers["etag"]):
        again = patch(api, order, {"status": status}, support, seen)
        assert (again.status, again.json(), again.headers["etag"]) == (
            200,
            api.get(f"/orders/{order.id}", support).json(),
            first.headers["etag"],
        )
    stale = patch(api, order, {"status": status}, support, before)
    assert (stale.status, stale.code) == (412, "precondition_failed")
    noted = patch(api, order, {"status": status, "staff_note": "gift"}, support)
    assert (noted.status, noted.json()["staff_note"], noted.json()["status"]) == (200, "gift", status)


def test_a_status_that_nobody_gives_by_hand_is_a_conflict_also_if_the_order_has_it(
    api: Client, shop: Shop, support: dict[str, str]
) -> None:
    refused = patch(api, shop.paid(), {"status": "paid"}, support)
    assert (refused.status, refused.code) == (409, "illegal_transition")


@pytest.mark.parametrize("seen", [None, "", " "])
def test_a_change_without_a_version_is_refused(
    api: Client, shop: Shop, support: dict[str, str], seen: str | None
) -> None:
    answer = patch(api, shop.paid(), {"status": "shipped"}, support, seen)
    assert (answer.status, answer.code) == (428, "precondition_required")


def test_of_many_changes_of_one_version_at_once_one_is_made(api: Client, shop: Shop, support: dict[str, str]) -> None:
    order = shop.paid()

    async def ask_at_once() -> list[int]:
        path, headers = f"/orders/{order.id}", support | {"If-Match": '"2"'}
        changes = ({"staff_note": f"note {n}"} for n in range(8))
        answers = await asyncio.gather(*(api.call("PATCH", path, change, headers=headers) for change in changes))
        return [answer.status for answer in answers]

    assert Counter(api.run(ask_at_once())) == {200: 1, 412: 7}


# ── What may be changed ──────────────────────────────────────────────────────────────────────────────────────────────


def test_an_order_goes_by_hand_from_paid_to_delivered(api: Client, shop: Shop, support: dict[str, str]) -> None:
    order = shop.paid()
    shipped = patch(api, order, {"status": "shipped"}, support, '"2"')
    assert (shipped.status, shipped.json()["status"]) == (200, "shipped")
    assert shipped.json()["fulfillment"] == {"status": "cancelled", "tracking_number": None}
    delivered = patch(api, order, {"status": "delivered"}, support, shipped.headers["etag"])
    assert (delivered.json()["status"], delivered.headers["etag"]) == ("delivered", '"4"')


def test_cancelled_by_patch_is_the_act_of_cancelling(api: Client, shop: Shop, support: dict[str, str]) -> None:
    order = shop.paid(quantity=2)
    for _ in range(2):
        answer = patch(api, order, {"status": "cancelled"}, support)
        assert (answer.status, answer.json()["status"], answer.json()["version"]) == (200, "cancelled", 3)
    assert (shop.stock(), [refund.amount for refund in shop.refunds()]) == (STOCK, [2 * PRICE])


@pytest.mark.parametrize("status", ["pending", "paid", "payment_failed", "refunded", "delivered"])
def test_a_status_that_the_order_cannot_have_next_is_a_conflict(
    api: Client, shop: Shop, support: dict[str, str], status: str
) -> None:
    answer = patch(api, shop.paid(), {"status": status}, support)
    assert (answer.status, answer.code, answer.json()["status_now"]) == (409, "illegal_transition", "paid")


@decided_by_the_request
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#"),
        ({"status": "lost"}, "#/status"),
        ({"status": None}, "#/status"),
        ({"status": 1}, "#/status"),
        ({"shipping_address": None}, "#/shipping_address"),
        ({"shipping_address": ADDRESS | {"city": ""}}, "#/shipping_address/city"),
        ({"staff_note": "n" * 1001}, "#/staff_note"),
        ({"staff_note": "card 4111 1111 1111 1111"}, "#/staff_note"),
        ({"total": 1}, "#/total"),
    ],
)
def test_what_cannot_be_taken_is_pointed_at(
    api: Client, shop: Shop, support: dict[str, str], body: Any, pointer: str
) -> None:
    order = shop.paid()
    answer = patch(api, order, body, support)
    assert (answer.status, answer.code, answer.pointers) == (422, "validation_failed", [pointer])
    assert shop.order(order.id).version == 2


def test_the_address_can_be_changed_before_a_carrier_was_asked(
    api: Client, shop: Shop, support: dict[str, str], owner: dict[str, str]
) -> None:
    order = shop.paid()
    assert patch(api, order, {"shipping_address": ADDRESS}, support).json()["shipping_address"] == ADDRESS
    assert api.get(f"/orders/{order.id}", owner).json()["shipping_address"] == ADDRESS
    letter = shop.dead()
    refused = api.patch(f"/orders/{letter.order_id}", {"shipping_address": ADDRESS}, support | ANY)
    assert (refused.status, refused.code) == (409, "conflict")


def test_a_staff_note_is_for_staff_and_null_takes_it_away(
    api: Client, shop: Shop, support: dict[str, str], owner: dict[str, str]
) -> None:
    order = shop.paid()
    patch(api, order, {"staff_note": "gift"}, support)
    assert "staff_note" not in api.get(f"/orders/{order.id}", owner).json()
    assert "staff_note" not in cancel(api, order, owner).json()
    assert patch(api, order, {"staff_note": None}, support).json()["staff_note"] is None


def test_changing_orders_is_for_staff(api: Client, shop: Shop, owner: dict[str, str], support: dict[str, str]) -> None:
    order = shop.paid()
    assert patch(api, order, {"staff_note": "x"}, owner).status == 403
    assert patch(api, order, {"staff_note": "x"}, {}).status == 401
    missing = api.patch(f"/orders/{new_id()}", {"staff_note": "x"}, support | ANY)
    assert (missing.status, missing.code) == (404, "not_found")


# ── Cancelling ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("body", [None, {}, {"reason": "changed my mind"}, {"reason": None}])
def test_the_owner_cancels_before_shipment_and_hears_the_same_again(
    api: Client, shop: Shop, owner: dict[str, str], body: Any
) -> None:
    for order in (shop.place(), shop.paid()):
        first, again = (cancel(api, order, owner, body) for _ in range(2))
        assert (first.status, first.json()["status"]) == (200, "cancelled")
        assert first.headers["etag"] == f'"{first.json()["version"]}"'
        assert (again.status, again.json()) == (200, first.json())
    assert shop.stock() == STOCK


def test_many_cancels_at_once_are_one(api: Client, shop: Shop, owner: dict[str, str]) -> None:
    order = shop.paid()

    async def ask_at_once() -> list[int]:
        path = f"/orders/{order.id}/cancel"
        answers = await asyncio.gather(*(api.call("POST", path, headers=owner) for _ in range(8)))
        return [answer.status for answer in answers]

    assert Counter(api.run(ask_at_once())) == {200: 8}
    assert (shop.stock(), len(shop.refunds()), shop.order(order.id).version) == (STOCK, 1, 3)


def test_what_has_been_shipped_is_not_cancelled(
    api: Client, shop: Shop, owner: dict[str, str], support: dict[str, str]
) -> None:
    order = shop.paid()
    patch(api, order, {"status": "shipped"}, support)
    for who in (owner, support):
        answer = cancel(api, order, who)
        assert (answer.status, answer.code) == (409, "illegal_transition")


def test_orders_of_others_are_cancelled_by_staff_only(
    api: Client, shop: Shop, customer: dict[str, str], support: dict[str, str]
) -> None:
    order = shop.paid()
    refused, absent = cancel(api, order, customer), api.post(f"/orders/{new_id()}/cancel", None, customer)
    assert (refused.status, refused.code, absent.status) == (404, "not_found", 404)
    assert refused.json()["detail"].replace(str(order.id), "") == absent.json()["detail"].rsplit(" ", 1)[0] + " "
    assert cancel(api, order, None).status == 401
    assert cancel(api, order, support).status == 200


@pytest.mark.parametrize(
    "body", [{"reason": ""}, {"reason": "4111111111111111"}, {"reason": "r" * 201}, {"why": "x"}, []]
)
def test_a_reason_that_cannot_be_taken_cancels_nothing(
    api: Client, shop: Shop, owner: dict[str, str], body: Any
) -> None:
    order = shop.paid()
    assert cancel(api, order, owner, body).status == 422
    assert shop.order(order.id).status == "paid"


def test_a_body_that_is_no_json_cancels_nothing(api: Client, shop: Shop, owner: dict[str, str]) -> None:
    order = shop.paid()
    answer = cancel(api, order, owner | {"Content-Type": "application/json"}, b"{")
    assert (answer.status, answer.code) == (400, "body_malformed")
    assert cancel(api, order, owner, b"{}").status == 415


def test_history_says_who_cancelled_and_in_which_request(
    api: Client, shop: Shop, owner: dict[str, str], support: dict[str, str]
) -> None:
    mine, theirs = shop.paid(), shop.paid()
    asked = [cancel(api, mine, owner, {"reason": "late"}), patch(api, theirs, {"status": "cancelled"}, support)]
    rows = [row for row in shop.all(OrderHistory) if row.to_status == "cancelled"]
    rows.sort(key=lambda row: row.order_id != mine.id)
    assert [row.request_id for row in rows] == [answer.headers["x-request-id"] for answer in asked]
    assert [(row.from_status, row.reason, row.actor_id == shop.user_id) for row in rows] == [
        ("paid", "late", True),
        ("paid", "no reason given", False),
    ]
