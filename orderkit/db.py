"""The database: one engine, one way to write, one way to read, and the few places where SQLite and PostgreSQL differ.

`transaction()` is the only thing in orderkit that commits. On SQLite it takes the write lock at once (BEGIN IMMEDIATE),
because a transaction that reads first and writes later can only fail where another wrote in between. `reading()` never
takes it, so that a GET does not queue behind the writers.
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import psycopg.errors
from sqlalchemy import (
    JSON,
    URL,
    BigInteger,
    Connection,
    DateTime,
    Dialect,
    Engine,
    ExceptionContext,
    MetaData,
    Numeric,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool
from sqlalchemy.types import TypeDecorator
from sqlmodel import Session, SQLModel

from orderkit import slow_queries
from orderkit.errors import ConfigurationError
from orderkit.observability import pools
from orderkit.settings import Settings
from orderkit.silence import Heard
from orderkit.sqlite_turns import NoTurn, Writers, is_file_away

TRUSTED_S = 1.0
"""A connection that was used within so many seconds is not asked first whether it lives."""

PONG_S = 1.0
"""A server that was asked whether it is there, and only that, has answered by then."""

PLANNED_EACH_TIME = {"plan_cache_mode": "force_custom_plan"}
"""A plan that was kept from when the tables were empty stays bad until they are analyzed."""
PLANNED_ONCE = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
"""Only the plan by index is left, which is right for a table of any size; orders come a fifth faster for it."""

SNAPSHOT = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


class FileGone(sqlite3.OperationalError):
    """SQLite's file is no longer where it was. Its own connections would go on writing to what may have no name any more."""

    sqlite_errorcode = sqlite3.SQLITE_CANTOPEN


UNREACHABLE = (OperationalError, InterfaceError, PoolTimeout)
"""What SQLAlchemy raises when the database does not answer, answers too late, or is too busy."""


def aware(value: datetime) -> datetime:
    """`value`, which has a zone. Raises ValueError for one that could be any zone's."""
    if value.tzinfo is None:
        raise ValueError(f"{value} has no time zone")
    return value


class UtcDateTime(TypeDecorator[datetime]):
    """An instant. PostgreSQL keeps `timestamptz`; SQLite has no zone, so UTC is stored bare and given back aware."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        aware(value)
        return value.astimezone(UTC).replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)


class BigSum(TypeDecorator[int]):
    """A sum of amounts. PostgreSQL counts to 38 digits. SQLite to 2**63 - 1, beyond which it only approximates, and goes on."""

    impl = Numeric(38, 0)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(BigInteger() if dialect.name == "sqlite" else Numeric(38, 0))

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        return float(value) if value is not None and dialect.name == "sqlite" and abs(value) >= 2**63 else value

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        return None if value is None else int(value)


class Json(JSON):
    """A JSON document. None is NULL on both engines; SQLAlchemy alone would write the document `null` on SQLite."""

    def __init__(self) -> None:
        super().__init__(none_as_null=True)


class Table(SQLModel):
    """Base of every table. Constraints are named by rule, so that a migration can name them on both engines."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Database:
    """An engine and the transactions on it. Made once a process; call `dispose()` at its end and after a fork."""

    def __init__(
        self, settings: Settings, *, by_key: bool = False, url: str | None = None, pool: str | None = None
    ) -> None:
        """With `by_key`, for statements that find every row by a key: PostgreSQL plans each of them once a connection.

        `url` is that of another database than the one of the settings, such as the replica. `pool` is what the pool of
        connections is called in the metrics.
        """
        kind = pools.told_of(pool or ("replica" if url else "orders" if by_key else "main"))
        self.url = make_url(url or settings.resolved_database_url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        planning = PLANNED_ONCE if by_key else PLANNED_EACH_TIME
        self._writers = Writers(settings.db_timeout)
        self.engine = (
            _sqlite_engine(settings, self.url, kind, self._writers)
            if self.is_sqlite
            else _postgresql_engine(settings, self.url, kind, planning)
        )
        self._writing = self.engine.execution_options(begin="BEGIN IMMEDIATE") if self.is_sqlite else self.engine
        self._snapshots = self.engine.execution_options(**({} if self.is_sqlite else SNAPSHOT))
        self._file = _identity(self.url) if self.is_sqlite else None
        if self.is_sqlite:
            event.listen(self.engine, "do_connect", lambda *_: self.require_file())  # SQLite would make a new one

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """One transaction: committed when the block ends, rolled back when it raises. No network call belongs inside."""
        alone = self._writers.turn() if self.is_sqlite else nullcontext()
        with (
            _told(self.require_file),
            alone,
            Session(self._writing, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    def require_file(self) -> None:
        """Raises FileGone if SQLite's file was moved, deleted or replaced since this was made: what is written would be lost."""
        if self._file is not None and _identity(self.url) != self._file:
            raise FileGone(f"{self.url.database} is not the file any more that was opened")

    def require_writable(self) -> None:
        """Raises OperationalError if whoever wanted to write to SQLite last waited in vain, and still nobody can.

        Waits a tenth of what a writer does, and nothing where all is well.
        """
        if self._writers.in_vain:
            with self.transaction() as session:
                session.connection()

    @contextmanager
    def changing_schema(self) -> Iterator[Session]:
        """A transaction for migrations.

        SQLite changes a table by putting another in its place, which needs foreign keys off, and that cannot be done
        within a transaction: they are off meanwhile and checked before the commit. Raises RuntimeError if one is broken.
        """
        if not self.is_sqlite:
            with self.transaction() as session:
                yield session
            return
        with self._writers.turn(), self._writing.connect() as connection:
            driver: Any = connection.connection.dbapi_connection
            driver.execute("PRAGMA foreign_keys=OFF").close()
            try:
                with Session(connection) as session, session.begin():
                    yield session
                    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
                    if broken is not None:
                        raise RuntimeError(f"a row of {broken[0]} refers to a row of {broken[2]} that is not there")
            finally:
                driver.execute("PRAGMA foreign_keys=ON").close()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One snapshot on SQLite, one connection on PostgreSQL; nothing written here is kept."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Like `reading`, but all that is read is of one moment, that of the first statement."""
        with Session(self._snapshots, expire_on_commit=False) as session:
            yield session

    def dispose(self) -> None:
        self.engine.dispose()


def missing_file(settings: Settings) -> Path | None:
    """SQLite's file, if the settings name one and it is not there. `Database` would make it."""
    url = make_url(settings.resolved_database_url)
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return None
    path = Path(url.database)
    return None if path.exists() else path


def _identity(url: URL) -> tuple[int, int] | None:
    """Which file it is, whatever it is called; None where there is none."""
    try:
        found = os.stat(url.database) if url.database and url.database != ":memory:" else None
    except OSError:
        return None
    return found and (found.st_dev, found.st_ino)


@contextmanager
def _told(require: Callable[[], None]) -> Iterator[None]:
    """Asks that first, and raises what it raises as SQLAlchemy would."""
    try:
        require()
    except sqlite3.Error as error:
        raise OperationalError("BEGIN", {}, error, hide_parameters=True) from None
    yield


def _sqlite_engine(settings: Settings, url: URL, pool: type[QueuePool], writers: Writers) -> Engine:
    if url.database and url.database != ":memory:":
        try:
            Path(url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # SQLite would make it readable by all: it holds hashes of passwords. Its -wal and -shm follow the file.
            with suppress(FileExistsError):
                os.close(os.open(url.database, os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            raise ConfigurationError(
                f"cannot create the folder of {url.database} ({error.strerror}); set ORDERKIT_HOME or ORDERKIT_DATABASE_URL"
            ) from None
    engine = create_engine(
        url,
        hide_parameters=True,
        poolclass=pool,
        pool_size=settings.db_pool_size,
        max_overflow=0,  # SQLAlchemy would open 10 more, of which neither the metrics nor the doctor know
        pool_timeout=settings.db_timeout,
        connect_args={
            "timeout": settings.db_timeout,
            "check_same_thread": False,
            **({"factory": slow_queries.WatchedConnection} if settings.slow_query else {}),
        },
    )
    if settings.slow_query:
        slow_queries.watch(engine, settings.slow_query)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # sqlite3 must not open transactions of its own; _begin does
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",  # WAL with NORMAL forgets acknowledged orders when the power goes
            "foreign_keys=ON",
            "cache_size=-65536",
            "temp_store=MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        statement = connection.get_execution_options().get("begin")
        if statement is None:
            connection.exec_driver_sql("BEGIN")
        else:
            writers.begin(connection, statement)

    return engine


def _postgresql_engine(settings: Settings, url: URL, pool: type[QueuePool], planning: Mapping[str, str]) -> Engine:
    timeout_ms = int(settings.db_timeout * 1000)
    options = {
        "timezone": "UTC",
        "statement_timeout": timeout_ms,
        "lock_timeout": timeout_ms,
        "idle_in_transaction_session_timeout": 2 * timeout_ms,
        "default_transaction_isolation": "read\\ committed",  # what every lock and reread here counts on
        "jit": "off",  # compiling costs more than these short queries take
        **planning,
    }
    engine = create_engine(
        url,
        hide_parameters=True,
        poolclass=pool,
        pool_size=settings.db_pool_size,
        max_overflow=0,
        pool_timeout=settings.db_timeout,
        pool_use_lifo=True,
        connect_args={
            "connect_timeout": max(2, int(settings.db_timeout)),
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
            "application_name": "orderkit",
        },
    )
    if settings.slow_query:
        slow_queries.watch(engine, settings.slow_query)
    event.listen(engine, "do_connect", partial(_connect, settings.db_timeout))
    event.listen(engine, "handle_error", _told_safely, retval=True)
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", lambda connection, record, _: _require_alive(engine.dialect, connection, record))
    event.listen(engine, "do_execute", _begin_along)
    return engine


def _connect(silent_s: float, _dialect: object, _record: object, given: Any, named: Any) -> Heard:
    connection = Heard.connect(*given, **named)
    connection.silent_s = silent_s
    return connection


def _told_safely(context: ExceptionContext) -> BaseException | None:
    """Takes PostgreSQL's detail out of an error, which quotes the row, `Failing row contains (…)`, into any log.

    A server that only reads, a standby, is as good as none: the driver calls that an internal error.
    """
    told, original = context.sqlalchemy_exception, context.original_exception
    diagnosis = getattr(original, "diag", None)
    if told is not None and diagnosis is not None and diagnosis.message_detail:
        short = str(diagnosis.message_primary)
        told.args = (str(told.args[0]).replace(str(original), short),)
        original.args = (short,)
    if isinstance(original, psycopg.errors.ReadOnlySqlTransaction):
        return OperationalError(context.statement, None, original, hide_parameters=True)
    return None


# A round trip costs more than most statements do: it is two changes of process. A busy connection makes two fewer.


def _note_use(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info["used"] = time.monotonic()


def _require_alive(dialect: Dialect, connection: Any, record: ConnectionPoolEntry) -> None:
    """Asks a connection that lay idle whether it lives; if not, the pool opens another."""
    if time.monotonic() - record.info.get("used", math.inf) < TRUSTED_S:
        return
    silent_s = connection.silent_s
    connection.silent_s = min(silent_s, PONG_S)
    try:
        dialect.do_ping(connection)
    except psycopg.Error as error:
        raise InvalidatePoolError from error
    finally:
        connection.silent_s = silent_s


def _begin_along(cursor: Any, statement: str, parameters: Any, _context: object) -> bool:
    """Sends BEGIN, which psycopg sends by itself and waits for, along with the first statement of a transaction."""
    connection = cursor.connection
    if connection.autocommit or connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        return False
    with connection.pipeline():
        cursor.execute(statement, parameters)
    return True


def is_away(error: BaseException) -> bool:
    """Whether the database as a whole does not answer, and the next who asks it would wait for nothing as well.

    It told no reason: what PostgreSQL ends itself, such as the wait for one row's lock, has a state. SQLite always tells.
    """
    if not isinstance(error, UNREACHABLE):
        return False
    original = getattr(error, "orig", None)
    if isinstance(original, sqlite3.Error):
        return is_file_away(original)
    return not getattr(original, "sqlstate", None)


def is_locked(error: BaseException) -> bool:
    """Whether the database is there, and somebody else keeps the lock that was wanted for too long."""
    original = getattr(error, "orig", None)
    code = getattr(original, "sqlite_errorcode", 0) & 0xFF
    is_kept = code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or getattr(original, "sqlstate", None) == "55P03"
    return isinstance(error, NoTurn) or is_kept


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed if simply done again: a deadlock, a lost connection, a server that stops."""
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    # 40P01 deadlock_detected, 40001 serialization_failure, 57P01 to 57P03 shutdowns.
    return getattr(error.orig, "sqlstate", None) in ("40P01", "40001", "57P01", "57P02", "57P03")
