"""Every report walks indexes: none looks through a table that grows with the orders."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, event, text

from orderkit.analytics import asking
from orderkit.analytics.reports import ranking, sales, spending, statuses
from orderkit.analytics.tallies import Books
from orderkit.db import Database
from tests import histories
from tests.plans import analyze

GROWING = ("orders", "order_items", "payments", "refunds", "outbox", "order_history", "rollups", "users")

BY = {
    "reports.by_time": "pk_rollups",
    "reports.extent": "pk_rollups",
    "reports.months": "pk_rollups",
    "reports.users_by_net": "pk_rollups",
    "reports.products_by_sales": "pk_rollups",
    "reports.spending": "ix_rollups_of_users",
    "reports.pending": "ix_orders_status_created_at",
}


@contextmanager
def overheard(connection: Connection) -> Iterator[list[tuple[str | None, str, Any]]]:
    """What is asked meanwhile: name, statement, parameters."""
    found: list[tuple[str | None, str, Any]] = []

    def hear(_connection: Any, _cursor: Any, statement: str, parameters: Any, context: Any, _many: bool) -> None:
        found.append((context.execution_options.get("query"), statement, parameters))

    event.listen(connection, "before_cursor_execute", hear)
    yield found
    event.remove(connection, "before_cursor_execute", hear)


def test_no_report_looks_through_a_table(database: Database, rng: random.Random) -> None:
    history = histories.make(database, rng, start=datetime(2025, 1, 1, tzinfo=UTC), days=400, orders=120)
    asked = asking.asked("2025-01-15", "2025-11-03T04:05:06Z", "Asia/Kathmandu")
    if not database.is_sqlite:  # which takes a table for a big one as long as nobody has told it otherwise
        with database.transaction() as session:
            analyze(session, *GROWING)
    with database.snapshot() as session:
        connection = session.connection()
        is_sqlite = connection.dialect.name == "sqlite"
        if not is_sqlite:  # tables of a test are so small that looking through them is right
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        with overheard(connection) as heard:
            books = Books(connection)
            for by in ("day", "month", "country"):
                sales.report(books, asked, by)
            ranking.users(books, asked, limit=5, after=ranking.Place(10_000, "GBP", ""))
            ranking.products(books, asked, "quantity", limit=5)
            spending.report(books, asked, next(iter(history.users)))
            statuses.report(books, asked)
        seen = set()
        for name, statement, parameters in heard:
            explain = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "
            plan = "\n".join(str(row[-1]) for row in connection.exec_driver_sql(explain + statement, parameters))
            for table in GROWING:
                assert f"Seq Scan on {table} " not in plan, plan
                scans = [line for line in plan.splitlines() if line.split()[:2] == ["SCAN", table]]
                assert all("INDEX" in line for line in scans), plan
            if name in BY:
                seen.add(name)
                index = "sqlite_autoindex_rollups_1" if is_sqlite and BY[name] == "pk_rollups" else BY[name]
                assert index in plan, plan
    assert seen == BY.keys()
