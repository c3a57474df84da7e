"""A fulfillment's way to the carrier, whatever dies or hangs on the way."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest

from orderkit import clock
from orderkit.fulfillment import shipping
from orderkit.fulfillment.carriers import Booked, BookResult, Failed, Rejected
from orderkit.fulfillment.models import DeadLetter, Fulfillment, FulfillmentStatus
from orderkit.fulfillment.shipping import Claim
from orderkit.orders import cancellation
from orderkit.settings import Settings
from tests.shop import Shop

pytestmark = pytest.mark.integration

AFTER_THE_LEASE = timedelta(seconds=11)
AFTER_ANY_RETRY = timedelta(seconds=31)


def claim(shop: Shop, fulfillment_id: UUID) -> Claim | None:
    with shop.database.transaction() as session:
        return shipping.claim(session.connection(), fulfillment_id, settings=shop.settings)


def claimed(shop: Shop, fulfillment: Fulfillment) -> Claim:
    won = claim(shop, fulfillment.id)
    assert won is not None
    return won


def finish(shop: Shop, won: Claim, result: BookResult) -> FulfillmentStatus | None:
    with shop.database.transaction() as session:
        return shipping.finish(session.connection(), won, result, duration_ms=7, settings=shop.settings)


def test_booked_parcel_ships_its_order_with_history_event_and_tracking_number(shop: Shop) -> None:
    queued = shop.queued()

    assert finish(shop, claimed(shop, queued), Booked("TR1")) == FulfillmentStatus.SUCCEEDED

    shipped, order = shop.fulfillment(queued.order_id), shop.order(queued.order_id)
    assert (shipped.status, shipped.tracking_number, shipped.attempts) == ("succeeded", "TR1", 1)
    assert (order.status, order.version) == ("shipped", 3)
    assert shop.history(order.id) == ["pending", "paid", "shipped"]
    assert shop.events(order.id) == ["order.paid", "order.shipped"]
    assert [(one.outcome, one.detail, one.duration_ms) for one in shop.attempts(queued.id)] == [("booked", "TR1", 7)]


def test_order_gets_one_fulfillment_however_often_it_is_queued(shop: Shop) -> None:
    queued = shop.queued()
    for _ in range(2):
        with shop.database.transaction() as session:
            shipping.enqueue(session.connection(), [queued.order_id], at=clock.now())

    assert [one.id for one in shop.all(Fulfillment)] == [queued.id]


def test_claim_of_an_unknown_fulfillment_finds_nothing(shop: Shop) -> None:
    assert claim(shop, shop.user_id) is None


def test_two_workers_claim_at_once_and_one_gets_it(shop: Shop) -> None:
    queued = shop.queued()
    barrier = threading.Barrier(4)

    def race(_: int) -> Claim | None:
        barrier.wait()
        return claim(shop, queued.id)

    with ThreadPoolExecutor(4) as threads:
        won = [one for one in threads.map(race, range(4)) if one is not None]

    assert [one.token for one in won] == [1]


def test_fulfillment_of_a_killed_worker_is_taken_over_when_its_lease_ends(shop: Shop) -> None:
    queued = shop.queued()
    dead = claimed(shop, queued)
    assert claim(shop, queued.id) is None

    with clock.moved(AFTER_THE_LEASE):
        taken_over = claimed(shop, queued)

    assert (dead.token, taken_over.token) == (1, 2)
    assert taken_over.attempts == 1
    assert [(one.token, one.outcome, one.duration_ms) for one in shop.attempts(queued.id)] == [(1, "abandoned", 10_000)]


@pytest.mark.parametrize("late", [Booked("TR-LATE"), Failed("timed out"), Rejected("no")])
def test_worker_that_wakes_up_after_its_lease_changes_nothing(shop: Shop, late: BookResult) -> None:
    queued = shop.queued()
    stale = claimed(shop, queued)
    with clock.moved(AFTER_THE_LEASE):
        fresh = claimed(shop, queued)
        before = shop.fulfillment(queued.order_id)

        assert finish(shop, stale, late) is None

        assert shop.fulfillment(queued.order_id) == before
        assert shop.outcomes(queued.id) == ["abandoned"]
        assert finish(shop, fresh, Booked("TR2")) == FulfillmentStatus.SUCCEEDED
        assert finish(shop, stale, late) is None

    assert shop.fulfillment(queued.order_id).tracking_number == "TR2"
    assert shop.history(queued.order_id) == ["pending", "paid", "shipped"]


def test_finish_that_is_repeated_after_a_lost_commit_ships_once(shop: Shop) -> None:
    queued = shop.queued()
    won = claimed(shop, queued)

    assert [finish(shop, won, Booked("TR1")) for _ in range(2)] == [FulfillmentStatus.SUCCEEDED, None]

    assert shop.history(queued.order_id) == ["pending", "paid", "shipped"]
    assert shop.outcomes(queued.id) == ["booked"]


def test_parcel_that_kills_every_worker_ends_in_the_dead_letters(shop: Shop) -> None:
    queued = shop.queued()
    last = claimed(shop, queued)
    for turn in range(1, shop.settings.carrier_attempts + 1):
        with clock.moved(turn * AFTER_THE_LEASE):
            last = claim(shop, queued.id) or last

    assert shop.fulfillment(queued.order_id).status == "dead"
    assert shop.letter().attempts == shop.settings.carrier_attempts
    assert shop.outcomes(queued.id) == ["abandoned"] * shop.settings.carrier_attempts
    assert finish(shop, last, Booked("TR-LATE")) is None
    assert shop.fulfillment(queued.order_id).status == "dead"
    assert shop.order(queued.order_id).status == "paid"


def test_failed_booking_is_retried_within_the_backoff(shop: Shop) -> None:
    queued = shop.queued()
    base, cap = shop.settings.retry_base, shop.settings.retry_cap
    for attempt in range(1, shop.settings.carrier_attempts):
        with clock.moved(AFTER_ANY_RETRY * attempt):
            won = claimed(shop, queued)
            before = clock.now()
            assert won.attempts == attempt - 1
            assert finish(shop, won, Failed("status 500")) == FulfillmentStatus.RETRYING
            after, run_at = clock.now(), shop.fulfillment(queued.order_id).run_at
        assert before <= run_at <= after + timedelta(seconds=min(cap, base * 2 ** (attempt - 1)))


def test_retry_is_not_claimed_before_it_is_due(shop: Shop) -> None:
    queued = shop.queued()
    finish(shop, claimed(shop, queued), Failed("status 500"))
    due = shop.fulfillment(queued.order_id).run_at

    with clock.moved(due - clock.now() - timedelta(seconds=5)):
        assert claim(shop, queued.id) is None


def test_attempts_used_up_make_a_dead_letter_with_all_of_them(shop: Shop) -> None:
    queued = shop.queued()
    for attempt in range(shop.settings.carrier_attempts):
        with clock.moved(AFTER_ANY_RETRY * attempt):
            last = finish(shop, claimed(shop, queued), Failed("status 500"))

    assert last == FulfillmentStatus.DEAD
    assert shop.outcomes(queued.id) == ["failed"] * 5
    letter = shop.letter()
    assert (letter.attempts, letter.reason, letter.resolution) == (5, "status 500", None)
    with clock.moved(AFTER_ANY_RETRY * 9):
        assert claim(shop, queued.id) is None


def test_rejected_parcel_is_dead_at_once(shop: Shop) -> None:
    queued = shop.queued()

    assert finish(shop, claimed(shop, queued), Rejected("address_not_served")) == FulfillmentStatus.DEAD

    assert (shop.letter().attempts, shop.letter().reason) == (1, "address_not_served")
    assert shop.order(queued.order_id).status == "paid"


def test_postponed_booking_uses_up_no_attempt(shop: Shop) -> None:
    queued = shop.queued()
    won = claimed(shop, queued)
    until = clock.now() + timedelta(seconds=2)
    with shop.database.transaction() as session:
        shipping.postpone(session.connection(), won, until)

    put_off = shop.fulfillment(queued.order_id)
    assert (put_off.status, put_off.run_at, put_off.attempts) == ("retrying", until, 0)
    assert shop.attempts(queued.id) == []
    with clock.moved(timedelta(seconds=3)):
        assert claimed(shop, queued).attempts == 0


def test_stale_claim_postpones_nothing(shop: Shop) -> None:
    queued = shop.queued()
    stale = claimed(shop, queued)
    with clock.moved(AFTER_THE_LEASE):
        claimed(shop, queued)
        before = shop.fulfillment(queued.order_id)
        with shop.database.transaction() as session:
            shipping.postpone(session.connection(), stale, clock.now())

    assert shop.fulfillment(queued.order_id) == before


def test_fulfillment_whose_order_is_no_longer_paid_is_not_claimed(shop: Shop) -> None:
    queued = shop.queued()
    with shop.database.transaction() as session:
        cancellation.cancel(session.connection(), queued.order_id, reason="changed my mind")

    assert claim(shop, queued.id) is None

    stopped = shop.fulfillment(queued.order_id)
    assert (stopped.status, stopped.recall_at) == ("cancelled", None)
    assert shop.all(DeadLetter) == []


def test_lease_is_the_setting(shop: Shop, settings: Settings) -> None:
    queued = shop.queued()
    won = claimed(shop, queued)

    assert shop.fulfillment(queued.order_id).run_at == won.claimed_at + timedelta(seconds=settings.lease)
