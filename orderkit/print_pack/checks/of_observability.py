"""Logs, metrics, traces and errors of the running stack, and that nothing waits for ever."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import time
from collections.abc import Iterable
from typing import Any

from orderkit.assets import asset
from orderkit.ids import new_id
from orderkit.observability.metrics import METRICS
from orderkit.print_pack.checks.checking import Check, Fails, NotChecked, expect, same
from orderkit.print_pack.checks.site import DB_TIMEOUT_S, PROVIDER_TIMEOUT_S, Live, Site

PROCESSES = ("serve", "worker", "simulate")
WRITTEN_WITHIN_S = 8.0
MEMBERS = {"type", "title", "status", "detail", "code", "request_id"}
"""Of every problem document."""


# ── logs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _json(site: Site) -> str:
    for process in PROCESSES:
        lines = list(site.live.lines(process))
        lacking = [line for line in lines if not {"at", "level", "process", "message"} <= line.keys()]
        expect(lines and not lacking, f"a line of {process} lacks at, level, process or message")
    return f"every line of {', '.join(PROCESSES)} is a JSON object with at, level, process and message"


async def _request_logged(site: Site) -> str:
    sent = f"check-{new_id().hex}"
    await site.live.must(200, "GET", "/products", headers={"X-Request-ID": sent})
    line = await _line(site.live, "serve", has=("route",), request_id=sent)
    same((line.get("method"), line.get("status")), ("GET", 200), "what is logged of a request")
    expect(isinstance(line.get("ms"), int | float), "it does not say how long it took")
    return f"one line under its id: {line['method']} {line['route']} {line['status']}, and how long it took"


async def _calls_logged(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    order = await live.paid(who)
    line = await _line(live, "serve", operation="charge", key=order["payment"]["id"])
    same(line.get("outcome"), "captured", "the outcome that is logged")
    expect({"provider", "attempt", "ms"} <= line.keys(), "the line of a call lacks provider, attempt or ms")
    return f"charge at {line['provider']}: attempt {line['attempt']}, {line['outcome']}, and how long it took"


async def _followed(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    order = await live.paid(who)
    await live.until(order["id"], who, "shipped")
    files = [str(live.home / f"{process}.log") for process in PROCESSES]
    ran = await live.command("logs", order["id"], *files)
    same(ran.code, 0, "the exit code of orderkit logs")
    missing = [one for one in ("api", "worker", "simulator") if one not in ran.out]
    expect(not missing, f"the way of an order shows nothing of {', '.join(missing)}")
    return "orderkit logs shows its way through API, worker and provider"


async def _no_secrets(site: Site) -> str:
    live = site.live
    canary = f"canary-{new_id().hex}"
    form = {"grant_type": "password", "username": f"{canary}@check.example", "password": canary}
    await live.must(401, "POST", "/token", form=form)
    await live.ask("GET", f"/products/{canary}?q={canary}", headers={"Authorization": f"Bearer {canary}"})
    await live.ask("POST", "/orders", live.staff, body={"note": canary}, headers={"Idempotency-Key": canary})
    sent = f"check-{new_id().hex}"
    await live.must(200, "GET", "/products", headers={"X-Request-ID": sent})
    await _line(live, "serve", request_id=sent)  # what was sent before it has its lines by then
    for process in PROCESSES:
        written = (live.home / f"{process}.log").read_text(errors="replace")
        for secret in (canary, live.staff.token, live.staff.login.password):
            expect(secret not in written, f"a secret that was sent is in the log of {process}")
    return "passwords, tokens, addresses, paths and bodies that were sent are in no log"


async def _slow_queries(site: Site) -> str:
    live = site.live
    await live.must(200, "GET", "/orders", live.staff)
    line = await _line(live, "serve", has=("query", "milliseconds"))
    expect(line["milliseconds"] > 0, "it does not say how slow")
    return "told by the name that orderkit explain plans it by, with its milliseconds"


async def _line(live: Live, process: str, has: Iterable[str] = (), **facts: object) -> dict[str, Any]:
    """A line of a process's log that has those facts, once it is written. Raises Fails."""
    ends = time.monotonic() + WRITTEN_WITHIN_S
    while True:
        for line in live.lines(process):
            if all(line.get(name) == value for name, value in facts.items()) and all(name in line for name in has):
                return line
        if time.monotonic() > ends:
            wanted = ", ".join([*(f"{name}={value}" for name, value in facts.items()), *has])
            raise Fails(f"no line of {process} has {wanted}")
        await asyncio.sleep(0.1)


# ── errors and deadlines ─────────────────────────────────────────────────────────────────────────────────────────────


async def _problems(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    asked: list[tuple[int, str, str, dict[str, Any]]] = [
        (400, "POST", "/orders", {"body": {}}),
        (403, "GET", "/users", {}),
        (404, "GET", "/nothing", {}),
        (405, "PUT", "/orders", {}),
        (415, "POST", "/orders", {"form": {"items": "1"}, "headers": {"Idempotency-Key": "k"}}),
        (422, "GET", "/orders?limit=0", {}),
    ]
    for status, method, path, sent in asked:
        reply = await live.must(status, method, path, who, **sent)
        kind = reply.headers.get("Content-Type", "")
        expect(kind.startswith("application/problem+json"), f"{method} {path} is answered {kind}")
        lacking = MEMBERS - reply.body.keys()
        expect(not lacking, f"the problem of {method} {path} lacks {', '.join(sorted(lacking))}")
    return f"{', '.join(str(status) for status, *_ in asked)}: all problem documents of the same members"


async def _meaning(site: Site) -> str:
    live = site.live
    problem = (await live.must(401, "GET", "/users/me")).body
    path = problem["type"].removeprefix(live.api)
    told = (await live.must(200, "GET", path if path.startswith("/") else f"/problems/{problem['code']}")).body
    same(told["code"], problem["code"], "what its page explains")
    expect(any(len(str(told.get(name) or "")) > 20 for name in told), "the page of a code says nothing")
    return f"{problem['code']}: “{problem['detail']}”, explained at {path}"


async def _database_timeout(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    taken = await asyncio.to_thread(_lock, live)
    began = time.monotonic()
    try:
        reply = await live.order(who)
    finally:
        await asyncio.to_thread(_unlock, taken)
    took = time.monotonic() - began
    same(reply.status, 503, "an order while another holds the database's lock")
    expect(took < DB_TIMEOUT_S + 3, f"it was told only after {took:.1f} s")
    same((await live.order(who)).status, 201, "an order once the lock is free")
    return f"503 with a timeout of {DB_TIMEOUT_S:g} s, and not much later; afterwards orders go through"


def _lock(live: Live) -> sqlite3.Connection:
    connection = sqlite3.connect(live.database_file, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute("BEGIN IMMEDIATE")
    return connection


def _unlock(connection: sqlite3.Connection) -> None:
    connection.execute("ROLLBACK")
    connection.close()


async def _provider_timeout(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    began = time.monotonic()
    reply = await live.order(who, method="pm_card_timeout_before_charge")
    took = time.monotonic() - began
    same(reply.status, 202, "an order whose provider says nothing")
    expect(took < PROVIDER_TIMEOUT_S + 3, f"it was told only after {took:.1f} s")
    await live.until(reply.body["id"], who, "paid", "shipped")
    same(await live.captures(reply.body["payment"]["id"]), 1, "captures in the provider's ledger")
    return f"202 with a timeout of {PROVIDER_TIMEOUT_S:g} s, and not much later; paid once in the background"


# ── metrics ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _metrics_api(site: Site) -> str:
    return _exposed(await site.live.metrics(), "api")


async def _metrics_worker(site: Site) -> str:
    return _exposed(await site.live.metrics(site.live.worker), "worker")


def _exposed(told: str, origin: str) -> str:
    found = set(re.findall(r"(?m)^# TYPE (\w+) ", told))
    wanted = {metric.name for metric in METRICS if origin in metric.of}
    missing = sorted(name for name in wanted if not {name, name.removesuffix("_total")} & found)
    expect(not missing, f"the {origin} does not tell {', '.join(missing[:3])}")
    return f"{len(wanted)} metrics of the {origin}, all there"


async def _metrics_count(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    before = _value(await live.metrics(), 'orderkit_orders_total{outcome="paid"}')
    await live.paid(who)
    after = _value(await live.metrics(), 'orderkit_orders_total{outcome="paid"}')
    expect(after > before, f"orders paid were {before:g} before an order and {after:g} after it")
    return "more orders are paid after an order than before it"


def _value(told: str, series: str) -> float:
    found = re.search(rf"(?m)^{re.escape(series)} (\S+)$", told)
    return float(found[1]) if found else 0.0


async def _metrics_token(site: Site) -> str:
    for url in (site.live.api, site.live.worker):
        await site.live.must(401, "GET", f"{url}/metrics")
        await site.live.metrics(url)
    return "API and worker answer 401 without the token of the metrics"


async def _alerts(site: Site) -> str:
    rules = _text("deploy/prometheus/rules.yml")
    named = set(re.findall(r"\borderkit_\w+", rules))
    told = await site.live.metrics() + await site.live.metrics(site.live.worker)
    unknown = sorted(name for name in named if re.sub(r"_(bucket|sum|count|total)$", "", name) not in told)
    expect(not unknown, f"alerts ask for {', '.join(unknown)}, which nobody tells")
    sections = set(re.findall(r"(?m)^## (\S+)$", _text("docs/runbook.md")))
    wanted = set(re.findall(r"runbook\.md#([\w-]+)", rules))
    expect(wanted and wanted <= sections, f"the runbook lacks {', '.join(sorted(wanted - sections))}")
    return f"{rules.count('- alert:')} alerts on {len(named)} metrics that are told, each with a section of the runbook"


def _text(name: str) -> str:
    try:
        return asset(name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotChecked(f"{name} is not part of this installation") from None


# ── traces ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _trace(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    trace = new_id().hex
    reply = await live.order(who, headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    same(reply.status, 201, "an order that brings a trace along")
    expect(trace in reply.headers.get("traceparent", ""), "the answer is not of the trace that came")
    for process in PROCESSES:
        await _line(live, process, trace_id=trace)
    return "a trace that comes with a request is that of API, worker and provider, and of the answer"


CHECKS = (
    Check(
        "logs.json",
        "Every line of every process is a JSON object.",
        _json,
        ("orderkit/observability/logs.py", "tests/observability/test_logs.py"),
        alone=True,
    ),
    Check(
        "logs.request",
        "Each request is one line, under its id.",
        _request_logged,
        ("orderkit/api/edge.py", "tests/api/test_edge.py::test_each_request_is_logged_once_under_its_id"),
    ),
    Check(
        "logs.calls",
        "Each call to provider and carrier is a line, with attempt, outcome and time.",
        _calls_logged,
        (
            "orderkit/payments/charging.py",
            "tests/payments/test_charging.py::test_every_call_leaves_one_line_in_the_log",
        ),
    ),
    Check(
        "logs.followed",
        "One id leads through the logs of all processes.",
        _followed,
        (
            "orderkit/observability/journey.py",
            "tests/journeys/test_logs.py::test_one_id_leads_through_the_logs_of_all_processes",
        ),
    ),
    Check(
        "logs.no_secrets",
        "What was sent is in no log: no password, token, address or body.",
        _no_secrets,
        ("orderkit/redaction.py", "tests/security/test_canaries.py"),
    ),
    Check(
        "logs.slow_queries",
        "A slow query is logged by the name that it is planned by.",
        _slow_queries,
        ("orderkit/slow_queries.py", "tests/db/test_slow_queries.py"),
    ),
    Check(
        "errors.problems",
        "Every error is a problem document with a stable code and the request's id.",
        _problems,
        ("orderkit/api/problems.py", "tests/api/test_problems.py::test_the_table_has_every_code_and_no_other"),
    ),
    Check(
        "errors.meaning",
        "Every code is explained where its problem says.",
        _meaning,
        ("docs/errors.md", "tests/api/test_problems.py::test_every_code_is_explained_where_its_type_says"),
    ),
    Check(
        "timeouts.database",
        "A database that is held up is waited for no longer than the timeout.",
        _database_timeout,
        ("orderkit/db.py", "tests/db/test_transactions.py::test_a_wait_for_a_lock_has_a_bound"),
        alone=True,
    ),
    Check(
        "timeouts.provider",
        "A provider that says nothing is waited for no longer than its timeout.",
        _provider_timeout,
        (
            "orderkit/http_client.py",
            "tests/payments/test_charging.py::test_a_provider_that_says_nothing_is_left_at_the_end_of_the_budget",
        ),
    ),
    Check(
        "metrics.api",
        "The API tells every metric that is documented.",
        _metrics_api,
        ("orderkit/observability/metrics.py", "docs/metrics.md", "tests/observability/test_metrics.py"),
    ),
    Check(
        "metrics.worker",
        "The worker tells its own, on a port of its own.",
        _metrics_worker,
        ("orderkit/worker/scraping.py", "tests/worker/test_scraping.py"),
    ),
    Check(
        "metrics.count",
        "An order that is paid is counted.",
        _metrics_count,
        ("orderkit/observability/metrics.py", "tests/observability/test_metrics.py"),
    ),
    Check(
        "metrics.token",
        "Metrics can be behind a token of their own.",
        _metrics_token,
        ("orderkit/api/health.py", "tests/api/test_health.py::test_metrics_can_be_behind_a_token_of_their_own"),
    ),
    Check(
        "metrics.alerts",
        "Alerts ask for metrics that exist, and each has a section of the runbook.",
        _alerts,
        ("deploy/prometheus/rules.yml", "docs/runbook.md", "tests/observability/test_alerts.py"),
    ),
    Check(
        "traces.continued",
        "A trace goes on through API, worker and provider.",
        _trace,
        (
            "orderkit/observability/context.py",
            "tests/observability/test_tracing.py::test_one_trace_spans_request_database_event_worker_and_carrier",
        ),
    ),
)
