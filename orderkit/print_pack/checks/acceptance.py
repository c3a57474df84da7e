"""The seven criteria that the whole is accepted by, and what to have at hand for each."""

from __future__ import annotations

from orderkit.print_pack.checks.pages import Criterion, Item

ACCEPTANCE: tuple[Criterion, ...] = (
    Criterion(
        1,
        "The OpenAPI document is that of the running application",
        (Item("what is committed is what is served", "pages.contract"), Item("it is served", "app.serves")),
        "`openapi.yaml`, and `/docs` open in a browser",
    ),
    Criterion(
        2,
        "One command brings up the environment",
        (
            Item("`orderkit demo`: API, worker, provider, story and verdict", "pages.one_command"),
            Item("`docker compose up`: with PostgreSQL and Redis", "pages.deployment"),
        ),
        "a terminal with `orderkit demo` ready to run",
    ),
    Criterion(
        3,
        "Unit tests cover at least 70 % of the business logic; integration tests cover idempotency and the worker",
        (
            Item("coverage", "tests.coverage"),
            Item("integration tests of idempotency", "tests.idempotency"),
            Item("integration tests of the worker's success and failure", "tests.worker"),
        ),
        "`tests/coverage-summary.md`, and one test open in an editor",
    ),
    Criterion(
        4,
        "The same key never makes a second order or charge",
        (
            Item("repeated", "orders.same_key"),
            Item("a dozen at once", "orders.same_key_at_once"),
            Item("the provider's ledger agrees with the database", "worker.books"),
        ),
        "two requests with one key, and the provider's ledger",
    ),
    Criterion(
        5,
        "Indexes are shown to be used, by EXPLAIN",
        (
            Item("every query by its index", "database.plans"),
            Item("every index is there", "database.indexes"),
            Item("and has its reason", "database.why_indexes"),
        ),
        "`orderkit explain orders.of_user_by_time --without ix_orders_user_id_created_at`",
    ),
    Criterion(
        6,
        "The runbook covers restart and trouble",
        (
            Item("restart, and a section for each alert", "pages.runbook"),
            Item("alerts ask for what is measured", "metrics.alerts"),
            Item("a process that is stopped drains", "app.drains"),
        ),
        "`runbook.md`, open at “First of all”",
    ),
    Criterion(
        7,
        "The interview brief has three demo steps and the trade-offs",
        (Item("the brief", "pages.interview"), Item("the decisions behind it", "pages.decisions")),
        "`interview-brief.md`, and one decision to tell",
    ),
)
