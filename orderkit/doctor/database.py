"""The database: whether it answers, what it is, its schema, its clock, its indexes, its connections, and the work in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from orderkit import migrating, reasons
from orderkit.clock import now
from orderkit.db import Database, is_locked, missing_file
from orderkit.doctor.findings import Finding, fine, unknown, warning, wrong
from orderkit.errors import ConfigurationError
from orderkit.schema import metadata
from orderkit.settings import Settings
from orderkit.system import state
from orderkit.system.reader import POOL

WITHIN_S = 3.0
SLOW_MS = 50.0
"""An order asks three times; where each answer takes so long, nothing else is worth tuning."""
OLDEST_POSTGRESQL, OLDEST_SQLITE = (14,), (3, 35)
"""What PostgreSQL's makers still keep up; and the first SQLite that has RETURNING."""
SKEW_WARNING_S, SKEW_WRONG_S = 1.0, 5.0
"""Leases last 10 s: processes whose clocks differ by half of that take each other for dead."""
LATE_S = 60.0
"""The loop looks four times a second, so whatever has been due for so long is looked at by nobody."""

_WAITING = text("""
    SELECT count(*) AS number,
           coalesce(extract(epoch FROM max(clock_timestamp() - query_start)), 0)::float AS longest,
           (array_agg((pg_blocking_pids(pid))[1] ORDER BY query_start))[1] AS behind
      FROM pg_stat_activity
     WHERE datname = current_database() AND wait_event_type = 'Lock' AND cardinality(pg_blocking_pids(pid)) > 0
""")

AFTER = ("database version", "schema", "clock", "indexes", "locks", "connections", "work")


def check(settings: Settings) -> Iterator[Finding]:
    """All that concerns the database. Makes nothing: a file of SQLite that is not there stays so."""
    impatient = settings.model_copy(
        update={"slow_query": 0.0, "db_pool_size": 2, "db_timeout": min(WITHIN_S, settings.db_timeout)}
    )
    try:
        if (missing := missing_file(impatient)) is not None:
            yield wrong("database", f"there is no file {missing}", "run: orderkit migrate")
            yield from (unknown(name, "there is no database") for name in AFTER)
            return
        database = Database(impatient)
    except (ConfigurationError, SQLAlchemyError) as error:
        yield wrong("database", _reason(error), "check ORDERKIT_DATABASE_URL")
        yield from (unknown(name, "the database does not answer") for name in AFTER)
        return
    try:
        yield from _opened(database, settings)
    finally:
        database.dispose()


def _opened(database: Database, settings: Settings) -> Iterator[Finding]:
    where = database.url.render_as_string(hide_password=True) if database.is_sqlite else _server(database)
    try:
        with database.reading() as session:
            connection = session.connection()
            yield _answers(connection, where)
            yield _version(connection)
            schema, migrated = _schema(database)
            yield schema
            yield _clock(connection, database)
            yield (
                _indexes(connection, database)
                if migrated
                else unknown("indexes", "the schema is not that of this version")
            )
            yield _locks(connection, database)
            yield _connections(connection, database, settings)
            yield from _work(connection) if migrated else [unknown("work", "the schema is not that of this version")]
    except SQLAlchemyError as error:
        remedy = "start it, or check host, port, name, user and password in ORDERKIT_DATABASE_URL"
        yield wrong("database", f"{where} does not answer ({_reason(error)})", remedy)
        yield from (unknown(name, "the database does not answer") for name in AFTER)


def _server(database: Database) -> str:
    return f"PostgreSQL on {database.url.host or 'this machine'}"


def _reason(error: Exception) -> str:
    told = getattr(error, "detail", None) or reasons.in_words(error)
    return str(told.strip().splitlines()[0])


def _answers(connection: Connection, where: str) -> Finding:
    started = time.perf_counter()
    connection.execute(text("SELECT 1"))
    ms = (time.perf_counter() - started) * 1000
    if ms > SLOW_MS:
        return warning(
            "database", f"{where} takes {ms:.0f} ms to answer", "put API and database into one network, close by"
        )
    return fine("database", f"{where}, {ms:.1f} ms")


def _version(connection: Connection) -> Finding:
    found = tuple(int(part) for part in connection.dialect.server_version_info or ())
    name, oldest = (
        ("SQLite", OLDEST_SQLITE) if connection.dialect.name == "sqlite" else ("PostgreSQL", OLDEST_POSTGRESQL)
    )
    told, least = f"{name} {'.'.join(map(str, found))}", f"{name} {'.'.join(map(str, oldest))}"
    if found >= oldest:
        return fine("database version", told)
    if name == "SQLite":
        return wrong("database version", told, f"use a Python that was built with {least} or newer")
    return warning("database version", told, f"upgrade to {least} or newer, which is still kept up")


def _schema(database: Database) -> tuple[Finding, bool]:
    """How it is, and whether this version can work on it."""
    try:
        migrating.require_current(database)
    except ConfigurationError as error:
        return wrong("schema", error.detail.partition(";")[0], "run: orderkit migrate"), False
    return fine("schema", f"revision {migrating.current(database)}"), True


def _clock(connection: Connection, database: Database) -> Finding:
    if database.is_sqlite:
        return fine("clock", "the database has this machine's")
    before = now()
    there: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    after = now()
    skew = (there.astimezone(UTC) - (before + (after - before) / 2)).total_seconds()
    told = f"the database is {abs(skew):.2f} s {'ahead' if skew > 0 else 'behind'}"
    if abs(skew) <= SKEW_WARNING_S:
        return fine("clock", told)
    remedy = "let NTP set the clocks of both machines"
    return (wrong if abs(skew) > SKEW_WRONG_S else warning)("clock", told, remedy)


def _indexes(connection: Connection, database: Database) -> Finding:
    """Whether each that this version knows is there, and good: one that was being made when its maker died is not."""
    wanted = {str(index.name) for table in metadata.sorted_tables for index in table.indexes}
    found = inspect(connection).get_multi_indexes().values()
    missing = sorted(wanted - {str(one["name"]) for those in found for one in those})
    if missing:
        return wrong(
            "indexes", f"missing: {', '.join(missing)}", "make them anew; docs/indexes.md says what each is for"
        )
    if not database.is_sqlite:
        bad = connection.execute(
            text(  # of others in the same database nothing is ours to say
                "SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid"
                " WHERE NOT indisvalid AND relnamespace = current_schema()::regnamespace ORDER BY 1"
            )
        )
        if names := list(bad.scalars()):
            return wrong(
                "indexes",
                f"not valid: {', '.join(names)}",
                f"run in the database: REINDEX INDEX CONCURRENTLY {names[0]}",
            )
    return fine("indexes", f"{len(wanted)}, all there")


def _locks(connection: Connection, database: Database) -> Finding:
    """Whether somebody keeps for long what others want to write to."""
    if database.is_sqlite:
        try:
            with database.transaction() as session:
                session.connection()  # takes the lock, which is given back with nothing written
        except OperationalError as error:
            if not is_locked(error):
                raise
            remedy = f"end what holds it, which is told by: fuser -v {database.url.database}"
            return wrong("locks", f"for {WITHIN_S:.0f} s another process has not let go of the write lock", remedy)
        return fine("locks", "the write lock can be had")
    waiting = connection.execute(_WAITING).one()
    if waiting.number and waiting.longest >= WITHIN_S:
        told = f"{waiting.number} wait for a lock, for up to {waiting.longest:.0f} s, behind process {waiting.behind}"
        return wrong("locks", told, f"end its transaction: SELECT pg_terminate_backend({waiting.behind})")
    return fine("locks", "nobody waits for long")


def _connections(connection: Connection, database: Database, settings: Settings) -> Finding:
    """Whether one API process and one worker may have all the connections that they may ask for."""
    if database.is_sqlite:
        return fine("connections", "any number, in this machine's processes")
    shown = "SELECT current_setting(:name)::int"
    most = connection.execute(text(shown), {"name": "max_connections"}).scalar_one()
    kept = connection.execute(text(shown), {"name": "superuser_reserved_connections"}).scalar_one()
    of_api, of_worker = 2 * settings.db_pool_size + POOL, settings.db_pool_size + POOL
    told = f"{most - kept} may be open; an API process may open {of_api}, a worker {of_worker}"
    if of_api + of_worker > most - kept:
        return warning("connections", told, "lower ORDERKIT_DB_POOL_SIZE, or raise max_connections of PostgreSQL")
    return fine("connections", told)


def _work(connection: Connection) -> Iterator[Finding]:
    """Whether a worker does what is due."""
    found = state.read(connection)
    late = {
        name: found.age(backlog.due_since)
        for name, backlog in found.backlogs.items()
        if name != "dead_letters" and found.age(backlog.due_since) > LATE_S
    }
    waiting = sum(backlog.waiting for name, backlog in found.backlogs.items() if name != "dead_letters")
    if late:
        told = ", ".join(f"{name} for {age:.0f} s" for name, age in sorted(late.items()))
        yield wrong(
            "work",
            f"due and not done: {told}",
            "start a worker (orderkit worker), or look into the log of the one that runs",
        )
    else:
        yield fine("work", f"{waiting} things wait, none for long" if waiting else "nothing waits")
    letters = found.backlogs["dead_letters"].waiting
    if letters:
        yield warning("dead letters", f"{letters} open", "see orderkit dead-letters list, and retry or discard each")
