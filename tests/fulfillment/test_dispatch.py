"""Claim, call, record: what becomes of a fulfillment when the carrier answers, fails, hangs or is left alone."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from orderkit import clock
from orderkit.breaker import Breaker
from orderkit.fulfillment.carriers import Booked, Carrier, Failed
from orderkit.fulfillment.carriers.builtin import BuiltinCarrier
from orderkit.fulfillment.dispatch import Dispatch
from orderkit.fulfillment.models import Fulfillment
from orderkit.orders import cancellation
from tests.shop import STOCK, ScriptedCarrier, Shop

pytestmark = pytest.mark.integration

AFTER_ANY_RETRY = timedelta(seconds=31)


def dispatch(shop: Shop, carrier: Carrier, breaker: Breaker | None = None) -> Dispatch:
    return Dispatch(shop.database, shop.settings, carrier, breaker or Breaker("carrier"))


def ship_until_done(shop: Shop, carrier: Carrier, fulfillment: Fulfillment, turns: int) -> None:
    for turn in range(turns):
        with clock.moved(AFTER_ANY_RETRY * turn):
            asyncio.run(dispatch(shop, carrier).ship(fulfillment.id))


def test_parcel_that_fails_twice_ships_at_the_third_attempt(shop: Shop) -> None:
    queued = shop.queued(postal_code="FAIL-2")

    ship_until_done(shop, BuiltinCarrier(), queued, turns=5)

    assert shop.outcomes(queued.id) == ["failed", "failed", "booked"]
    assert shop.order(queued.order_id).status == "shipped"


def test_parcel_that_always_fails_is_dead_after_five_attempts(shop: Shop) -> None:
    queued = shop.queued(postal_code="FAIL-ALWAYS")

    ship_until_done(shop, BuiltinCarrier(), queued, turns=7)

    assert shop.outcomes(queued.id) == ["failed"] * 5
    assert shop.letter().reason == "status 500"


def test_carrier_that_rejects_is_not_asked_again(shop: Shop) -> None:
    queued = shop.queued(postal_code="REJECT")

    ship_until_done(shop, BuiltinCarrier(), queued, turns=2)

    assert shop.outcomes(queued.id) == ["rejected"]


def test_two_tasks_for_one_row_book_once(shop: Shop) -> None:
    queued = shop.queued()
    carrier = ScriptedCarrier()

    async def both() -> None:
        work = dispatch(shop, carrier)
        await asyncio.gather(work.ship(queued.id), work.ship(queued.id))

    asyncio.run(both())

    assert carrier.booked == [queued.id]
    assert shop.order(queued.order_id).status == "shipped"


def test_no_transaction_is_open_while_the_carrier_is_asked(shop: Shop) -> None:
    queued = shop.queued()

    def write() -> None:
        with shop.database.transaction() as session:
            order = session.get_one(type(shop.order(queued.order_id)), queued.order_id, with_for_update=True)
            order.note = "nobody else holds this row"
            session.add(order)

    async def book() -> Booked:
        await asyncio.to_thread(write)
        return Booked("TR1")

    asyncio.run(dispatch(shop, ScriptedCarrier(book)).ship(queued.id))

    assert shop.order(queued.order_id).note == "nobody else holds this row"
    assert shop.order(queued.order_id).status == "shipped"


def test_order_cancelled_in_mid_booking_is_not_shipped_and_the_carrier_is_told(shop: Shop) -> None:
    queued = shop.queued(quantity=2)

    def cancel() -> None:
        with shop.database.transaction() as session:
            cancellation.cancel(session.connection(), queued.order_id, reason="changed my mind")

    async def book() -> Booked:
        await asyncio.to_thread(cancel)
        return Booked("TR1")

    carrier = ScriptedCarrier(book)
    work = dispatch(shop, carrier)
    asyncio.run(work.ship(queued.id))
    asyncio.run(work.recall(queued.id))

    assert carrier.recalled == [queued.id]
    assert shop.history(queued.order_id) == ["pending", "paid", "cancelled"]
    stopped = shop.fulfillment(queued.order_id)
    assert (stopped.status, stopped.recall_at) == ("cancelled", None)
    assert shop.outcomes(queued.id) == ["booked", "recalled"]
    assert shop.stock() == STOCK


def test_recall_that_fails_is_made_again(shop: Shop) -> None:
    queued = shop.queued()
    carrier = ScriptedCarrier(Failed("timed out"), recalls=[Failed("status 500")])
    work = dispatch(shop, carrier)
    asyncio.run(work.ship(queued.id))
    with shop.database.transaction() as session:
        cancellation.cancel(session.connection(), queued.order_id, reason="changed my mind")
    while shop.relay.turn():
        pass
    for turn in range(2):
        with clock.moved(AFTER_ANY_RETRY * turn):
            asyncio.run(work.recall(queued.id))

    assert carrier.recalled == [queued.id, queued.id]
    assert shop.fulfillment(queued.order_id).recall_at is None


def test_a_carrier_that_takes_no_call_uses_up_no_attempt_however_long_it_is_away(shop: Shop) -> None:
    queued = shop.queued()
    away = [Failed("connection refused", unsent=True)] * (2 * shop.settings.carrier_attempts)
    carrier = ScriptedCarrier(*away, Failed("status 500"), Booked("TR1"))
    work = dispatch(shop, carrier, Breaker("carrier", failures=100))
    waited = []
    for turn in range(len(away)):
        with clock.moved(AFTER_ANY_RETRY * turn):
            asyncio.run(work.ship(queued.id))
            put_off = shop.fulfillment(queued.order_id)
            waited.append((put_off.run_at - clock.now()).total_seconds())
        assert (put_off.status, put_off.attempts) == ("retrying", 0)
    assert max(waited) <= shop.settings.retry_cap
    for turn in (len(away), len(away) + 1):
        with clock.moved(AFTER_ANY_RETRY * turn):
            asyncio.run(work.ship(queued.id))

    assert shop.outcomes(queued.id) == ["failed", "booked"]
    assert shop.order(queued.order_id).status == "shipped"


def test_open_breaker_postpones_without_a_call_or_an_attempt(shop: Shop) -> None:
    queued, stopped = shop.queued(), shop.queued()
    breaker = Breaker("carrier", failures=1, open_for=60)
    carrier = ScriptedCarrier(Failed("status 500"))
    work = dispatch(shop, carrier, breaker)
    asyncio.run(work.ship(stopped.id))
    with shop.database.transaction() as session:
        cancellation.cancel(session.connection(), stopped.order_id, reason="changed my mind")
    while shop.relay.turn():
        pass

    asyncio.run(work.ship(queued.id))
    asyncio.run(work.recall(stopped.id))

    put_off, recall_at = shop.fulfillment(queued.order_id), shop.fulfillment(stopped.order_id).recall_at
    assert carrier.booked == [stopped.id]
    assert carrier.recalled == []
    assert put_off.attempts == 0
    assert shop.outcomes(queued.id) == []
    assert recall_at is not None
    for until in (put_off.run_at, recall_at):
        assert timedelta(seconds=50) < until - clock.now() <= timedelta(seconds=60)


def test_row_that_is_not_there_is_left_alone(shop: Shop) -> None:
    carrier = ScriptedCarrier()
    work = dispatch(shop, carrier)

    asyncio.run(work.ship(shop.user_id))
    asyncio.run(work.recall(shop.user_id))

    assert carrier.booked == carrier.recalled == []
