"""What is counted, for Prometheus. docs/metrics.md lists all of it; `orderkit system metrics` writes that page.

One process keeps its numbers in memory. Several (`serve --workers N`) write them to files in a folder that
PROMETHEUS_MULTIPROC_DIR names, and whichever is scraped adds all up; prometheus-client reads that variable when it is first
imported, so `serve` sets it before it starts its workers. A gauge says how those of several processes become one number.

Labels take their values from closed sets, so that no caller can make up series. Where a set is known beforehand, its series
are there from the start, at 0: what appears with its first event has no increase.
"""

from __future__ import annotations

import hmac
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import Metric as PrometheusMetric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from pydantic import SecretStr

from orderkit.clock import now

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nobody asks for

Origin = Literal["api", "worker"]
BOTH: tuple[Origin, ...] = ("api", "worker")
API: tuple[Origin, ...] = ("api",)
WORKER: tuple[Origin, ...] = ("worker",)


class Metric(NamedTuple):
    """One that there is. `labels` has, by name, the values that are known beforehand; none: those of LABELS."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Mapping[str, Sequence[str]]
    of: tuple[Origin, ...]


LABELS = {
    "method": "of HTTP, or `other`",
    "route": "the template of the route, such as `/orders/{order_id}`; `static`, or `none`",
    "status": "of HTTP",
    "code": "of a problem document; docs/errors.md lists them",
    "provider": "`builtin`, `simulator`",
    "outcome": "of the gateway `captured`, `declined`, `unknown`, `voided`, `refunded`, `refused`; of the carrier `booked`, "
    "`rejected`, `failed`, `recalled`",
    "operation": "`charge`, `void`, `refund` of the gateway; `book`, `cancel` of the carrier",
    "currency": "ISO 4217",
    "breaker": "`gateway`; of the worker also `carrier`, `mail`",
    "pool": "`main`, `orders` (PostgreSQL), `replica`, `system` (what is read for these numbers)",
    "version": "of orderkit",
    "python": "its version",
}
"""What a label may be that has too many values to be listed, or values that only an installation knows."""

METRICS: list[Metric] = []
_families: dict[str, Any] = {}
_several: dict[str, str] = {}

M = TypeVar("M", Counter, Gauge, Histogram)


def _kept(made: M, metric: Metric) -> M:
    METRICS.append(metric)
    _families[metric.name] = made
    return made


def _counter(name: str, help_: str, of: tuple[Origin, ...], **labels: Sequence[str]) -> Counter:
    return _kept(Counter(name, help_, list(labels)), Metric(name, "counter", help_, labels, of))


def _gauge(
    name: str,
    help_: str,
    of: tuple[Origin, ...],
    several: Literal["livemax", "livesum"],
    **labels: Sequence[str],
) -> Gauge:
    """`several`: what makes one number of those of several processes that live."""
    made = Gauge(name, help_, list(labels), multiprocess_mode=several)
    _several[name] = several
    return _kept(made, Metric(name, "gauge", help_, labels, of))


def _histogram(
    name: str, help_: str, of: tuple[Origin, ...], buckets: Sequence[float], **labels: Sequence[str]
) -> Histogram:
    made = Histogram(name, help_, list(labels), buckets=buckets)
    return _kept(made, Metric(name, "histogram", help_, labels, of))


_QUICK_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_CALLS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

# ── HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

http_requests = _counter("orderkit_http_requests_total", "Requests answered.", API, method=(), route=(), status=())
http_seconds = _histogram(
    "orderkit_http_request_seconds",
    "Seconds from a request's head to the end of its answer.",
    API,
    _QUICK_S,
    method=(),
    route=(),
)
problems = _counter("orderkit_problems_total", "Answers that were problem documents.", API, code=())
SHED = ("in_flight", "connections", "orders")
shed = _counter(
    "orderkit_requests_shed_total",
    "Requests and connections turned away because too many were under way, too many were open, or too many orders waited.",
    API,
    reason=SHED,
)
TIMED_OUT = ("head", "body", "request", "write")
timed_out = _counter(
    "orderkit_requests_timed_out_total",
    "Requests that ran into a deadline: of their head, their body, the whole of them, or of reading the answer.",
    API,
    stage=TIMED_OUT,
)

# ── orders and money ─────────────────────────────────────────────────────────────────────────────────────────────────

PLACED = {201: "paid", 202: "pending", 402: "declined"}
NOT_PLACED = {"out_of_stock": "out_of_stock", "price_changed": "price_changed", "unavailable": "unavailable"}
"""What a request for an order is told that did not become one, by the code of the problem; any other is `refused`."""
orders = _counter(
    "orderkit_orders_total",
    "Requests for an order by what they were told; repeats are counted as orderkit_idempotency_total.",
    API,
    outcome=(*PLACED.values(), *NOT_PLACED.values(), "refused"),
)
IDEMPOTENCY = {
    "idempotency_key_in_use": "in_use",
    "idempotency_key_reused": "reused",
    "idempotency_key_expired": "expired",
}
idempotency = _counter(
    "orderkit_idempotency_total",
    "Keys that came again: the first answer was replayed, or the key was in use, used for something else, or too old.",
    API,
    outcome=("replayed", *IDEMPOTENCY.values()),
)
SETTLED = ("captured", "declined", "voided", "unknown")
payments_settled = _counter(
    "orderkit_payments_settled_total", "Answers of the provider that became a payment's status.", BOTH, status=SETTLED
)
money_captured = _counter(
    "orderkit_money_captured_minor_units_total",
    "Money taken, in minor units, counted once a payment when it is settled.",
    BOTH,
    currency=(),
)
money_refunded = _counter(
    "orderkit_money_refunded_minor_units_total",
    "Money given back, in minor units, counted once a refund when the provider confirmed it.",
    WORKER,
    currency=(),
)
REFUNDED = ("succeeded", "failed", "pending")
refunds = _counter(
    "orderkit_refunds_total",
    "Refunds that the provider was asked for, by what they were then; pending ones are asked for again.",
    WORKER,
    status=REFUNDED,
)

# ── providers ────────────────────────────────────────────────────────────────────────────────────────────────────────

provider_calls = _counter(
    "orderkit_provider_calls_total",
    "Calls to payment provider and carrier; unknown and failed are calls without a verdict.",
    BOTH,
    provider=(),
    operation=(),
    outcome=(),
)
provider_seconds = _histogram(
    "orderkit_provider_call_seconds", "Seconds a call took.", BOTH, _CALLS_S, provider=(), operation=()
)
provider_retries = _counter(
    "orderkit_provider_retries_total",
    "Calls that were not the first under their key.",
    BOTH,
    provider=(),
    operation=(),
)
breaker_open = _gauge(
    "orderkit_breaker_open",
    "1 while a breaker holds calls back, for its pause or for the one call that tries; of several processes, 1 if any does.",
    BOTH,
    "livemax",
    breaker=(),
)
"""Holds until when, in seconds since 1970; `exposition` makes 1 or 0 of it, as it ends with time, in other processes too."""
breaker_opened = _counter(
    "orderkit_breaker_opened_total",
    "Times that a breaker opened, and each time that it went on because the one call that tried failed too.",
    BOTH,
    breaker=(),
)

# ── database ─────────────────────────────────────────────────────────────────────────────────────────────────────────

pool_size = _gauge(
    "orderkit_db_pool_size", "Connections that a pool may hold, of all processes together.", BOTH, "livesum", pool=()
)
pool_in_use = _gauge(
    "orderkit_db_pool_in_use", "Connections that are in use, of all processes together.", BOTH, "livesum", pool=()
)
pool_seconds = _histogram(
    "orderkit_db_pool_wait_seconds",
    "Seconds until a connection was had, which may have to be opened first.",
    BOTH,
    (0.001, 0.005, 0.025, 0.1, 0.5, 1, 5),
    pool=(),
)
pool_timeouts = _counter(
    "orderkit_db_pool_timeouts_total", "Times that no connection was free within ORDERKIT_DB_TIMEOUT.", BOTH, pool=()
)
lock_timeouts = _counter(
    "orderkit_db_lock_timeouts_total",
    "Times that SQLite's write lock was not had within ORDERKIT_DB_TIMEOUT: somebody else kept it.",
    BOTH,
)

# ── callers ──────────────────────────────────────────────────────────────────────────────────────────────────────────

LOGINS = ("succeeded", "failed", "throttled")
logins = _counter(
    "orderkit_logins_total",
    "Logins with a password; throttled ones were refused before it was looked at.",
    API,
    outcome=LOGINS,
)
WEBHOOKS = ("delivered", "remembered", "recorded", "known", "unknown", "repeated", "ignored", "refused")
webhooks = _counter(
    "orderkit_webhooks_total",
    "Callbacks of the carrier, by what came of them; refused ones were not signed as they should be.",
    API,
    outcome=WEBHOOKS,
)

# ── the worker ───────────────────────────────────────────────────────────────────────────────────────────────────────

TASKS = ("ship", "recall", "resolve", "refund", "send")
"""Send a mail, resolve a payment; the others speak for themselves."""
TASK_ENDS = ("done", "postponed", "abandoned", "failed")
tasks = _counter(
    "orderkit_tasks_total",
    "Tasks by how they ended: done; postponed, the database being away; abandoned when the worker stopped; failed.",
    WORKER,
    task=TASKS,
    outcome=TASK_ENDS,
)
task_seconds = _histogram("orderkit_task_seconds", "Seconds a task took.", WORKER, _CALLS_S, task=TASKS)
queue_tasks = _gauge("orderkit_queue_tasks", "Tasks that wait on the queue for a thread.", WORKER, "livemax")
turns = _counter(
    "orderkit_worker_turns_total",
    "Turns of the loop that finds what is due; failed: database or queue did not answer.",
    WORKER,
    outcome=("done", "failed"),
)
turned_at = _gauge(
    "orderkit_worker_turn_timestamp_seconds",
    "When the loop last got through a turn, in seconds since 1970.",
    WORKER,
    "livemax",
)
events_relayed = _counter("orderkit_events_relayed_total", "Events of the outbox that were applied and sent.", WORKER)
rollup_rows = _counter("orderkit_rollup_rows_total", "Rows of the rollups that the relay added to.", WORKER)


def several(name: str) -> str:
    """How the values of a gauge of several processes become one, "livemax" or "livesum"; of anything else, nothing."""
    return _several.get(name, "")


def call_made(provider: str, operation: str, outcome: str, seconds: float, *, attempt: int) -> None:
    """Counts one call to payment provider or carrier; `attempt` counts those under its key from 1."""
    calls, took, retries = _of_call(provider, operation, outcome)
    calls.inc()
    took.observe(seconds)
    if attempt > 1:
        retries.inc()


@lru_cache(maxsize=256)
def _of_call(provider: str, operation: str, outcome: str) -> tuple[Counter, Histogram, Counter]:
    """Looked up once: finding them by label costs as much as counting."""
    return (
        provider_calls.labels(provider, operation, outcome),
        provider_seconds.labels(provider, operation),
        provider_retries.labels(provider, operation),
    )


def problem(code: str) -> None:
    """Counts an answer that is a problem document, and what it says of an idempotency key."""
    problems.labels(code).inc()
    if code in IDEMPOTENCY:
        idempotency.labels(IDEMPOTENCY[code]).inc()


def order_refused(code: str) -> None:
    """Counts a request for an order that did not become one; what is wrong with its key is counted by `problem`."""
    if code not in IDEMPOTENCY:
        orders.labels(NOT_PLACED.get(code, "refused")).inc()


def begin(origin: Origin) -> None:
    """Makes this process's series be there, at 0, of which is known beforehand which there will be."""
    for metric in METRICS:
        if origin in metric.of and metric.labels and all(metric.labels.values()):
            for values in itertools.product(*metric.labels.values()):
                _families[metric.name].labels(*values)


def may_scrape(authorization: bytes, token: SecretStr | None) -> bool:
    """Whether somebody who sent this header may have the numbers: everybody, where no token is set."""
    return token is None or hmac.compare_digest(authorization, f"Bearer {token.get_secret_value()}".encode())


def exposition(origin: Origin, *collectors: Collector) -> bytes:
    """All numbers of `origin`, of all processes that share FOLDER, in Prometheus' text format; and what `collectors` find out."""
    shared = os.environ.get(FOLDER)
    if shared:
        _forget_the_dead(Path(shared))
    counted = MultiProcessCollector(None) if shared else REGISTRY  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    for one in (_Of(origin, counted), *collectors):
        registry.register(one)
    return generate_latest(registry)


class _Of(Collector):
    """What was counted, without what this kind of process never counts: there it would be 0, and look like a fact."""

    def __init__(self, origin: Origin, counted: Collector) -> None:
        self._others = {one.name.removesuffix("_total") for one in METRICS if origin not in one.of}
        self._counted = counted

    def collect(self) -> Iterator[PrometheusMetric]:
        for family in self._counted.collect():
            if family.name == "orderkit_breaker_open":
                family.samples = [one._replace(value=float(one.value > now().timestamp())) for one in family.samples]
            if family.name not in self._others:
                yield family


def _forget_the_dead(folder: Path) -> None:
    """Deletes what processes of this machine said of themselves that are gone, however they ended. What they counted stays."""
    for file in folder.glob("gauge_live*_*.db"):
        try:
            os.kill(int(file.stem.rpartition("_")[2]), 0)
        except ProcessLookupError:
            file.unlink(missing_ok=True)
        except (PermissionError, ValueError):
            continue
