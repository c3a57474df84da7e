"""The checklist of what can be seen from outside: logs, metrics, traces."""

from __future__ import annotations

from orderkit.print_pack.checks.pages import Item

OBSERVABILITY: dict[str, tuple[Item, ...]] = {
    "Logs": (
        Item("Every line is a JSON object with time, level, process and message", "logs.json"),
        Item("Each request is one line, under its id, with status and time", "logs.request"),
        Item("Each call to provider and carrier is one line, with attempt and outcome", "logs.calls"),
        Item("One id leads through API, worker and provider", "logs.followed"),
        Item("Slow queries are told by name", "logs.slow_queries"),
        Item("No password, token, address or body is in any line", "logs.no_secrets"),
        Item("Errors are problem documents with a code and the request's id", "errors.problems"),
        Item("Every code is explained where the error says", "errors.meaning"),
    ),
    "Metrics": (
        Item("The API tells all that is documented", "metrics.api"),
        Item("So does the worker", "metrics.worker"),
        Item("An order that is paid is counted", "metrics.count"),
        Item("The pool of connections is measured", "database.pool"),
        Item("They can be behind a token", "metrics.token"),
        Item("Alerts ask for what exists, each with a section of the runbook", "metrics.alerts"),
    ),
    "Traces": (
        Item("A trace that comes in goes on through API, worker and provider", "traces.continued"),
        Item("Each request has an id that its answer carries", "request.id"),
        Item("An order tells its own story, call by call", "orders.timeline"),
    ),
    "Health and deadlines": (
        Item("Liveness asks nobody else", "health.live"),
        Item("Readiness names what is needed", "health.ready"),
        Item("A held-up database is waited for no longer than its timeout", "timeouts.database"),
        Item("A silent provider is waited for no longer than its timeout", "timeouts.provider"),
        Item("A process that is stopped drains", "app.drains"),
    ),
}
