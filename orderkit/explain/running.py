"""Executing a query to see what it takes, and planning it as if an index were not there. The database stays as it is.

PostgreSQL: in a transaction that is rolled back. An index is hidden from the planner of that transaction alone, which locks
nothing, where the role may do that, which is a superuser's; else it is dropped and the drop rolled back, for the few
milliseconds that planning takes, and only if its table is free that very moment. SQLite: on a copy, a file without a name
that is gone with the process. docs/decisions/0014 says why.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError

from orderkit.db import Database
from orderkit.errors import Conflict, Invalid, NotFound
from orderkit.explain import indexes, plans, verdicts
from orderkit.explain.capture import Captured, NotAsked, capture
from orderkit.explain.plans import Plan
from orderkit.explain.query import Query
from orderkit.explain.verdicts import OK, CannotBeTried, Explained, trying
from orderkit.settings import Settings

LIMIT_S = 30.0
"""A statement that is executed to see what it takes is given up after so long."""
TRIES, BETWEEN_S = 50, 0.1
"""How often a table is asked for that is in use, when its index is to be dropped for a moment."""
HELD_MS = 1000
"""PostgreSQL takes the table back from a process that froze while it had it, after so long."""
COUNTED = 100
"""Steps of SQLite's machine between two counts."""
PAGES = 2000

Tell = Callable[[int, int], None]
"""Told pages done, and pages in all, of a copy."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A query with an index and without it. `executed` says whether there are times."""

    query: Query
    index: str
    captured: Captured
    with_it: Plan
    without: Plan
    executed: bool

    @property
    def times(self) -> float | None:
        """How many times as dear it is without: by estimated cost, or by the work that was done."""
        before, after = (one.work if one.work is not None else one.cost for one in (self.with_it, self.without))
        return after / before if before and after is not None else None


def analyzed(database: Database, settings: Settings, query: Query) -> tuple[Captured, Plan]:
    """Executes a query and rolls it back; its statement, and its plan with what each step took. Raises CannotBeTried."""
    with database.reading() as session, trying(session.connection()):
        captured = capture(session.connection(), query, settings)
    with database.reading() as session, trying(session.connection()):
        connection = session.connection()
        if database.is_sqlite:
            return captured, _executed(_driver(connection), captured)
        _bound(connection, LIMIT_S)
        return captured, plans.of_postgresql(connection, captured, analyze=True)


def tried(database: Database, settings: Settings, explained: Explained) -> tuple[Explained, Plan | None]:
    """The same with its plan as executed; where it cannot be executed, without, and its verdict says why."""
    try:
        return explained, analyzed(database, settings, explained.query)[1]
    except (CannotBeTried, NotAsked) as refused:
        told = f"cannot be executed: {refused}"
    return replace(explained, verdict=told if explained.verdict == OK else f"{explained.verdict}; {told}"), None


def compared(
    database: Database,
    settings: Settings,
    query: Query,
    index: str,
    *,
    analyze: bool = False,
    tell: Tell = lambda _done, _all: None,
) -> Compared:
    """A query as it is planned now, and as it would be without `index`. On SQLite both are executed, on the copy.

    Raises NotFound for an index that this database lacks, Invalid for one that is part of a table's key, where it cannot be
    taken away, and Conflict where its table was never free.
    """
    _must_be_there(database, index)
    captured = _captured(database, settings, query)
    if database.is_sqlite:
        with _copy(database, tell) as copy:
            before = _executed(copy, captured)
            _drop(copy, index)
            return Compared(query, index, captured, before, _executed(copy, captured), True)
    with database.reading() as session:
        connection = session.connection()
        _bound(connection, LIMIT_S)
        before = plans.of_postgresql(connection, captured, analyze=analyze)
    hidden = _hidden if _is_superuser(database) else _dropped
    with hidden(database, index) as connection:
        executed = analyze and hidden is _hidden
        after = plans.of_postgresql(connection, captured, analyze=executed)
    return Compared(query, index, captured, before, after, executed)


def _captured(database: Database, settings: Settings, query: Query) -> Captured:
    with database.reading() as session:
        return capture(session.connection(), query, settings)


def _must_be_there(database: Database, index: str) -> None:
    with database.reading() as session:
        there = verdicts.there(session.connection())
    if index not in there:
        raise NotFound(f"{index} is missing: this database has no such index{indexes.made_by(index, database.engine)}")


def _bound(connection: Connection, seconds: float) -> None:
    connection.execute(text(f"SET LOCAL statement_timeout = {int(seconds * 1e3)}"))
    connection.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))


# ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _is_superuser(database: Database) -> bool:
    with database.reading() as session:
        found = text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        return bool(session.connection().execute(found).scalar())


@contextmanager
def _hidden(database: Database, index: str) -> Iterator[Connection]:
    """A transaction, to be rolled back, whose planner takes the index for one that is not ready yet."""
    with database.reading() as session:
        connection = session.connection()
        _bound(connection, LIMIT_S)
        hide = text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = CAST(:index AS regclass)")
        connection.execute(hide, {"index": index})
        yield connection


@contextmanager
def _dropped(database: Database, index: str) -> Iterator[Connection]:
    """A transaction, to be rolled back, in which the index is gone. Never waits for its table, so nobody queues behind it."""
    table_of = text("SELECT indrelid::regclass::text FROM pg_index WHERE indexrelid = CAST(:index AS regclass)")
    with database.reading() as session:
        table = session.connection().execute(table_of, {"index": index}).scalar_one()
    for _ in range(TRIES):
        with database.reading() as session:
            connection = session.connection()
            for timeout in ("statement_timeout", "idle_in_transaction_session_timeout"):
                connection.execute(text(f"SET LOCAL {timeout} = {HELD_MS}"))
            if _took(connection, table):
                _drop_for_now(connection, index)
                yield connection
                return
        time.sleep(BETWEEN_S)
    raise Conflict(f"{table} is in use all the time; try again later, or as a superuser, which needs no lock")


def _took(connection: Connection, table: str) -> bool:
    try:
        connection.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE NOWAIT"))
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) == "55P03":  # lock_not_available
            return False
        raise
    return True


def _drop_for_now(connection: Connection, index: str) -> None:
    try:
        connection.execute(text(f"DROP INDEX {index}"))
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == "2BP01":  # dependent_objects_still_exist
            raise Invalid(f"{index} is a rule of its table; only a superuser can see plans without it") from None
        raise


# ── SQLite ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _driver(connection: Connection) -> Any:
    return connection.connection.dbapi_connection


@contextmanager
def _copy(database: Database, tell: Tell) -> Iterator[sqlite3.Connection]:
    """A copy of the database, on disk but without a name: nobody else sees it, and it cannot be left behind."""
    # Without a cache of statements, which would tell the plan of before.
    copy = sqlite3.connect("", isolation_level=None, cached_statements=0)
    try:
        with database.reading() as session:
            _driver(session.connection()).backup(
                copy, pages=PAGES, progress=lambda _status, left, whole: tell(whole - left, whole)
            )
        yield copy
    finally:
        copy.close()


def _drop(copy: sqlite3.Connection, index: str) -> None:
    try:
        copy.execute(f"DROP INDEX {index}")
    except sqlite3.OperationalError:
        raise Invalid(f"{index} is a key or a rule of its table; SQLite's tables cannot be without it") from None


def _executed(connection: Any, captured: Captured) -> Plan:
    """Its plan, and what executing it took: time, and steps of SQLite's machine. Given up after LIMIT_S."""
    plan = plans.of_sqlite(connection, captured)
    counts, ends = 0, time.monotonic() + LIMIT_S

    def count() -> bool:
        nonlocal counts
        counts += 1
        return time.monotonic() > ends

    connection.set_progress_handler(count, COUNTED)
    started = time.perf_counter()
    try:
        rows = connection.execute(captured.statement, captured.parameters).fetchall()
        told = f"{len(rows):,} rows"
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            raise
        told = f"given up after {LIMIT_S:g} s"
    finally:
        connection.set_progress_handler(None, 0)
    return replace(plan, ms=(time.perf_counter() - started) * 1e3, work=(counts + 1) * COUNTED, detail={"told": told})
