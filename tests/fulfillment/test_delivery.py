"""The carrier reports deliveries: late, early, twice or at once, and an order is delivered once or not at all."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlmodel import select

from orderkit import clock
from orderkit.fulfillment import dead_letters, delivery, shipping
from orderkit.fulfillment.carriers import Booked, BookResult, Failed, Rejected
from orderkit.fulfillment.delivery import Outcome
from orderkit.fulfillment.models import Fulfillment
from orderkit.fulfillment.shipping import Claim
from orderkit.ids import new_id
from orderkit.orders import cancellation, snapshot
from orderkit.orders import changes as order_changes
from orderkit.orders.models import OrderHistory
from orderkit.orders.states import OrderStatus
from tests.shop import Shop
from tests.threads import at_once

pytestmark = pytest.mark.integration


def claimed(shop: Shop, fulfillment: Fulfillment) -> Claim:
    with shop.database.transaction() as session:
        won = shipping.claim(session.connection(), fulfillment.id, settings=shop.settings)
    assert won is not None
    return won


def finish(shop: Shop, won: Claim, result: BookResult) -> None:
    with shop.database.transaction() as session:
        shipping.finish(session.connection(), won, result, duration_ms=7, settings=shop.settings)


def shipped(shop: Shop) -> Fulfillment:
    queued = shop.queued()
    finish(shop, claimed(shop, queued), Booked(f"TR{queued.id.hex}"))
    return shop.fulfillment(queued.order_id)


def report(shop: Shop, fulfillment_id: UUID, at: datetime | None = None) -> Outcome:
    with shop.database.transaction() as session:
        return delivery.report(session.connection(), fulfillment_id, at or clock.now(), request_id="r1")


def move(shop: Shop, order_id: UUID, *statuses: OrderStatus) -> None:
    with shop.database.transaction() as session:
        order = snapshot.lock(session.connection(), [order_id])[order_id]
        for status in statuses:
            change = order_changes.Change(order, status, "by hand")
            order_changes.apply(session.connection(), [change], at=clock.now())


def last_row(shop: Shop, order_id: UUID) -> OrderHistory:
    of_one = select(OrderHistory).where(OrderHistory.order_id == order_id)
    with shop.database.reading() as session:
        return max(session.exec(of_one), key=lambda row: row.version)


DELIVERED_ONCE = ["order.paid", "order.shipped", "order.delivered"]


def test_a_shipped_order_is_delivered_when_the_carrier_says_so(shop: Shop) -> None:
    parcel = shipped(shop)
    assert report(shop, parcel.id) == Outcome.DELIVERED

    order = shop.order(parcel.order_id)
    assert order.status == "delivered"
    assert shop.events(order.id) == DELIVERED_ONCE
    row = last_row(shop, order.id)
    assert (row.version, row.from_status, row.to_status) == (order.version, "shipped", "delivered")
    assert (row.reason, row.actor_id, row.request_id) == ("delivered, as the carrier reports", None, "r1")


def test_nothing_is_delivered_by_itself(shop: Shop) -> None:
    parcel = shipped(shop)
    with clock.moved(timedelta(days=60)):
        while shop.relay.turn():
            pass
    assert shop.order(parcel.order_id).status == "shipped"
    assert shop.fulfillment(parcel.order_id).delivered_at is None


def test_a_second_report_changes_nothing(shop: Shop) -> None:
    parcel = shipped(shop)
    report(shop, parcel.id)
    order, row = shop.order(parcel.order_id), shop.fulfillment(parcel.order_id)
    with clock.moved(timedelta(days=1)):
        assert report(shop, parcel.id) == Outcome.KNOWN
    assert (shop.order(parcel.order_id), shop.fulfillment(parcel.order_id)) == (order, row)
    assert shop.events(order.id) == DELIVERED_ONCE


def test_reports_at_once_are_one_delivery(shop: Shop) -> None:
    parcel = shipped(shop)
    outcomes = at_once(*[lambda: report(shop, parcel.id)] * 4)
    assert sorted(outcomes) == ["delivered", "known", "known", "known"]
    assert shop.events(parcel.order_id) == DELIVERED_ONCE


@pytest.mark.parametrize("tries", [0, 1], ids=["in the first booking", "after one that failed"])
def test_a_report_before_the_booking_is_known_delivers_as_soon_as_it_is(shop: Shop, tries: int) -> None:
    queued = shop.queued()
    for _ in range(tries):
        finish(shop, claimed(shop, queued), Failed("timed out"))
    assert report(shop, queued.id) == Outcome.REMEMBERED
    assert shop.order(queued.order_id).status == "paid"

    with clock.moved(timedelta(seconds=60)):
        finish(shop, claimed(shop, queued), Booked("TR1"))
    assert shop.order(queued.order_id).status == "delivered"
    assert shop.history(queued.order_id)[-3:] == ["paid", "shipped", "delivered"]
    assert shop.events(queued.order_id) == DELIVERED_ONCE
    assert report(shop, queued.id) == Outcome.KNOWN


def test_a_report_while_the_worker_books_does_not_make_its_claim_stale(shop: Shop) -> None:
    queued = shop.queued()
    won = claimed(shop, queued)
    before = shop.fulfillment(queued.order_id)
    assert report(shop, queued.id) == Outcome.REMEMBERED
    after = shop.fulfillment(queued.order_id)
    assert (after.token, after.run_at, after.updated_at) == (before.token, before.run_at, before.updated_at)
    finish(shop, won, Booked("TR1"))
    assert shop.order(queued.order_id).status == "delivered"


def test_a_report_and_the_booking_s_answer_at_once_deliver_once(shop: Shop) -> None:
    for _ in range(5):
        queued = shop.queued()
        won = claimed(shop, queued)
        at_once(lambda q=queued: report(shop, q.id), lambda w=won: finish(shop, w, Booked(f"TR{w.order_id.hex}")))  # type: ignore[misc]
        assert shop.order(queued.order_id).status == "delivered"
        assert shop.events(queued.order_id) == DELIVERED_ONCE


def test_a_dead_letter_that_arrived_all_the_same_is_delivered_once_it_is_retried(shop: Shop) -> None:
    queued = shop.queued()
    finish(shop, claimed(shop, queued), Rejected("no"))
    assert report(shop, queued.id) == Outcome.REMEMBERED
    assert shop.fulfillment(queued.order_id).status == "dead"
    assert shop.order(queued.order_id).status == "paid"
    with shop.database.transaction() as session:
        dead_letters.retry(session.connection(), shop.letter().id)
    finish(shop, claimed(shop, queued), Booked("TR1"))
    assert shop.order(queued.order_id).status == "delivered"


def test_an_order_that_was_cancelled_stays_so_and_the_report_is_kept(shop: Shop) -> None:
    queued = shop.queued()
    with shop.database.transaction() as session:
        cancellation.cancel(session.connection(), queued.order_id, reason="changed my mind")
    before = shop.order(queued.order_id)
    assert report(shop, queued.id) == Outcome.RECORDED
    assert shop.order(queued.order_id) == before
    assert shop.fulfillment(queued.order_id).delivered_at is not None


def test_a_report_that_was_remembered_does_not_revive_an_order_that_is_cancelled(shop: Shop) -> None:
    queued = shop.queued()
    won = claimed(shop, queued)
    report(shop, queued.id)
    with shop.database.transaction() as session:
        cancellation.cancel(session.connection(), queued.order_id, reason="changed my mind")
    finish(shop, won, Booked("TR1"))
    assert shop.order(queued.order_id).status == "cancelled"
    assert "order.delivered" not in shop.events(queued.order_id)


@pytest.mark.parametrize("on_the_way", [(), (OrderStatus.DELIVERED,)], ids=["shipped", "delivered by hand"])
def test_an_order_that_was_refunded_stays_so(shop: Shop, on_the_way: tuple[OrderStatus, ...]) -> None:
    parcel = shipped(shop)
    move(shop, parcel.order_id, *on_the_way, OrderStatus.REFUNDED)
    before = shop.order(parcel.order_id)
    assert report(shop, parcel.id) == Outcome.RECORDED
    assert shop.order(parcel.order_id) == before


def test_an_order_that_somebody_marked_delivered_is_not_delivered_again(shop: Shop) -> None:
    parcel = shipped(shop)
    move(shop, parcel.order_id, OrderStatus.DELIVERED)
    assert report(shop, parcel.id) == Outcome.RECORDED
    assert shop.events(parcel.order_id) == DELIVERED_ONCE


def test_the_parcel_of_an_order_that_went_another_way_does_not_deliver_it(shop: Shop) -> None:
    queued = shop.queued()
    with shop.database.transaction() as session:
        row = session.get_one(Fulfillment, queued.id)
        row.status = "cancelled"
        session.add(row)
    move(shop, queued.order_id, OrderStatus.SHIPPED)
    assert report(shop, queued.id) == Outcome.RECORDED
    assert shop.order(queued.order_id).status == "shipped"


def test_a_parcel_that_is_not_ours_is_told_so(shop: Shop) -> None:
    assert report(shop, new_id()) == Outcome.UNKNOWN


def test_the_time_of_delivery_is_the_carrier_s_within_what_can_be(shop: Shop) -> None:
    parcel = shipped(shop)
    with clock.moved(timedelta(days=3)):
        report(shop, parcel.id, clock.now() - timedelta(days=1))
    found = shop.fulfillment(parcel.order_id).delivered_at
    assert found is not None
    assert timedelta(days=1, hours=23) < found - parcel.created_at < timedelta(days=2, hours=1)


@pytest.mark.parametrize("year", [1, 9999])
def test_an_impossible_time_is_taken_for_the_nearest_possible(shop: Shop, year: int) -> None:
    parcel = shipped(shop)
    beyond = datetime.fromisoformat("0001-01-01T00:00:00+14:00" if year == 1 else "9999-12-31T23:59:59-14:00")
    assert report(shop, parcel.id, beyond) == Outcome.DELIVERED
    found = shop.fulfillment(parcel.order_id).delivered_at
    assert found is not None
    assert parcel.created_at <= found <= clock.now()
