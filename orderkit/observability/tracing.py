"""Spans: what took how long within what, over all processes that work for one request.

Off unless ORDERKIT_TRACING says otherwise: then `step` is nothing, and `span` only continues the trace in the log. On, they are
OpenTelemetry's (`pip install 'orderkit[otel]'`), and queries and HTTP calls have spans besides.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from orderkit.errors import ConfigurationError
from orderkit.observability import context
from orderkit.settings import Settings

if TYPE_CHECKING:
    from orderkit.observability.spans import Spans

_NOTHING = nullcontext()
_spans: Spans | None = None


def configure(settings: Settings, process: str) -> None:
    """Spans of this process, which is the service `orderkit-PROCESS`, go where the settings say. Replaces what was set before.

    HTTP sessions that were opened before tell of nothing. Raises ConfigurationError without the extra.
    """
    use(None)  # first: what instruments aiohttp is one for the process, and would be taken away from the new by the old
    if settings.tracing == "off":
        return
    try:
        from orderkit.observability import spans
    except ImportError:
        raise ConfigurationError(
            f"ORDERKIT_TRACING={settings.tracing} needs OpenTelemetry; run: pip install 'orderkit[otel]'"
        ) from None
    use(spans.Spans(spans.exporting(settings.tracing), process))


def use(spans: Spans | None) -> None:
    """These from now on; None: none."""
    global _spans
    if _spans is not None:
        _spans.close()
    _spans = spans


def active() -> bool:
    """Whether there are spans."""
    return _spans is not None


def began(ids: context.RequestIds) -> context.RequestIds:
    """A request begins; on, its span, which is then the ids' own. To be followed by `ended` in the same task."""
    return ids if _spans is None else _spans.began(ids)


def ended(method: str, status: int, route: str) -> None:
    """The request whose span began is answered."""
    if _spans is not None:
        _spans.ended(method, status, route)


def span(name: str, traceparent: str | None, **facts: Any) -> AbstractContextManager[None]:
    """Work in the background that goes on in the trace of `traceparent`, as `context.continued` has it; on, a span of it."""
    if _spans is None:
        return context.continued(traceparent, **facts)
    return _spans.continued(name, traceparent, facts)


def step(name: str) -> AbstractContextManager[None]:
    """A part of the work under way; on, a span of it."""
    return _NOTHING if _spans is None else _spans.step(name)
