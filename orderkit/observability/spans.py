"""Spans by OpenTelemetry. Imported only where tracing is on.

No attribute is made of what was sent: routes and not paths, statements without their parameters, types of errors and not
what they say. aiohttp tells of its calls by OpenTelemetry's own instrumentation. Requests do not, because its attributes are
paths, queries and addresses; nor does SQLAlchemy, because only our own spans can have the names of `orderkit explain`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any, Literal

from opentelemetry import context as otel
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from sqlalchemy import Engine, ExceptionContext, event

from orderkit import __version__
from orderkit.observability import context

EXPORT_TIMEOUT_S = 5
"""A collector that is silent must not keep a process from ending within its 30 s."""

MAX_STATEMENT = 2000
"""Characters of a statement that are told."""

_PROPAGATOR = TraceContextTextMapPropagator()

_request: ContextVar[tuple[Span, Token[Context]] | None] = ContextVar("request", default=None)


def exporting(to: Literal["otlp", "console"]) -> SpanProcessor:
    """What takes finished spans there: in batches, beside the work; or one line of JSON each, on stderr, as they end."""
    if to == "otlp":
        return BatchSpanProcessor(OTLPSpanExporter(timeout=EXPORT_TIMEOUT_S))
    return SimpleSpanProcessor(ConsoleSpanExporter(out=sys.stderr, formatter=_line))


def _line(span: ReadableSpan) -> str:
    return f"{span.to_json(indent=None)}\n"


class _OfWork(Sampler):
    """No trace of a call that nobody's work made, such as looking four times a second for what is due."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Any] | None = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        wanted = ALWAYS_OFF if kind is SpanKind.CLIENT else ALWAYS_ON
        return wanted.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return "OfWork"


class Spans:
    """Those of this process, while it is open. Who sent a `traceparent` decides whether their trace is recorded."""

    def __init__(self, processor: SpanProcessor, process: str) -> None:
        named = os.environ.get("OTEL_SERVICE_NAME") or "service.name" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        said = {SERVICE_VERSION: __version__} | ({} if named else {SERVICE_NAME: f"orderkit-{process}"})
        self._provider = TracerProvider(resource=Resource.create(said), sampler=ParentBased(_OfWork()))
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("orderkit", __version__)
        # Its table of versions is behind those that orderkit runs on.
        AioHttpClientInstrumentor().instrument(tracer_provider=self._provider, skip_dep_check=True)
        for name, listener in self._listeners():
            event.listen(Engine, name, listener)

    def close(self) -> None:
        """Sends what is left, and has the libraries tell no more."""
        AioHttpClientInstrumentor().uninstrument()
        for name, listener in self._listeners():
            event.remove(Engine, name, listener)
        self._provider.shutdown()

    def began(self, ids: context.RequestIds) -> context.RequestIds:
        """The span of a request, current until it `ended`; its ids with the span's."""
        parent = _within(ids.parent)
        span = self._tracer.start_span("request", parent, SpanKind.SERVER)
        _request.set((span, otel.attach(set_span_in_context(span, parent))))
        traceparent = _traceparent(span)
        context.at_span(traceparent)
        return ids._replace(traceparent=traceparent)

    def ended(self, method: str, status: int, route: str) -> None:
        """Names the request by what it was for, and ends its span."""
        if (current := _request.get()) is None:
            return
        span, token = current
        span.update_name(f"{method} {route}")
        span.set_attributes({"http.request.method": method, "http.route": route, "http.response.status_code": status})
        span.set_attributes(_attributes(context.facts()))
        if request_id := context.request_id():
            span.set_attribute("orderkit.request_id", request_id)
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end()
        _request.set(None)
        otel.detach(token)

    @contextmanager
    def continued(self, name: str, traceparent: str | None, facts: Mapping[str, Any]) -> Iterator[None]:
        """Work in the background, in the trace of `traceparent`."""
        with (
            context.continued(traceparent, **facts),
            self._current(name, _within(traceparent or ""), SpanKind.CONSUMER, _attributes(context.facts())),
        ):
            yield

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A part of the work under way."""
        with self._current(name, None, SpanKind.INTERNAL, {}):
            yield

    @contextmanager
    def _current(
        self, name: str, within: Context | None, kind: SpanKind, attributes: Mapping[str, Any]
    ) -> Iterator[None]:
        with self._tracer.start_as_current_span(
            name, within, kind, attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            before = context.at_span(_traceparent(span))
            try:
                yield
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))  # what it says may quote anybody
                raise
            finally:
                context.leave_span(before)

    def _listeners(self) -> tuple[tuple[str, Any], ...]:
        return (
            ("before_cursor_execute", self._query_begins),
            ("after_cursor_execute", self._query_ends),
            ("handle_error", self._query_fails),
        )

    def _query_begins(
        self, connection: Any, _cursor: Any, statement: str, _parameters: Any, query: Any, _many: bool
    ) -> None:
        """A statement of somebody's work gets a span, by the name that its site gave it. Values are bound, and not in it."""
        if not get_current_span().is_recording():
            return
        name = query.execution_options.get("query") or statement.split(maxsplit=1)[0]
        said = {"db.system.name": connection.dialect.name, "db.query.text": statement[:MAX_STATEMENT]}
        query.orderkit_span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=said)

    def _query_ends(
        self, _connection: Any, _cursor: Any, _statement: str, _parameters: Any, query: Any, _many: bool
    ) -> None:
        if (span := getattr(query, "orderkit_span", None)) is not None:
            span.end()

    def _query_fails(self, told: ExceptionContext) -> None:
        if (span := getattr(told.execution_context, "orderkit_span", None)) is not None:
            span.set_status(Status(StatusCode.ERROR, type(told.original_exception).__name__))
            span.end()


def _within(traceparent: str) -> Context:
    """The context of a span elsewhere; of none, where there is no `traceparent`."""
    return _PROPAGATOR.extract({"traceparent": traceparent}, Context()) if traceparent else Context()


def _traceparent(span: Span) -> str:
    at = span.get_span_context()
    return f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags:02x}"


def _attributes(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {f"orderkit.{name}": value for name, value in facts.items()}
