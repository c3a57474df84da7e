"""GET /orders/{id}/timeline: the whole story, in order, to those whom it concerns and with no more than they may know."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, get_args

import pytest

from orderkit import clock
from orderkit.api import telling
from orderkit.auth.models import User
from orderkit.db import Database
from orderkit.fulfillment import by_hand, dead_letters, delivery, shipping
from orderkit.fulfillment.by_hand import Wanted
from orderkit.fulfillment.carriers import Booked, BookResult, Failed
from orderkit.fulfillment.models import Fulfillment
from orderkit.ids import new_id
from orderkit.orders import cancellation, editing, refunds
from orderkit.orders.models import OrderHistory
from orderkit.orders.settlement import Settle, Settlement
from orderkit.orders.states import OrderStatus
from orderkit.payments.charging import Attempt, Outcome
from orderkit.payments.gateways import Captured, ChargeResult, Refunded, Unknown
from orderkit.settings import Settings
from tests.client import Client
from tests.factories import PASSWORD, make_user
from tests.shop import Shop

NOTE = "a note that is for staff"
NAME = "Grace of the desk"


@pytest.fixture
def shop(database: Database, settings: Settings) -> Shop:
    return Shop(database, settings)


@pytest.fixture
def owner(api: Client, shop: Shop) -> dict[str, str]:
    with shop.database.reading() as session:
        return api.token(session.get_one(User, shop.user_id))


@pytest.fixture
def clerk(database: Database) -> User:
    return make_user(database, role="support", name=NAME, password=PASSWORD)


@pytest.fixture
def support(api: Client, clerk: User) -> dict[str, str]:
    return api.token(clerk)


def ship(shop: Shop, fulfillment: Fulfillment, result: BookResult) -> None:
    with shop.database.transaction() as session:
        claim = shipping.claim(session.connection(), fulfillment.id, settings=shop.settings)
    assert claim is not None
    with shop.database.transaction() as session:
        shipping.finish(session.connection(), claim, result, duration_ms=7, settings=shop.settings)


def change(shop: Shop, order_id: Any, **wanted: Any) -> None:
    author = wanted.pop("actor_id", None)
    with shop.database.transaction() as session:
        by_hand.change(session.connection(), order_id, Wanted(**wanted), seen=None, actor_id=author, request_id="r-7")


def story(api: Client, order_id: Any, who: dict[str, str], limit: int = 100) -> list[dict[str, Any]]:
    return list(_items(api, order_id, who, limit))


def _items(api: Client, order_id: Any, who: dict[str, str], limit: int) -> Iterator[dict[str, Any]]:
    cursor: str | None = ""
    while cursor is not None:
        page = api.get(f"/orders/{order_id}/timeline?limit={limit}" + (cursor and f"&cursor={cursor}"), who)
        assert page.status == 200, page
        body = page.json()
        assert len(body["items"]) <= limit
        yield from body["items"]
        cursor = body["next_cursor"]


def eventful(shop: Shop, clerk: User) -> Any:
    """The id of an order that was asked about twice, given up, retried, edited, shipped, refunded in part and delivered."""
    placed = shop.place()
    settlement = Settlement(shop.database, shop.settings)
    calls: list[tuple[int, Outcome, str, ChargeResult]] = [
        (1, "unknown", "timed out", Unknown("timed out")),
        (2, "captured", "ch_1", Captured("ch_1")),
    ]
    for number, outcome, said, result in calls:
        attempt = Attempt(number, "charge", outcome, said, clock.now(), 12)
        settlement.settle([Settle(placed.id, result, [attempt], request_id="r-1")])
    while shop.relay.turn():
        pass
    change(shop, placed.id, notes=True, staff_note=NOTE, actor_id=clerk.id)
    change(shop, placed.id, address={"name": "B", "country": "GB"}, actor_id=clerk.id)
    queued = shop.fulfillment(placed.id)
    for _ in range(shop.settings.carrier_attempts):
        ship(shop, queued, Failed("status 500"))
        clock_on(shop, queued)
    with shop.database.transaction() as session:
        dead_letters.retry(session.connection(), shop.letter().id)
    ship(shop, queued, Booked("TR1"))
    with shop.database.transaction() as session:
        asked = refunds.request(
            session.connection(), placed.id, amount=100, reason="a dented tin", actor_id=clerk.id, request_id="r-8"
        )
    with shop.database.transaction() as session:
        due = refunds.claim(session.connection(), asked.id, settings=shop.settings)
    assert due is not None
    paid = Attempt(1, "refund", "refunded", "re_1", clock.now(), 3)
    with shop.database.transaction() as session:
        refunds.settle(session.connection(), due, Refunded("re_1"), [paid], settings=shop.settings)
    with shop.database.transaction() as session:
        delivery.report(session.connection(), queued.id, clock.now())
    return placed.id


def clock_on(shop: Shop, queued: Fulfillment) -> None:
    """Makes what is to be retried later due."""
    with shop.database.transaction() as session:
        row = session.get_one(Fulfillment, queued.id)
        row.run_at = clock.now()
        session.add(row)


def test_the_story_is_whole_in_order_and_can_be_read_aloud(
    api: Client, shop: Shop, support: dict[str, str], clerk: User
) -> None:
    items = story(api, eventful(shop, clerk), support)
    assert [one["what"] for one in items] == [
        "The order was placed by the customer.",
        "The payment provider was asked for the money and gave no answer: timed out.",
        "The payment provider took the money: ch_1.",
        "The order was paid.",
        "The parcel was put in the queue to be booked.",
        f"The order was edited by {NAME} (staff): staff note changed.",
        f"The order was edited by {NAME} (staff): shipping address changed.",
        *["The carrier did not answer, or failed: status 500."] * 5,
        "Shipping was given up after 5 attempts: status 500.",
        "Somebody had the parcel queued again.",
        "The carrier took the parcel: TR1.",
        "The order was shipped: booked as TR1.",
        f"A refund of 1.00 GBP was asked for by {NAME} (staff): a dented tin.",
        "The payment provider paid the refund: re_1.",
        "The refund of 1.00 GBP was paid.",
        "The carrier reported that the parcel was delivered.",
        "The order was delivered.",
    ]
    times = [datetime.fromisoformat(one["at"]) for one in items]
    assert times == sorted(times)
    assert all(time.utcoffset() == timedelta(0) for time in times)
    assert {one["kind"] for one in items} == {
        "status",
        "edit",
        "payment_attempt",
        "refund",
        "fulfillment",
        "fulfillment_attempt",
        "delivery",
        "dead_letter",
    }


def test_money_that_came_after_a_cancel_and_its_refund_are_told_once_each(
    api: Client, shop: Shop, owner: dict[str, str]
) -> None:
    order = shop.place()
    with shop.database.transaction() as session:
        cancellation.cancel(session.connection(), order.id, reason="changed my mind")
    Settlement(shop.database, shop.settings).settle([Settle(order.id, Captured(f"ch_{order.id.hex}"))])
    [refund] = shop.refunds()
    with shop.database.transaction() as session:
        due = refunds.claim(session.connection(), refund.id, settings=shop.settings)
        assert due is not None
        refunds.settle(session.connection(), due, Refunded("re_1"), [], settings=shop.settings)
    items = story(api, order.id, owner)
    told = [one["what"] for one in items]
    assert told[:2] == ["The order was placed by the customer.", "The order was cancelled: changed my mind."]
    assert all(one["detail"]["from"] != one["detail"]["to"] for one in items if one["kind"] == "status")
    assert sorted(told[2:]) == [
        "A refund of 5.00 GBP was asked for: the order was cancelled.",
        "The payment came after the order was cancelled.",
        "The refund of 5.00 GBP was paid.",
    ]


def test_every_change_says_from_what_to_what_by_whom_why_and_in_which_request(
    api: Client, shop: Shop, support: dict[str, str], clerk: User
) -> None:
    order = shop.paid()
    change(shop, order.id, status=OrderStatus.SHIPPED, actor_id=clerk.id)
    item = story(api, order.id, support)[-2]
    assert item["what"] == f"The order was shipped, by hand, by {NAME} (staff)."
    assert item["detail"] == {"from": "paid", "to": "shipped", "version": 3, "reason": "by hand", "request_id": "r-7"}
    assert item["actor"] == {"kind": "staff", "id": str(clerk.id), "name": NAME}
    assert story(api, order.id, support)[-1]["what"] == "No carrier was asked to take the parcel."


def test_the_owner_hears_all_but_who_of_the_staff_and_what_they_note(
    api: Client, shop: Shop, owner: dict[str, str], support: dict[str, str], clerk: User
) -> None:
    order_id = eventful(shop, clerk)
    heard, told = story(api, order_id, owner), story(api, order_id, support)
    assert len(heard) == len(told) - 1
    for secret in (NAME, str(clerk.id), "note", NOTE):
        assert secret not in str(heard)
    assert NOTE not in str(told)
    assert {one["actor"]["kind"] for one in heard} == {"customer", "staff", "orderkit"}
    assert "The order was edited by staff: shipping address changed." in [one["what"] for one in heard]


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_pages_neither_skip_nor_repeat(
    api: Client, shop: Shop, support: dict[str, str], clerk: User, limit: int
) -> None:
    order_id = eventful(shop, clerk)
    assert story(api, order_id, support, limit) == story(api, order_id, support)


def test_pages_neither_skip_nor_repeat_what_happened_at_one_instant(
    api: Client, shop: Shop, support: dict[str, str], clerk: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = clock.now() + timedelta(seconds=30)
    placed = shop.paid(quantity=2)
    for module in (by_hand, refunds, cancellation, editing):
        monkeypatch.setattr(module, "now", lambda: at)
    for n in range(12):
        change(shop, placed.id, notes=True, staff_note=f"note {n}", actor_id=clerk.id)
    for _ in range(3):
        with shop.database.transaction() as session:
            refunds.request(session.connection(), placed.id, amount=10, reason="again")
    with shop.database.transaction() as session:
        cancellation.cancel(session.connection(), placed.id)
    whole = story(api, placed.id, support)
    assert len([one for one in whole if one["kind"] == "refund"]) == 4
    assert len({str(one) for one in whole}) == len(whole)
    for limit in (1, 2, 5):
        assert story(api, placed.id, support, limit) == whole


def test_a_cursor_fits_one_story_and_one_reader(
    api: Client, shop: Shop, owner: dict[str, str], support: dict[str, str]
) -> None:
    one, other = shop.paid(), shop.paid()
    cursor = api.get(f"/orders/{one.id}/timeline?limit=1", support).json()["next_cursor"]
    for order, who in ((other, support), (one, owner)):
        refused = api.get(f"/orders/{order.id}/timeline?limit=1&cursor={cursor}", who)
        assert (refused.status, refused.code) == (400, "cursor_invalid")


def test_the_story_of_an_order_is_not_for_strangers(api: Client, shop: Shop, customer: dict[str, str]) -> None:
    order = shop.paid()
    for path in (f"/orders/{order.id}/timeline", f"/orders/{new_id()}/timeline"):
        refused = api.get(path, customer)
        assert (refused.status, refused.code) == (404, "not_found")
    assert api.get(f"/orders/{order.id}/timeline").status == 401


def test_a_cancel_says_who_and_why(
    api: Client, shop: Shop, owner: dict[str, str], support: dict[str, str], clerk: User
) -> None:
    mine, theirs = shop.paid(), shop.paid()
    api.post(f"/orders/{mine.id}/cancel", {"reason": "changed my mind"}, owner)
    api.post(f"/orders/{theirs.id}/cancel", None, support)
    whats = [[one["what"] for one in story(api, order.id, owner)][-2] for order in (mine, theirs)]
    assert whats == [
        "The order was cancelled by the customer: changed my mind.",
        "The order was cancelled by staff: no reason given.",
    ]


def test_an_order_from_elsewhere_did_not_go_through_what_it_says(
    api: Client, shop: Shop, support: dict[str, str]
) -> None:
    order = shop.paid()
    with shop.database.transaction() as session:
        row = session.get_one(OrderHistory, (order.id, 1))
        row.to_status, row.reason = "payment_failed", "imported"
        session.add(row)
    [came, *_] = story(api, order.id, support)
    assert came["what"] == "The order was brought in from elsewhere as payment failed: imported."


@pytest.mark.unit
def test_every_status_and_every_outcome_has_its_sentence() -> None:
    assert set(telling.BECAME) == set(OrderStatus)
    assert {outcome for _, outcome in telling.CALLS} == set(get_args(Outcome))
