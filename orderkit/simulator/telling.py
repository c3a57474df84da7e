"""One line of the log for each call, in the trace and with the request id that the caller says, like a provider that helps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from starlette.requests import Request

from orderkit.observability import context, logs
from orderkit.redaction import redacted
from orderkit.simulator.requests import Target


@dataclass(slots=True)
class Call:
    """A call under way, and what becomes of it."""

    request: Request
    outcome: str = "unanswered"


@contextmanager
def told(request: Request, target: Target, operation: str, key: str, *, order_id: UUID | None = None) -> Iterator[Call]:
    """Writes the line when the call is over, however it ends. `key` is the caller's, and redacted like all that callers say."""
    context.begin(request.headers.get("X-Request-ID"), request.headers.get("traceparent"))
    context.bind(order_id=order_id)
    call, started = Call(request), time.perf_counter()
    try:
        yield call
    finally:
        facts = {
            "provider": target,
            "operation": operation,
            "key": redacted(key),
            "outcome": call.outcome,
            "ms": round((time.perf_counter() - started) * 1000, 1),
        }
        logs.write("INFO", f"{target} {operation}: {call.outcome}", facts, name="orderkit.simulator")
