"""Doing what is due for a fulfillment: claim its row, call the carrier, record the answer. No transaction spans the call.

Everything is addressed by row id and may be asked for twice, at once, or in vain: a row that is not due is left alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID

from loguru import logger
from sqlalchemy import Connection

from orderkit import retry
from orderkit.batches import alone
from orderkit.breaker import Breaker
from orderkit.clock import now
from orderkit.db import Database
from orderkit.fulfillment import booking, recalling, shipping
from orderkit.fulfillment.carriers import Carrier, Failed
from orderkit.observability import tracing
from orderkit.settings import Settings

Out = TypeVar("Out")


class Dispatch:
    """Takes fulfillments to a carrier, and takes them back. Belongs to the event loop that its carrier belongs to."""

    def __init__(self, database: Database, settings: Settings, carrier: Carrier, breaker: Breaker) -> None:
        self._database = database
        self._settings = settings
        self._carrier = carrier
        self._breaker = breaker

    async def ship(self, fulfillment_id: UUID) -> None:
        """Books the parcel of a fulfillment that is due; while the breaker is open, puts it off instead.

        So it does where nobody took the call: an attempt is one that the carrier may have heard of, and an outage uses up none.
        """
        settings = self._settings
        claim = await self._transact(partial(shipping.claim, fulfillment_id=fulfillment_id, settings=settings))
        if claim is None:
            return
        facts = {"order_id": claim.order_id, "fulfillment_id": claim.fulfillment_id}
        with tracing.span("fulfillment.ship", claim.traceparent, **facts):
            await self._ship(claim)

    async def _ship(self, claim: shipping.Claim) -> None:
        if wait_s := self._breaker.acquire():
            until = now() + timedelta(seconds=wait_s)
            await self._transact(partial(shipping.postpone, claim=claim, until=until))
            return
        settings = self._settings
        result, ms = await booking.book(
            self._carrier,
            self._breaker,
            key=claim.fulfillment_id,
            order_id=claim.order_id,
            address=claim.address,
            amount=claim.amount,
            currency=claim.currency,
            attempt=claim.attempts + 1,
            budget_s=settings.carrier_timeout,
        )
        if isinstance(result, Failed) and result.unsent:
            # As patient as after the last attempt, so that a carrier which is away for long is not asked by all at once.
            wait = retry.delay(settings.carrier_attempts, base=settings.retry_base, cap=settings.retry_cap)
            await self._transact(partial(shipping.postpone, claim=claim, until=now() + wait))
            logger.bind(outcome="unsent", wait_ms=round(wait.total_seconds() * 1000)).info(
                "fulfillment put off: the carrier cannot be reached"
            )
            return
        status = await self._transact(
            partial(shipping.finish, claim=claim, result=result, duration_ms=ms, settings=settings)
        )
        logger.bind(attempt=claim.attempts + 1, outcome=booking.told(result)[0], status=status or "stale").info(
            "fulfillment {}", status or "stale: another worker has it"
        )

    async def recall(self, fulfillment_id: UUID) -> None:
        """Tells the carrier to forget the parcel of a fulfillment that was stopped, if that is due."""
        claim = partial(recalling.claim, fulfillment_id=fulfillment_id, settings=self._settings)
        recall = await self._transact(claim)
        if recall is None:
            return
        facts = {"order_id": recall.order_id, "fulfillment_id": recall.fulfillment_id}
        with tracing.span("fulfillment.recall", recall.traceparent, **facts):
            await self._recall(recall)

    async def _recall(self, recall: recalling.Recall) -> None:
        settings = self._settings
        if wait_s := self._breaker.acquire():
            until = now() + timedelta(seconds=wait_s)
            await self._transact(partial(recalling.postpone, recall=recall, until=until))
            return
        result, ms = await booking.cancel(
            self._carrier, self._breaker, key=recall.fulfillment_id, budget_s=settings.carrier_timeout
        )
        done = await self._transact(
            partial(recalling.finish, recall=recall, result=result, duration_ms=ms, settings=settings)
        )
        logger.bind(outcome=booking.told(result)[0]).info("recall {}", "confirmed" if done else "not confirmed")

    async def _transact(self, act: Callable[[Connection], Out]) -> Out:
        return await asyncio.to_thread(alone, self._database, act)
