"""Whether each query of the catalog can be answered by the index that it must use."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

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
INVALID = -1
"""Stands for the size of the table of an index that is there and not valid, as one is whose building was interrupted."""
_NOT_BY_INDEX = ("seqscan", "hashjoin", "mergejoin", "sort")


@dataclass(frozen=True, slots=True)
class Explained:
    """A query, its statement and its plan. `verdict` is "ok", or what is wrong with the plan; `remark` is what is worth knowing
    of one that holds, or "".

    An empty shop has some questions that are not asked in it; they have no plan, and hold.
    """

    query: Query
    engine: str
    captured: Captured
    plan: Plan
    verdict: str
    remark: str = ""

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
            "remark": self.remark,
            "plan": self.plan.text(),
            "steps": [asdict(step) for step in self.plan.top],
            "statement": self.captured.statement,
        }


class Judged(NamedTuple):
    """OK, or in a few words what a plan does that it must not; and what it does otherwise than it was meant, though it may."""

    verdict: str
    remark: str = ""


class CannotBeTried(Exception):
    """The database refused a query, or its function wrote before it. The message says which."""


def explain(
    database: Database, settings: Settings, queries: Iterable[Query], *, each: Callable[[int], None] = lambda _: None
) -> list[Explained]:
    """The verdict of each query, as the database is now. Nothing is executed but what is read to find rows to ask about.

    PostgreSQL plans without sequential scans where there is any other way, so that small tables do not mislead. Which of
    several indexes it takes depends on what it knows of the rows: another is remarked on, as long as the right one is there;
    where a table is so small that any index does, not even that. One query that cannot be planned is told of as such.
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
    nothing = Explained(query, connection.dialect.name, Captured("", ()), Plan(()), NOT_ASKED)
    try:
        with trying(connection):
            captured = capture(connection, query, settings)
            plan = planned(connection, captured)
    except NotAsked:
        return nothing
    except CannotBeTried as refused:
        return replace(nothing, verdict=f"cannot be planned: {refused}")
    return replace(nothing, captured=captured, plan=plan, **judge(connection, query, plan)._asdict())


@contextmanager
def trying(connection: Connection) -> Iterator[None]:
    """Raises CannotBeTried for what the database refuses meanwhile, after which the transaction goes on as before it.

    A connection that is lost, and NotAsked, are raised as they are.
    """
    # Not begin_nested, which the product's own transactions would nest in by statements that nobody captures.
    savepoint = connection.dialect.name != "sqlite"
    if savepoint:
        connection.exec_driver_sql("SAVEPOINT trying")
    try:
        yield
    except NotAsked:
        raise
    except (DBAPIError, sqlite3.Error, LookupError) as error:
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            raise
        if savepoint:
            connection.exec_driver_sql("ROLLBACK TO trying")
        told = str(getattr(error, "orig", None) or error).strip().splitlines()
        raise CannotBeTried(told[0] if told else type(error).__name__) from error


def planned(connection: Connection, captured: Captured) -> Plan:
    if connection.dialect.name == "sqlite":
        return plans.of_sqlite(connection.connection.dbapi_connection, captured)
    return plans.of_postgresql(connection, captured)


def judge(connection: Connection, query: Query, plan: Plan) -> Judged:
    """What is wrong is a scan, a sort of rows that an index has in order, and an index that is missing or not valid."""
    wanted = query.indexes(connection.dialect.name)
    present = there(connection)
    wrong = [f"there is no {name}" for name in wanted if name not in present]
    wrong += [f"{name} is not valid; run: REINDEX INDEX {name}" for name in wanted if present.get(name) == INVALID]
    unused = _but(wanted, plan.indexes)
    if unused[:1] == [wanted[0]] and set(query.or_else) & set(plan.indexes):
        del unused[0]
    unused = [name for name in unused if present.get(name, INVALID) > SMALL_PAGES]
    remark = ""
    if unused and plan.indexes:
        remark = (
            f"the planner takes {', '.join(_but(plan.indexes, wanted) or plan.indexes)} here, not {', '.join(unused)}"
        )
    elif unused:
        wrong.append(f"does not use {', '.join(unused)}")
    if plan.scans:
        wrong.append(f"scans {', '.join(plan.scans)}")
    if query.ordered and plan.sorts:
        wrong.append("sorts")
    return Judged("; ".join([*wrong, remark] if remark else wrong)) if wrong else Judged(OK, remark)


def _but(names: Sequence[str], these: Sequence[str]) -> list[str]:
    return [name for name in names if name not in these]


_SIZES = """
SELECT i.relname AS name,
  CASE WHEN x.indisvalid THEN pg_relation_size(t.oid) / current_setting('block_size')::integer ELSE -1 END AS pages
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
WHERE t.relnamespace = current_schema()::regnamespace
"""


def there(connection: Connection) -> Mapping[str, float]:
    """Every index there is, with the pages that its table has, or INVALID. SQLite asks nobody how large a table is: all are."""
    if connection.dialect.name != "sqlite":
        return {row.name: row.pages for row in connection.execute(text(_SIZES))}
    rows = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'index'")).scalars().all()
    names = plans.constraint_names(connection.connection.dbapi_connection)
    return {names.get(name, name): math.inf for name in rows}
