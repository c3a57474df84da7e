"""Asking the carrier, within a time budget, with a line in the log for every call.

The caller asks `breaker.acquire()` immediately before each call here: between claiming the fulfillment and booking, so
that the one probe of a half-open breaker is not given to a task that then finds nothing to claim. Seconds to wait mean:
put `run_at` off by as much, without using up an attempt. `breaker.open_for_seconds()` may be looked at any time before.

Nothing here touches the database: call it with no transaction open.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Literal, TypeVar
from uuid import UUID

from loguru import logger

from orderkit.breaker import Breaker
from orderkit.fulfillment.carriers import Booked, BookResult, Carrier, Failed, Recalled, RecallResult, Rejected
from orderkit.observability import metrics

R = TypeVar("R", BookResult, RecallResult)


async def book(
    carrier: Carrier,
    breaker: Breaker,
    *,
    key: UUID,
    order_id: UUID,
    address: dict[str, str] | None,
    amount: int,
    currency: str,
    attempt: int,
    budget_s: float,
) -> tuple[BookResult, int]:
    """Books a parcel under `key` in one call of at most `budget_s` seconds; gives the result and how many ms it took.

    Tells the breaker the result. Raises nothing but CancelledError.
    """
    call = carrier.book(key=key, order_id=order_id, address=address, amount=amount, currency=currency, attempt=attempt)
    return await _made(carrier.name, breaker, "book", call, key=key, attempt=attempt, budget_s=budget_s)


async def cancel(
    carrier: Carrier, breaker: Breaker, *, key: UUID, attempt: int = 1, budget_s: float
) -> tuple[RecallResult, int]:
    """Takes back what may have been booked under `key`, for ever; otherwise as `book`."""
    return await _made(
        carrier.name, breaker, "cancel", carrier.cancel(key=key), key=key, attempt=attempt, budget_s=budget_s
    )


async def _made(
    provider: str,
    breaker: Breaker,
    operation: Literal["book", "cancel"],
    call: Awaitable[R],
    *,
    key: UUID,
    attempt: int,
    budget_s: float,
) -> tuple[R | Failed, int]:
    started = time.monotonic()
    result: R | Failed
    try:
        async with asyncio.timeout(budget_s):
            result = await call
    except TimeoutError:
        result = Failed("timed out")
    seconds = time.monotonic() - started
    ms = round(seconds * 1000)
    if isinstance(result, Failed) and not result.answered:
        breaker.failed()
    else:
        breaker.succeeded()
    outcome, detail = told(result)
    metrics.call_made(provider, operation, outcome, seconds, attempt=attempt)
    failure = {"failure": result.failure} if isinstance(result, Failed) and result.failure else {}
    logger.bind(
        provider=provider,
        operation=operation,
        key=str(key),
        attempt=attempt,
        outcome=outcome,
        detail=detail,
        ms=ms,
        **failure,
    ).log("WARNING" if isinstance(result, Failed) else "INFO", "{} {}: {}", provider, operation, outcome)
    return result, ms


def told(result: BookResult | RecallResult) -> tuple[str, str | None]:
    """What the carrier said, as an outcome and its detail: a tracking number or a reason."""
    match result:
        case Booked(tracking_number):
            return "booked", tracking_number
        case Rejected(reason):
            return "rejected", reason
        case Failed(reason):
            return "failed", reason
        case Recalled():
            return "recalled", None
