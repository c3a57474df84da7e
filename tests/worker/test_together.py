"""Everything at once on the same few orders: nobody deadlocks, nothing is shipped that was cancelled, and nothing is stuck."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from uuid import UUID

import pytest

from orderkit import batches
from orderkit.breaker import Breaker
from orderkit.db import Database
from orderkit.errors import Conflict, IllegalTransition
from orderkit.fulfillment import dead_letters
from orderkit.fulfillment.carriers import Booked, BookResult, Failed, Recalled, RecallResult, Rejected
from orderkit.fulfillment.dispatch import Dispatch
from orderkit.fulfillment.models import DeadLetter, Fulfillment
from orderkit.orders import cancellation
from orderkit.orders.models import Order
from orderkit.orders.resolution import Resolution
from orderkit.payments.gateways.builtin import BuiltinGateway
from orderkit.payments.models import Payment, Refund
from orderkit.settings import Settings
from orderkit.worker.relay import Relay
from tests.shop import PRICE, STOCK, Shop

pytestmark = pytest.mark.integration

ORDERS = 24
SECONDS = 2.0


class MoodyCarrier:
    """Keeps a ledger by key, fails half of its calls, some of them after it has booked, and rejects a few for good."""

    name = "moody"

    def __init__(self, rng: random.Random) -> None:
        self.booked: set[UUID] = set()
        self.cancelled: set[UUID] = set()
        self._rng = rng

    async def book(
        self, *, key: UUID, order_id: UUID, address: dict[str, str] | None, amount: int, currency: str, attempt: int
    ) -> BookResult:
        await asyncio.sleep(self._rng.random() * 0.01)
        mood = self._rng.random()
        if key in self.cancelled:
            return Rejected("cancelled")
        if mood < 0.3:
            return Failed("status 500")
        if mood < 0.4:
            return Rejected("address_not_served")
        self.booked.add(key)
        return Failed("timed out") if mood < 0.6 else Booked(f"TR{key.hex}")

    async def cancel(self, *, key: UUID) -> RecallResult:
        if self._rng.random() < 0.3:
            return Failed("status 500")
        self.cancelled.add(key)
        self.booked.discard(key)
        return Recalled()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"carrier_attempts": 3, "lease": 1.0})


@pytest.mark.unmeasured
def test_everybody_at_once(
    shop: Shop, database: Database, settings: Settings, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "is_transient", lambda _error: False)  # a deadlock is to fail here, not to be repeated
    carrier, stop = MoodyCarrier(rng), Event()
    dispatch = Dispatch(database, settings, carrier, Breaker("carrier", failures=10**6))
    resolution = Resolution(database, settings, BuiltinGateway(), Breaker("gateway"))
    orders = [shop.place(quantity=2) for _ in range(ORDERS)]
    relays = [Relay(database) for _ in range(2)]

    def repeat(act: Callable[[], None]) -> None:
        while not stop.is_set():
            act()

    def decide() -> None:
        letters = shop.all(DeadLetter)
        if not letters:
            return
        letter_id, decision = rng.choice(letters).id, rng.choice((dead_letters.retry, dead_letters.discard))
        try:
            with database.transaction() as session:
                decision(session.connection(), letter_id)
        except Conflict:
            return

    def cancel() -> None:
        time.sleep(0.08)
        try:
            with database.transaction() as session:
                cancellation.cancel(session.connection(), rng.choice(orders).id, reason="changed my mind")
        except IllegalTransition:
            return

    def each(model: type[Fulfillment | Payment | Refund], *acts: Callable[[UUID], object]) -> Callable[[], None]:
        def act() -> None:
            rows = shop.all(model)
            if rows:
                asyncio.run(rng.choice(acts)(rng.choice(rows).id))  # type: ignore[arg-type]

        return act

    work = [
        *(each(Fulfillment, dispatch.ship, dispatch.recall) for _ in range(3)),
        each(Payment, resolution.resolve),
        each(Refund, resolution.refund),
        *(lambda relay=relay: relay.turn() for relay in relays),
        decide,
        cancel,
    ]
    with ThreadPoolExecutor(len(work)) as threads:
        doing = [threads.submit(repeat, act) for act in work]
        time.sleep(SECONDS)
        stop.set()
        for one in doing:
            one.result()

    settle_down(shop, dispatch, resolution, relays[0])
    check(shop, carrier)


def settle_down(shop: Shop, dispatch: Dispatch, resolution: Resolution, relay: Relay) -> None:
    """What the loop does until nothing is due; parcels that are given up are discarded."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        relay.turn()
        for payment in shop.all(Payment):
            asyncio.run(resolution.resolve(payment.id))
        for refund in shop.all(Refund):
            asyncio.run(resolution.refund(refund.id))
        for fulfillment in shop.all(Fulfillment):
            asyncio.run(dispatch.ship(fulfillment.id))
            asyncio.run(dispatch.recall(fulfillment.id))
        for letter in shop.all(DeadLetter):
            if letter.resolution is None:
                with shop.database.transaction() as session:
                    dead_letters.discard(session.connection(), letter.id)
        if not unfinished(shop):
            return
    pytest.fail(f"stuck: {unfinished(shop)}")


def unfinished(shop: Shop) -> list[object]:
    return [
        *(one for one in shop.all(Order) if one.status in ("pending", "paid")),
        *(one for one in shop.all(Payment) if one.status in ("created", "unknown")),
        *(one for one in shop.all(Refund) if one.status == "pending"),
        *(one for one in shop.all(Fulfillment) if one.recall_at or one.status in ("queued", "running", "retrying")),
    ]


def check(shop: Shop, carrier: MoodyCarrier) -> None:
    orders = {order.id: order for order in shop.all(Order)}
    shipped = {order_id for order_id, order in orders.items() if order.status == "shipped"}
    assert {order.status for order in orders.values()} <= {"shipped", "cancelled"}
    assert shop.stock() == STOCK - 2 * len(shipped)

    fulfillments = shop.all(Fulfillment)
    assert {one.order_id for one in fulfillments if one.status == "succeeded"} == shipped
    assert {one.id for one in fulfillments if one.order_id in shipped} == carrier.booked
    for order_id in shipped:
        assert shop.history(order_id) == ["pending", "paid", "shipped"]

    refunded = {one.payment_id: one.amount for one in shop.refunds()}
    for payment in shop.all(Payment):
        if payment.order_id in shipped:
            assert (payment.status, payment.refunded) == ("captured", 0)
        else:
            assert payment.status in ("captured", "voided")
            assert payment.refunded == refunded.get(payment.id, 0) == (2 * PRICE if payment.status == "captured" else 0)
