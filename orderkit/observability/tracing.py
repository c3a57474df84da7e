"""Spans: what took how long within what, over all processes that work for one request.

Off unless ORDERKIT_TRACING says otherwise: then `step` is nothing, and `span` only continues the trace in the log. On, they are
OpenTelemetry's (`pip install 'orderkit[otel]'`), and SQLAlchemy and aiohttp tell of their calls besides.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from orderkit.observability import context

_NOTHING = nullcontext()


def span(name: str, traceparent: str | None, **facts: Any) -> AbstractContextManager[None]:
    """Work in the background that goes on in the trace of `traceparent`, as `context.continued` has it; on, a span of it."""
    return context.continued(traceparent, **facts)


def step(name: str) -> AbstractContextManager[None]:
    """A part of the work under way; on, a span of it."""
    return _NOTHING
