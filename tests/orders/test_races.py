"""A thousand orders, each refunded, cancelled and shipped at the same moment, and the books of all held together."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest

from orderkit import clock
from orderkit.breaker import Breaker
from orderkit.db import Database
from orderkit.errors import OrderkitError
from orderkit.fulfillment.dispatch import Dispatch
from orderkit.orders import cancellation, refunds
from orderkit.orders.placement import Placement
from orderkit.orders.pricing import Line
from orderkit.orders.resolution import Resolution
from orderkit.orders.settlement import Settle, Settled, Settlement
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.settings import Settings
from orderkit.worker.relay import Relay
from tests.factories import make_product, make_user, to_place
from tests.orders import books
from tests.orders.books import Books, Story
from tests.orders.outside import Carrier, Provider
from tests.threads import at_once

pytestmark = pytest.mark.integration

ROUNDS = 1000
AT_A_TIME = 100
"""Rounds whose orders are placed, settled and looked into together."""
PRICES = (500, 30)
HEAD_START_S = 0.002
"""Up to so much is given to each of the three in turn, so that each wins as well as loses."""


class Race:
    """Some orders that are paid and about to be shipped, and those who want different things of them."""

    def __init__(self, database: Database, settings: Settings, rng: random.Random) -> None:
        self.database, self.settings, self.rng = database, settings, rng
        self.user = make_user(database)
        self.skus = [make_product(database, unit_price=price, stock=1000).sku for price in PRICES]
        self.provider, self.carrier = Provider(), Carrier()
        self.relay = Relay(database)
        self.refused: Counter[str] = Counter()

    def books(self) -> Books:
        return books.read(self.database, self.user.id, self.skus)

    def pay(self, number: int) -> None:
        """So many orders, whose parcels wait for the worker."""
        wanted = [
            to_place(self.user, "", items=tuple(Line(sku, self.rng.randint(1, 3)) for sku in self.skus))
            for _ in range(number)
        ]
        placed = Placement(self.database, self.settings).place(wanted)

        async def charged(order: OrderSnapshot) -> Settle:
            key, method = order.payment_id, order.payment_method
            charge = self.provider.charge(
                key=key, amount=order.total, currency=order.currency, method=method, attempt=1
            )
            return Settle(order.id, await charge)

        async def all_charged() -> list[Settle]:
            return [await charged(order) for order in placed if isinstance(order, OrderSnapshot)]

        settled = Settlement(self.database, self.settings).settle(asyncio.run(all_charged()))
        assert [isinstance(one, Settled) and one.order.status for one in settled] == ["paid"] * number
        while self.relay.turn():
            pass

    # ── the three ────────────────────────────────────────────────────────────────────────────────────────────────────

    def fire(self) -> None:
        """At each order all three, at the same moment."""
        orders = list(self.books().stories.values())
        start = Barrier(3)

        def one_after_another(act: Callable[[Story], Awaitable[None]]) -> None:
            waits = [self.rng.choice((0, self.rng.uniform(0, HEAD_START_S))) for _ in orders]
            with asyncio.Runner() as loop:
                for order, wait in zip(orders, waits, strict=True):
                    try:
                        start.wait(20)
                        loop.run(self._tried(act(order), wait))
                    except BrokenBarrierError:
                        return  # another one failed, and says why
                    except BaseException:
                        start.abort()
                        raise

        at_once(*(partial(one_after_another, act) for act in (self.refunds_it, self.cancels_it, self.ships_it)))

    async def _tried(self, act: Awaitable[None], wait: float) -> None:
        await asyncio.sleep(wait)
        try:
            await act
        except OrderkitError as error:
            self.refused[error.code] += 1

    async def refunds_it(self, story: Story) -> None:
        """Somebody of the staff asks for it, some or all, and the worker has it paid at once."""
        amount, restock = self.rng.choice([(None, False), (None, True), (500, False)])
        with self.database.transaction() as session:
            refund = refunds.request(
                session.connection(), story.order.id, amount=amount, restock=restock, reason="broken"
            )
        await self._resolution().refund(refund.id)

    async def cancels_it(self, story: Story) -> None:
        with self.database.transaction() as session:
            cancellation.cancel(session.connection(), story.order.id, of_user=self.user.id, actor_id=self.user.id)

    async def ships_it(self, story: Story) -> None:
        await self._dispatch().ship(story.fulfillment.id)

    # ── and afterwards ───────────────────────────────────────────────────────────────────────────────────────────────

    def run_dry(self) -> Books:
        """The worker does what there is to do until there is nothing more."""
        for turn in range(10):
            while self.relay.turn():
                pass
            now = self.books()
            if not books.unsettled(now):
                break
            with clock.moved(timedelta(minutes=turn)):
                asyncio.run(self._work(list(now.stories.values())))
        books.check_settled(now, self.provider, self.carrier)
        return now

    async def _work(self, orders: Sequence[Story]) -> None:
        resolution, dispatch = self._resolution(), self._dispatch()
        for story in orders:
            for refund in story.refunds:
                if refund.status == "pending":
                    await resolution.refund(refund.id)
            parcel: Any = story.fulfillment
            if parcel.recall_at is not None:
                await dispatch.recall(parcel.id)
            elif parcel.status in books.UNDER_WAY:
                await dispatch.ship(parcel.id)

    def _resolution(self) -> Resolution:
        return Resolution(self.database, self.settings, self.provider, Breaker("gateway"))

    def _dispatch(self) -> Dispatch:
        return Dispatch(self.database, self.settings, self.carrier, Breaker("carrier"))


@pytest.mark.unmeasured
def test_refund_cancel_and_ship_at_once_a_thousand_times_end_in_a_legal_state_with_matching_money(
    database: Database, settings: Settings, rng: random.Random
) -> None:
    ended: Counter[str] = Counter()
    for _ in range(ROUNDS // AT_A_TIME):
        race = Race(database, settings, rng)
        race.pay(AT_A_TIME)
        race.fire()
        ended.update(story.status for story in race.run_dry().stories.values())
        assert set(race.refused) <= {"conflict", "illegal_transition"}
    assert ended.total() == ROUNDS
    assert set(ended) == {"shipped", "cancelled", "refunded"}, "each of them won sometimes"
