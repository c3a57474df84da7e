"""Asking the payment provider, within a time budget and past a circuit breaker, with a record of every call made.

Nothing here touches the database: call it with no transaction open.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeVar
from uuid import UUID

from loguru import logger

from orderkit import clock
from orderkit.breaker import Breaker
from orderkit.ids import new_id
from orderkit.observability import metrics
from orderkit.payments.gateways import (
    Captured,
    ChargeResult,
    Declined,
    Gateway,
    Refunded,
    RefundRefused,
    RefundResult,
    Unknown,
    Voided,
    VoidResult,
)

Operation = Literal["charge", "void", "refund"]
Outcome = Literal["captured", "declined", "unknown", "voided", "refunded", "refused"]
R = TypeVar("R", ChargeResult, VoidResult, RefundResult)

PAUSES_S = (0.0, 0.05, 0.1)
"""Before each call of one charge. Short: a buyer is waiting, and what takes longer is the background's to settle."""

BREAKER_OPEN = Unknown("breaker open")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call that was made. `number` counts a key's calls from 1; `detail` is a reference, a code or a reason.

    It has its `id` from the start, so that whoever records it again after a lost COMMIT records it once.
    """

    number: int
    operation: Operation
    outcome: Outcome
    detail: str | None
    started_at: datetime
    duration_ms: int
    id: UUID = field(default_factory=new_id)


async def charge(
    gateway: Gateway,
    breaker: Breaker,
    *,
    key: UUID,
    amount: int,
    currency: str,
    method: str,
    made: int,
    budget_s: float,
) -> tuple[ChargeResult, list[Attempt]]:
    """Takes `amount` (minor units), in up to three calls under the one `key` and within `budget_s` seconds in all.

    `made` is how many calls this key has seen before. Answers an Unknown, without an attempt, while the breaker is
    open; raises nothing but CancelledError.
    """
    deadline = asyncio.get_running_loop().time() + budget_s
    result: ChargeResult = BREAKER_OPEN
    attempts: list[Attempt] = []
    for number, pause in enumerate(PAUSES_S, made + 1):
        if asyncio.get_running_loop().time() + pause >= deadline:
            break
        if pause:
            await asyncio.sleep(pause)
        if breaker.acquire():
            break
        call = gateway.charge(key=key, amount=amount, currency=currency, method=method, attempt=number)
        result, attempt = await _made(gateway, breaker, "charge", call, key=key, number=number, deadline=deadline)
        attempts.append(attempt)
        if not (isinstance(result, Unknown) and result.retryable):
            break
    return result, attempts


async def void(
    gateway: Gateway,
    breaker: Breaker,
    *,
    key: UUID,
    amount: int,
    currency: str,
    method: str,
    made: int,
    budget_s: float,
) -> tuple[VoidResult, list[Attempt]]:
    """Ends the charge under `key` in one call: it is voided for ever, or what became of it is reported.

    `made` as for `charge`, and the same Unknown without an attempt while the breaker is open.
    """
    if breaker.acquire():
        return BREAKER_OPEN, []
    deadline = asyncio.get_running_loop().time() + budget_s
    call = gateway.void(key=key, amount=amount, currency=currency, method=method, attempt=made + 1)
    result, attempt = await _made(gateway, breaker, "void", call, key=key, number=made + 1, deadline=deadline)
    return result, [attempt]


async def refund(
    gateway: Gateway,
    breaker: Breaker,
    *,
    key: UUID,
    reference: str,
    amount: int,
    currency: str,
    made: int,
    budget_s: float,
) -> tuple[RefundResult, list[Attempt]]:
    """Gives back `amount` (minor units) of the capture `reference` in one call, under the refund's own `key`.

    `made` as for `charge`, and the same Unknown without an attempt while the breaker is open.
    """
    if breaker.acquire():
        return BREAKER_OPEN, []
    deadline = asyncio.get_running_loop().time() + budget_s
    call = gateway.refund(key=key, reference=reference, amount=amount, currency=currency, attempt=made + 1)
    result, attempt = await _made(gateway, breaker, "refund", call, key=key, number=made + 1, deadline=deadline)
    return result, [attempt]


async def _made(
    gateway: Gateway,
    breaker: Breaker,
    operation: Operation,
    call: Awaitable[R],
    *,
    key: UUID,
    number: int,
    deadline: float,
) -> tuple[R | Unknown, Attempt]:
    """Waits for one call until `deadline` (loop time), tells the breaker and the log, and gives the record to keep."""
    started_at, started = clock.now(), time.monotonic()
    result: R | Unknown
    try:
        async with asyncio.timeout_at(deadline):
            result = await call
    except TimeoutError:
        result = Unknown("timed out")
    if isinstance(result, Unknown) and not result.answered:
        breaker.failed()
    else:
        breaker.succeeded()
    outcome, detail = _told(result)
    seconds = time.monotonic() - started
    metrics.call_made(gateway.name, operation, outcome, seconds, attempt=number)
    attempt = Attempt(number, operation, outcome, detail, started_at, round(seconds * 1000))
    _log(gateway.name, key, attempt, getattr(result, "failure", ""))
    return result, attempt


def _told(result: ChargeResult | VoidResult | RefundResult) -> tuple[Outcome, str | None]:
    match result:
        case Captured(reference):
            return "captured", reference
        case Declined(code):
            return "declined", code
        case Unknown(reason):
            return "unknown", reason
        case Voided():
            return "voided", None
        case Refunded(reference):
            return "refunded", reference
        case RefundRefused(code):
            return "refused", code


def _log(provider: str, key: UUID, attempt: Attempt, failure: str) -> None:
    if attempt.outcome == "unknown":
        level = "WARNING"
    else:
        # In process nothing left the house, and at 2,000 a second a line each would cost more than the call.
        level = "DEBUG" if provider == "builtin" else "INFO"
    logger.bind(
        provider=provider,
        operation=attempt.operation,
        key=str(key),
        attempt=attempt.number,
        outcome=attempt.outcome,
        detail=attempt.detail,
        ms=attempt.duration_ms,
        **({"failure": failure} if failure else {}),
    ).log(level, "{} {}: {}", provider, attempt.operation, attempt.outcome)
