"""An order from request to answer: place, charge, settle. Transactions run in threads; the wait for the provider does not."""

from __future__ import annotations

from collections.abc import Callable

from orderkit.breaker import Breaker
from orderkit.db import Database, is_away
from orderkit.gatherer import Gatherer
from orderkit.idempotency import Abandoned, Answer, Replay
from orderkit.observability import context, tracing
from orderkit.orders.placement import Outcome, Placement, PlaceOrder
from orderkit.orders.settlement import Settle, Settled, Settlement
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.payments import charging
from orderkit.payments.gateways import Gateway
from orderkit.settings import Settings

MAX_WAITING = 2000
"""A second's worth of orders. Whoever would wait longer than that is better told at once."""


class Checkout:
    """Takes orders on one event loop. Placing and settling each gather requests of their own."""

    def __init__(self, database: Database, settings: Settings, gateway: Gateway, breaker: Breaker) -> None:
        self._gateway = gateway
        self._breaker = breaker
        self._budget_s = settings.gateway_timeout
        self._placing: Gatherer[PlaceOrder, Outcome] = Gatherer(
            "place", Placement(database, settings).place, max_waiting=MAX_WAITING, hopeless=is_away
        )
        self._settling: Gatherer[Settle, Settled] = Gatherer(
            "settle", Settlement(database, settings).settle, hopeless=is_away
        )

    async def order(self, request: PlaceOrder, answer: Callable[[OrderSnapshot], Answer]) -> Replay:
        """Places, charges and settles, and gives the answer that is stored for the key; `replayed` if it is not the first.

        Raises OrderkitError where nothing was kept. After the placement anything may be lost without harm: the sweep
        takes the payment up when its lease ends.
        """
        with tracing.step("order.place"):
            placed = await self._placing.submit(request)
        if isinstance(placed, OrderSnapshot):  # each is an id that somebody may have in hand who asks what became of it
            context.bind(order_id=placed.id, order_number=placed.number, payment_id=placed.payment_id)
        else:
            context.bind(order_id=placed.resource_id)
        if isinstance(placed, Replay):
            return placed
        if isinstance(placed, Abandoned):
            with tracing.step("order.settle"):
                settled = await self._settling.submit(Settle(placed.resource_id, answer=answer))
            return _stored(settled, replayed=True)
        if request.answer_at_once is not None:
            return Replay(placed.id, request.answer_at_once(placed), replayed=False)
        result, attempts = await charging.charge(
            self._gateway,
            self._breaker,
            key=placed.payment_id,
            amount=placed.total,
            currency=placed.currency,
            method=placed.payment_method,
            made=0,
            budget_s=self._budget_s,
        )
        with tracing.step("order.settle"):
            settled = await self._settling.submit(
                Settle(placed.id, result, attempts, answer=answer, items=placed.items, request_id=request.request_id)
            )
        return _stored(settled, replayed=False)

    def close(self) -> None:
        """Waits for the transactions under way."""
        self._placing.close()
        self._settling.close()


def _stored(settled: Settled, *, replayed: bool) -> Replay:
    assert settled.answer is not None  # noqa: S101 - settling with `answer` always gives one
    return Replay(settled.order.id, settled.answer, replayed=replayed)
