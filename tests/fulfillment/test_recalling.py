"""Orders cancelled on their way out of the door: nothing ships, and the carrier forgets what it may have booked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from orderkit import clock
from orderkit.fulfillment import recalling, shipping
from orderkit.fulfillment.carriers import Booked, BookResult, Failed, Recalled, RecallResult, Rejected
from orderkit.fulfillment.models import Fulfillment
from orderkit.fulfillment.recalling import Recall
from orderkit.fulfillment.shipping import Claim
from orderkit.orders import cancellation
from tests.shop import STOCK, Shop

pytestmark = pytest.mark.integration

AFTER_THE_LEASE = timedelta(seconds=11)


def cancel(shop: Shop, fulfillment: Fulfillment, *, relay: bool = True) -> None:
    with shop.database.transaction() as session:
        cancellation.cancel(session.connection(), fulfillment.order_id, reason="changed my mind")
    while relay and shop.relay.turn():
        pass


def claimed(shop: Shop, fulfillment: Fulfillment) -> Claim:
    with shop.database.transaction() as session:
        won = shipping.claim(session.connection(), fulfillment.id, settings=shop.settings)
    assert won is not None
    return won


def finish(shop: Shop, won: Claim, result: BookResult) -> None:
    with shop.database.transaction() as session:
        shipping.finish(session.connection(), won, result, duration_ms=7, settings=shop.settings)


def recall(shop: Shop, fulfillment: Fulfillment) -> Recall | None:
    with shop.database.transaction() as session:
        return recalling.claim(session.connection(), fulfillment.id, settings=shop.settings)


def recalled(shop: Shop, fulfillment: Fulfillment, result: RecallResult) -> bool:
    won = recall(shop, fulfillment)
    assert won is not None
    with shop.database.transaction() as session:
        return recalling.finish(session.connection(), won, result, duration_ms=7, settings=shop.settings)


def test_fulfillment_that_was_never_tried_is_cancelled_without_a_word_to_the_carrier(shop: Shop) -> None:
    queued = shop.queued()
    cancel(shop, queued)

    stopped = shop.fulfillment(queued.order_id)
    assert (stopped.status, stopped.recall_at) == ("cancelled", None)
    assert recall(shop, queued) is None


def test_stopping_twice_is_harmless(shop: Shop) -> None:
    queued = shop.queued()
    cancel(shop, queued)
    before = shop.fulfillment(queued.order_id)
    with shop.database.transaction() as session:
        recalling.stop_orders(session.connection(), [queued.order_id], at=clock.now())

    assert shop.fulfillment(queued.order_id) == before


@pytest.mark.parametrize("relay", [True, False], ids=["heard of it", "not heard of it yet"])
@pytest.mark.parametrize("landed", [Booked("TR1"), Failed("timed out"), Rejected("no")])
def test_booking_that_returns_to_a_cancelled_order_is_taken_back_at_once(
    shop: Shop, landed: BookResult, relay: bool
) -> None:
    queued = shop.queued()
    won = claimed(shop, queued)
    cancel(shop, queued, relay=relay)
    finish(shop, won, landed)

    stopped = shop.fulfillment(queued.order_id)
    assert (stopped.status, stopped.tracking_number) == ("cancelled", None)
    assert shop.order(queued.order_id).status == "cancelled"
    assert recalled(shop, queued, Recalled())
    assert shop.fulfillment(queued.order_id).recall_at is None
    assert len(shop.outcomes(queued.id)) == 2
    assert shop.outcomes(queued.id)[-1] == "recalled"
    assert shop.stock() == STOCK


def test_booking_waits_for_a_cancellation_that_is_being_written(shop: Shop) -> None:
    queued = shop.queued()
    won = claimed(shop, queued)
    with ThreadPoolExecutor(1) as threads:
        with shop.database.transaction() as session:
            cancellation.cancel(session.connection(), queued.order_id, reason="changed my mind")
            booking = threads.submit(finish, shop, won, Booked("TR1"))
            with pytest.raises(TimeoutError):
                booking.result(timeout=0.3)
        booking.result(timeout=5)

    assert shop.fulfillment(queued.order_id).status == "cancelled"
    assert shop.history(queued.order_id) == ["pending", "paid", "cancelled"]


def test_call_in_flight_is_given_its_lease_to_land_before_it_is_taken_back(shop: Shop) -> None:
    queued = shop.queued()
    claimed(shop, queued)
    cancel(shop, queued)

    assert recall(shop, queued) is None
    with clock.moved(AFTER_THE_LEASE):
        assert recalled(shop, queued, Recalled())


def test_booking_that_lands_after_its_recall_is_taken_back_again(shop: Shop) -> None:
    queued = shop.queued()
    stale = claimed(shop, queued)
    cancel(shop, queued)
    with clock.moved(AFTER_THE_LEASE):
        assert recalled(shop, queued, Recalled())
        finish(shop, stale, Booked("TR-LATE"))

        assert shop.order(queued.order_id).status == "cancelled"
        assert recalled(shop, queued, Recalled())


def test_recall_under_way_does_not_answer_for_a_booking_that_lands_meanwhile(shop: Shop) -> None:
    queued = shop.queued()
    stale = claimed(shop, queued)
    cancel(shop, queued)
    with clock.moved(AFTER_THE_LEASE):
        under_way = recall(shop, queued)
        assert under_way is not None
        finish(shop, stale, Booked("TR-LATE"))
        with shop.database.transaction() as session:
            done = recalling.finish(session.connection(), under_way, Recalled(), duration_ms=7, settings=shop.settings)

        assert not done
        assert shop.fulfillment(queued.order_id).recall_at is not None


def test_retry_that_waits_is_cancelled_and_taken_back(shop: Shop) -> None:
    queued = shop.queued()
    finish(shop, claimed(shop, queued), Failed("timed out"))
    cancel(shop, queued)

    assert shop.fulfillment(queued.order_id).status == "cancelled"
    assert recalled(shop, queued, Recalled())


def test_carrier_is_asked_until_it_confirms(shop: Shop) -> None:
    queued = shop.queued()
    finish(shop, claimed(shop, queued), Failed("timed out"))
    cancel(shop, queued)
    for turn in range(12):
        with clock.moved(timedelta(seconds=31) * turn):
            before = clock.now()
            assert not recalled(shop, queued, Failed("status 500"))
            again_at = shop.fulfillment(queued.order_id).recall_at
            assert again_at is not None
            assert again_at <= before + timedelta(seconds=31)
    with clock.moved(timedelta(seconds=31) * 12):
        assert recalled(shop, queued, Recalled())
        assert recall(shop, queued) is None


def test_killed_worker_leaves_the_recall_to_the_next(shop: Shop) -> None:
    queued = shop.queued()
    finish(shop, claimed(shop, queued), Failed("timed out"))
    cancel(shop, queued)
    assert recall(shop, queued) is not None
    assert recall(shop, queued) is None

    with clock.moved(AFTER_THE_LEASE):
        assert recalled(shop, queued, Recalled())


def test_postponed_recall_is_due_again_later(shop: Shop) -> None:
    queued = shop.queued()
    finish(shop, claimed(shop, queued), Failed("timed out"))
    cancel(shop, queued)
    won = recall(shop, queued)
    assert won is not None
    until = clock.now() + timedelta(seconds=2)
    with shop.database.transaction() as session:
        recalling.postpone(session.connection(), won, until)

    assert shop.fulfillment(queued.order_id).recall_at == until


def test_cancelled_order_takes_its_dead_letter_with_it(shop: Shop) -> None:
    queued = shop.queued()
    finish(shop, claimed(shop, queued), Rejected("address_not_served"))
    cancel(shop, queued)

    assert shop.fulfillment(queued.order_id).status == "discarded"
    assert shop.letter().resolution == "discarded"
    assert recalled(shop, queued, Recalled())


def test_shipped_order_is_not_recalled(shop: Shop) -> None:
    queued = shop.queued()
    finish(shop, claimed(shop, queued), Booked("TR1"))
    with shop.database.transaction() as session:
        recalling.stop_orders(session.connection(), [queued.order_id], at=clock.now())

    shipped = shop.fulfillment(queued.order_id)
    assert (shipped.status, shipped.recall_at) == ("succeeded", None)
