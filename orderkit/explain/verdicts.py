"""Whether each query of the catalog can be answered by the index that it must use."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, text

from orderkit.db import Database
from orderkit.explain import plans
from orderkit.explain.capture import Captured, NotAsked, capture
from orderkit.explain.plans import Plan
from orderkit.explain.query import Query
from orderkit.settings import Settings

OK = "ok"
NOT_ASKED = "nothing to ask about yet"
SMALL_PAGES = 32
"""Of a table of so few pages, of 8 KiB, PostgreSQL reads any index as soon as another."""
_NOT_BY_INDEX = ("seqscan", "hashjoin", "mergejoin", "sort")


@dataclass(frozen=True, slots=True)
class Explained:
    """A query, its statement and its plan. `verdict` is "ok", or what is wrong with the plan.

    An empty shop has some questions that are not asked in it; they have no plan, and hold.
    """

    query: Query
    engine: str
    captured: Captured
    plan: Plan
    verdict: str

    @property
    def holds(self) -> bool:
        return self.verdict in (OK, NOT_ASKED)

    def told(self) -> Mapping[str, Any]:
        """As `--json` prints it."""
        return {
            "name": self.query.name,
            "purpose": self.query.purpose,
            "index": ", ".join(self.query.indexes(self.engine)),
            "verdict": self.verdict,
            "plan": self.plan.text(),
            "steps": [asdict(step) for step in self.plan.top],
            "statement": self.captured.statement,
        }


def explain(
    database: Database, settings: Settings, queries: Iterable[Query], *, each: Callable[[int], None] = lambda _: None
) -> list[Explained]:
    """The verdict of each query, as the database is now. Nothing is executed but what is read to find rows to ask about.

    PostgreSQL plans without sequential scans where there is any other way, so that small tables do not mislead. Where a
    table is so small that any index does, another is fine, as long as the right one is there.
    """
    found = []
    with examining(database) as connection:
        for query in queries:
            found.append(_explained(connection, settings, query))
            each(1)
    return found


@contextmanager
def examining(database: Database) -> Iterator[Connection]:
    """A connection that plans every statement anew, in a transaction that is rolled back."""
    with database.reading() as session:
        connection = session.connection()
        if not database.is_sqlite:
            connection.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))
            for way in _NOT_BY_INDEX:
                connection.execute(text(f"SET LOCAL enable_{way} = off"))
        yield connection


def _explained(connection: Connection, settings: Settings, query: Query) -> Explained:
    try:
        captured = capture(connection, query, settings)
    except NotAsked:
        return Explained(query, connection.dialect.name, Captured("", ()), Plan(()), NOT_ASKED)
    plan = planned(connection, captured)
    return Explained(query, connection.dialect.name, captured, plan, verdict(connection, query, plan))


def planned(connection: Connection, captured: Captured) -> Plan:
    if connection.dialect.name == "sqlite":
        return plans.of_sqlite(connection.connection.dbapi_connection, captured)
    return plans.of_postgresql(connection, captured)


def verdict(connection: Connection, query: Query, plan: Plan) -> str:
    """OK, or in a few words what this plan does that it must not."""
    wanted = query.indexes(connection.dialect.name)
    unused = _but(wanted, plan.indexes)
    if unused[:1] == [wanted[0]] and set(query.or_else) & set(plan.indexes):
        del unused[0]
    there = _there(connection)
    wrong = [f"there is no {name}" for name in wanted if name not in there]
    if unused := [name for name in unused if name in there and there[name] > SMALL_PAGES]:
        wrong.append(f"does not use {', '.join(unused)}")
        if others := _but(plan.indexes, wanted):
            wrong.append(f"uses {', '.join(others)}")
    if plan.scans:
        wrong.append(f"scans {', '.join(plan.scans)}")
    if query.ordered and plan.sorts:
        wrong.append("sorts")
    return "; ".join(wrong) or OK


def _but(names: Sequence[str], these: Sequence[str]) -> list[str]:
    return [name for name in names if name not in these]


_SIZES = """
SELECT i.relname AS name, pg_relation_size(t.oid) / current_setting('block_size')::integer AS pages
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
WHERE x.indisvalid AND t.relnamespace = current_schema()::regnamespace
"""


def _there(connection: Connection) -> Mapping[str, float]:
    """Every index there is, with the pages that its table has. SQLite asks nobody how large a table is: all are."""
    if connection.dialect.name != "sqlite":
        return {row.name: row.pages for row in connection.execute(text(_SIZES))}
    rows = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'index'")).scalars().all()
    names = plans.constraint_names(connection.connection.dbapi_connection)
    return {names.get(name, name): math.inf for name in rows}
