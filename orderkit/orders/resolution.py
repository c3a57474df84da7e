"""Payments that nobody is waiting for: charged again until the provider has a verdict, or voided; and refunds carried out.

Everything is addressed by row id and may be asked for twice, at once, or in vain: a row that is not due is left alone. No
transaction spans a call to the provider.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID

from loguru import logger
from sqlalchemy import Connection, select

from orderkit.batches import alone
from orderkit.breaker import Breaker
from orderkit.clock import now
from orderkit.db import Database
from orderkit.observability import metrics, tracing
from orderkit.orders import refunds, snapshot
from orderkit.orders.settlement import Settle, Settlement
from orderkit.orders.states import OrderStatus
from orderkit.payments import charging
from orderkit.payments.gateways import Gateway, RefundRefused
from orderkit.payments.models import UNRESOLVED, Payment, RefundStatus
from orderkit.rows import update_rows
from orderkit.settings import Settings

_payments = Payment.__table__  # type: ignore[attr-defined]

Out = TypeVar("Out")


@dataclass(frozen=True, slots=True)
class DuePayment:
    """A payment to be asked about. `amount` in minor units; `attempts` counts the calls made; `void`: money is not wanted."""

    id: UUID
    order_id: UUID
    method: str
    amount: int
    currency: str
    attempts: int
    void: bool
    traceparent: str | None


def claim_payment(connection: Connection, payment_id: UUID, *, settings: Settings) -> DuePayment | None:
    """An unresolved payment that is due, kept from others for a lease; None when there is nothing to do.

    Locks the order first. It is to be voided once the order no longer waits for it, or has waited for `payment_void_after`.
    """
    of_payment = select(_payments.c.order_id).where(_payments.c.id == payment_id)
    order_id = connection.execute(of_payment.execution_options(query="payments.claim")).scalar()
    if order_id is None:
        return None
    order = snapshot.lock(connection, [order_id])[order_id]
    at = now()  # once the lock is had, which may take 5 s: the lease is for the work
    run_at = connection.execute(select(_payments.c.run_at).where(_payments.c.id == payment_id)).scalar_one()
    if order.payment_status not in UNRESOLVED or run_at > at:
        return None
    lease_until = at + timedelta(seconds=settings.lease)
    update_rows(connection, Payment, [{"id": payment_id, "run_at": lease_until, "woken_at": None}])
    too_late = order.created_at + timedelta(seconds=settings.payment_void_after) <= at
    return DuePayment(
        payment_id,
        order.id,
        order.payment_method,
        order.total,
        order.currency,
        order.payment_attempts,
        void=too_late or order.status != OrderStatus.PENDING,
        traceparent=order.traceparent,
    )


class Resolution:
    """Settles payments and refunds with a provider. Belongs to the event loop that its gateway belongs to."""

    def __init__(self, database: Database, settings: Settings, gateway: Gateway, breaker: Breaker) -> None:
        self._database = database
        self._settings = settings
        self._gateway = gateway
        self._breaker = breaker
        self._settlement = Settlement(database, settings)

    async def resolve(self, payment_id: UUID) -> None:
        """Charges a payment that is due again, or voids it, always under its one key, and settles what comes of it."""
        due = await self._transact(partial(claim_payment, payment_id=payment_id, settings=self._settings))
        if due is None:
            return
        with tracing.span("payment.resolve", due.traceparent, order_id=due.order_id, payment_id=due.id):
            await self._resolve(due)

    async def _resolve(self, due: DuePayment) -> None:
        ask = charging.void if due.void else charging.charge
        result, attempts = await ask(
            self._gateway,
            self._breaker,
            key=due.id,
            amount=due.amount,
            currency=due.currency,
            method=due.method,
            made=due.attempts,
            budget_s=self._settings.gateway_timeout,
        )
        [settled] = await asyncio.to_thread(self._settlement.settle, [Settle(due.order_id, result, attempts)])
        if isinstance(settled, Exception):
            raise settled
        if attempts:
            logger.bind(attempt=due.attempts + len(attempts), outcome=attempts[-1].outcome).info(
                "payment {}, order {}", settled.order.payment_status, settled.order.status
            )

    async def refund(self, refund_id: UUID) -> None:
        """Takes a refund that is due to the provider, under its own key, and records what came of it."""
        due = await self._transact(partial(refunds.claim, refund_id=refund_id, settings=self._settings))
        if due is None:
            return
        facts = {"order_id": due.order_id, "payment_id": due.payment_id, "refund_id": due.id}
        with tracing.span("payment.refund", due.traceparent, **facts):
            await self._refund(due)

    async def _refund(self, due: refunds.DueRefund) -> None:
        result, attempts = await charging.refund(
            self._gateway,
            self._breaker,
            key=due.id,
            reference=due.reference,
            amount=due.amount,
            currency=due.currency,
            made=due.attempts,
            budget_s=self._settings.gateway_timeout,
        )
        became = await self._transact(
            partial(refunds.settle, refund=due, result=result, attempts=attempts, settings=self._settings)
        )
        if became is not None:  # after the commit: no refund is counted twice
            metrics.refunds.labels(became.value).inc()
        if became == RefundStatus.SUCCEEDED:
            metrics.money_refunded.labels(due.currency).inc(due.amount)
        if attempts:
            # Refused money is owed all the same: somebody has to look.
            logger.bind(attempt=due.attempts + len(attempts), outcome=attempts[-1].outcome).log(
                "ERROR" if isinstance(result, RefundRefused) else "INFO", "refund {}", attempts[-1].outcome
            )

    async def _transact(self, act: Callable[[Connection], Out]) -> Out:
        return await asyncio.to_thread(alone, self._database, act)
