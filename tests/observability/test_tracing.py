"""Spans: one trace from a request through the database and the worker to the carrier; and nothing at all when off."""

from __future__ import annotations

import asyncio
import builtins
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from sqlmodel import select

from orderkit.db import Database
from orderkit.errors import ConfigurationError
from orderkit.fulfillment.models import Fulfillment
from orderkit.observability import context, tracing
from orderkit.observability.spans import Spans
from orderkit.orders.models import Order
from orderkit.settings import Settings
from orderkit.worker.relay import Relay
from orderkit.worker.runtime import open_runtime
from tests.client import Client, running
from tests.engines import on_sqlite
from tests.factories import make_product, make_user

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing.use(Spans(SimpleSpanProcessor(exporter), "test"))
    yield exporter
    tracing.use(None)


@pytest.fixture
def api(settings: Settings, database: Database) -> Iterator[Client]:
    make_product(database, sku="TEA", stock=5)
    with running(settings) as client:
        yield client


def place(api: Client, database: Database, **headers: str) -> Any:
    user = make_user(database)
    body = {"items": [{"sku": "TEA", "quantity": 1}], "payment_method": "pm_card_visa"}
    answer = api.post("/orders", body, {**api.token(user), "Idempotency-Key": "one", **headers})
    assert answer.status == 201, answer
    return answer


def named(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    (found,) = (one for one in exporter.get_finished_spans() if one.name == name)
    return found


def said(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


def parent_of(span: ReadableSpan, exporter: InMemorySpanExporter) -> str | None:
    ids = {one.context.span_id: one.name for one in exporter.get_finished_spans()}
    return None if span.parent is None else ids.get(span.parent.span_id, f"{span.parent.span_id:016x}")


def test_one_trace_spans_request_database_event_worker_and_carrier(
    spans: InMemorySpanExporter, api: Client, database: Database, settings: Settings
) -> None:
    answer = place(api, database, traceparent=SENT)
    with open_runtime(settings) as worker:
        assert Relay(worker.database).turn() > 0
        with worker.database.reading() as session:
            fulfillment = session.exec(select(Fulfillment)).one()
        worker.act(worker.dispatch.ship, str(fulfillment.id))
    of_trace = [one for one in spans.get_finished_spans() if f"{one.context.trace_id:032x}" == TRACE]
    names = {one.name for one in of_trace}
    wanted = {"POST /orders", "order.place", "orders.place", "order.settle", "relay order.paid", "fulfillment.ship"}
    assert wanted <= names, names
    request = named(spans, "POST /orders")
    assert request.kind is SpanKind.SERVER
    assert parent_of(request, spans) == SENT.split("-")[2]
    assert answer.headers["traceparent"] == f"00-{TRACE}-{request.context.span_id:016x}-01"
    assert parent_of(named(spans, "order.place"), spans) == "POST /orders"
    written = {parent_of(one, spans) for one in of_trace if one.name == "orders.place"}
    assert written == {"order.place"}, "an order alone in its batch"
    assert parent_of(named(spans, "relay order.paid"), spans) == "order.settle", "which made the event"
    assert parent_of(named(spans, "fulfillment.ship"), spans) == "POST /orders"
    for name in ("POST /orders", "relay order.paid", "fulfillment.ship"):
        assert said(named(spans, name))["orderkit.order_id"] == answer.json()["id"]
    assert said(request)["http.route"] == "/orders"


@on_sqlite
def test_what_nobody_s_work_asked_is_no_trace(
    spans: InMemorySpanExporter, settings: Settings, database: Database
) -> None:
    with open_runtime(settings) as worker:
        Relay(worker.database).turn()
    assert spans.get_finished_spans() == ()


@on_sqlite
def test_a_caller_who_records_nothing_is_not_recorded(
    spans: InMemorySpanExporter, api: Client, database: Database
) -> None:
    answer = place(api, database, traceparent=SENT[:-1] + "0")
    assert spans.get_finished_spans() == ()
    assert answer.headers["traceparent"].startswith(f"00-{TRACE}-")
    assert answer.headers["traceparent"].endswith("-00")
    with database.reading() as session:
        assert session.exec(select(Order)).one().traceparent == answer.headers["traceparent"]


@on_sqlite
def test_a_failure_says_its_kind_and_not_its_words(spans: InMemorySpanExporter, api: Client) -> None:
    async def fail() -> None:
        with tracing.step("inner"):
            raise RuntimeError("a secret")

    api.app.add_api_route("/broken", fail)
    assert api.get("/broken").status == 500
    assert named(spans, "inner").status.description == "RuntimeError"
    assert named(spans, "GET /broken").status.status_code is StatusCode.ERROR
    assert "secret" not in "".join(one.to_json() for one in spans.get_finished_spans())


def test_off_is_the_default_and_changes_no_ids(settings: Settings) -> None:
    assert settings.tracing == "off"
    tracing.configure(settings, "api")
    assert not tracing.active()
    ids = context.begin(None, SENT)
    assert tracing.began(ids) is ids
    before = context.traceparent()
    with tracing.step("anything"):
        assert context.traceparent() == before


def test_calls_have_spans_also_when_a_process_sets_up_twice(settings: Settings) -> None:
    console = settings.model_copy(update={"tracing": "console"})
    try:
        tracing.configure(console, "api")
        tracing.configure(console, "api")
        assert AioHttpClientInstrumentor().is_instrumented_by_opentelemetry
    finally:
        tracing.use(None)
    assert not AioHttpClientInstrumentor().is_instrumented_by_opentelemetry


def test_without_the_extra_the_error_names_the_command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    imports = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name.startswith(("opentelemetry", "sentry_sdk")) or "spans" in (arguments[2] or ()):
            raise ImportError(name)
        return imports(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigurationError, match=re.escape("pip install 'orderkit[otel]'")):
        tracing.configure(settings.model_copy(update={"tracing": "otlp"}), "api")


def test_work_goes_on_in_the_trace_of_its_row_and_ends_with_it() -> None:
    context.begin("mine", None)
    outside = context.traceparent()
    with tracing.span("work", SENT, order_id="o1"):
        assert context.trace_id() == TRACE
        assert context.span_id() != SENT.split("-")[2]
        assert context.request_id() == ""
        assert context.headers() == {"traceparent": context.traceparent()}
        assert asyncio.run(asyncio.to_thread(context.facts)) == {"order_id": "o1"}
    assert (context.request_id(), context.traceparent()) == ("mine", outside)
    assert context.facts() == {}


@pytest.mark.parametrize("row", [None, "", "nonsense", "00-" + "0" * 32 + "-00f067aa0ba902b7-01"])
def test_a_row_without_a_trace_begins_one(row: str | None) -> None:
    with tracing.span("work", row):
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", context.traceparent())
