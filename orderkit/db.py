"""The database: one engine, one way to write, one way to read, and the few places where SQLite and PostgreSQL differ.

`transaction()` is the only thing in orderkit that commits. On SQLite it takes the write lock at once (BEGIN IMMEDIATE),
because a transaction that reads first and writes later can only fail where another wrote in between. `reading()` never
takes it, so that a GET does not queue behind the writers.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import psycopg.errors
from sqlalchemy import (
    JSON,
    BigInteger,
    BindParameter,
    Boolean,
    ColumnElement,
    Connection,
    DateTime,
    Dialect,
    Engine,
    ExceptionContext,
    Integer,
    MetaData,
    Text,
    Uuid,
    any_,
    bindparam,
    cast,
    create_engine,
    event,
    func,
    make_url,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.types import TypeDecorator, TypeEngine
from sqlmodel import Session, SQLModel

from orderkit.errors import ConfigurationError
from orderkit.settings import Settings

Row = Mapping[str, Any]

TRUSTED_S = 1.0
"""A connection that was used within so many seconds is not asked first whether it lives."""

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

    def __init__(self, settings: Settings) -> None:
        self.url = make_url(settings.resolved_database_url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _sqlite_engine(settings) if self.is_sqlite else _postgresql_engine(settings)
        self._writing = self.engine.execution_options(begin="BEGIN IMMEDIATE") if self.is_sqlite else self.engine
        # SQLite's own waiting sleeps up to 100 ms between tries; threads of one process queue here instead.
        self._writer = threading.Lock()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """One transaction: committed when the block ends, rolled back when it raises. No network call belongs inside."""
        alone = self._writer if self.is_sqlite else nullcontext()
        with alone, Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

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
        with self._writer, self._writing.connect() as connection:
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

    def dispose(self) -> None:
        self.engine.dispose()


def _sqlite_engine(settings: Settings) -> Engine:
    url = make_url(settings.resolved_database_url)
    if url.database and url.database != ":memory:":
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"cannot create the folder of {url.database} ({error.strerror}); set ORDERKIT_HOME or ORDERKIT_DATABASE_URL"
            ) from None
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=settings.db_pool_size,
        pool_timeout=settings.db_timeout,
        connect_args={"timeout": settings.db_timeout, "check_same_thread": False},
    )

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
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

    return engine


def _postgresql_engine(settings: Settings) -> Engine:
    timeout_ms = int(settings.db_timeout * 1000)
    options = {
        "timezone": "UTC",
        "statement_timeout": timeout_ms,
        "lock_timeout": timeout_ms,
        "idle_in_transaction_session_timeout": 2 * timeout_ms,
        "default_transaction_isolation": "read\\ committed",  # what every lock and reread here counts on
        "jit": "off",  # compiling costs more than these short queries take
        "plan_cache_mode": "force_custom_plan",  # a plan cached while the tables were empty stays bad for ever
    }
    engine = create_engine(
        settings.resolved_database_url,
        hide_parameters=True,
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
    event.listen(engine, "handle_error", _told_safely, retval=True)
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", lambda connection, record, _: _require_alive(engine.dialect, connection, record))
    event.listen(engine, "do_execute", _begin_along)
    return engine


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
    try:
        dialect.do_ping(connection)
    except psycopg.Error as error:
        raise InvalidatePoolError from error


def _begin_along(cursor: Any, statement: str, parameters: Any, _context: object) -> bool:
    """Sends BEGIN, which psycopg sends by itself and waits for, along with the first statement of a transaction."""
    connection = cursor.connection
    if connection.autocommit or connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        return False
    with connection.pipeline():
        cursor.execute(statement, parameters)
    return True


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed if simply done again: a deadlock, a lost connection, a server that stops."""
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    # 40P01 deadlock_detected, 40001 serialization_failure, 57P01 to 57P03 shutdowns.
    return getattr(error.orig, "sqlstate", None) in ("40P01", "40001", "57P01", "57P02", "57P03")


class StaleRows(RuntimeError):
    """A guarded UPDATE did not meet the rows it was decided on. A bug, or a lock that was not taken."""


Guard = tuple[tuple[str, tuple[str, ...] | None], ...]


# ── many rows at once ────────────────────────────────────────────────────────────────────────────────────────────────
# PostgreSQL takes each column as one array literal, `INSERT … SELECT * FROM unnest(…)`: one round trip and one plan for
# any number of rows, and text is three times cheaper in Python than the driver's list adapter. SQLite is in process, so
# there plain executemany is the cheapest.


class _Shape(NamedTuple):
    """What a write looks like, apart from its rows. Without `by` it is an INSERT."""

    table: Any
    columns: tuple[str, ...]
    by: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    guard: Guard = ()
    skip_existing: bool = False


class Writes:
    """Inserts and updates gathered to be sent together: on PostgreSQL as one statement, for the price of one round trip.

    None may rest on what another of them writes, foreign keys apart, and no row may be updated twice.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._parts: list[tuple[_Shape, Sequence[Row], bool]] = []

    def add(self, shape: _Shape, rows: Sequence[Row], exact: bool) -> None:
        self._parts.append((shape, rows, exact))

    def send(self) -> Counter[str]:
        """Writes it all, and tells how many rows of each table were met. Raises StaleRows like `update_rows`."""
        parts, self._parts = self._parts, []
        counts = _carry_out(self._connection, [(shape, rows) for shape, rows, _exact in parts]) if parts else []
        met: Counter[str] = Counter()
        for (shape, rows, exact), count in zip(parts, counts, strict=True):
            if exact and count != len(rows):
                raise StaleRows(f"{shape.table.name}: {count} of {len(rows)} rows were still as expected")
            met[shape.table.name] += count
        return met


def insert_rows(
    to: Connection | Writes, model: type[Table], rows: Sequence[Row], *, skip_existing: bool = False
) -> int:
    """Inserts `rows`, all with the same columns, in the order given; with `skip_existing`, those whose key is free.

    Answers how many went in. Given a Writes they go in when that is sent, and the answer is 0.
    """
    if not rows:
        return 0
    table = model.__table__  # type: ignore[attr-defined]
    shape = _Shape(table, tuple(rows[0]), skip_existing=skip_existing)
    return _write(to, shape, rows, exact=not skip_existing)


def update_rows(
    to: Connection | Writes,
    model: type[Table],
    rows: Sequence[Row],
    *,
    by: tuple[str, ...] = ("id",),
    add: tuple[str, ...] = (),
    only_if: Mapping[str, tuple[str, ...] | None] | None = None,
    exact: bool = True,
) -> int:
    """Updates one row for each of `rows`, found by its columns `by`; columns in `add` are added to instead of set.

    `only_if` guards every row by the texts that a column may hold now (`{"status": ("pending",)}`; None for NULL).
    Answers how many rows were met. Raises StaleRows if that is not every one of them, unless `exact` is off. Given a Writes,
    all this comes to pass when that is sent, and the answer is 0.
    """
    if not rows:
        return 0
    table = model.__table__  # type: ignore[attr-defined]
    shape = _Shape(table, tuple(rows[0]), by, add, tuple((only_if or {}).items()))
    return _write(to, shape, rows, exact=exact)


def _write(to: Connection | Writes, shape: _Shape, rows: Sequence[Row], *, exact: bool) -> int:
    if isinstance(to, Writes):
        to.add(shape, rows, exact)
        return 0
    alone = Writes(to)
    alone.add(shape, rows, exact)
    return alone.send()[shape.table.name]


def _carry_out(connection: Connection, parts: Sequence[tuple[_Shape, Sequence[Row]]]) -> Sequence[int]:
    """How many rows each part met."""
    if connection.dialect.name != "postgresql":
        return [
            connection.execute(_sqlite_statement(shape), _sqlite_rows(shape, rows)).rowcount for shape, rows in parts
        ]
    arrays = tuple(array for shape, rows in parts for array in _arrays(shape.table, shape.columns, rows))
    found = connection.exec_driver_sql(_pg_statement(tuple(shape for shape, _rows in parts)), arrays)
    return [found.rowcount] if len(parts) == 1 else found.one()


def any_of(connection: Connection, column: Any, values: Collection[Any]) -> ColumnElement[bool]:
    """`column IN values`, on PostgreSQL as one array literal: the statement is the same for any number of values."""
    if connection.dialect.name != "postgresql":
        return column.in_(values)  # type: ignore[no-any-return]
    return _in_array(column, bindparam(None, _array(column, values), type_=Text))


def in_list(dialect: str, column: Any) -> ColumnElement[bool]:
    """`column IN :values`, for a statement that is made once and then executed with `listed` values."""
    if dialect != "postgresql":
        return column.in_(bindparam("values", expanding=True))  # type: ignore[no-any-return]
    return _in_array(column, bindparam("values", type_=Text))


def listed(connection: Connection, column: Any, values: Collection[Any]) -> dict[str, Any]:
    """The parameters of a statement with `in_list`."""
    return {"values": _array(column, values) if connection.dialect.name == "postgresql" else [*values]}


def _in_array(column: Any, literal: BindParameter[str]) -> ColumnElement[bool]:
    return column == any_(cast(literal, postgresql.ARRAY(column.type)))  # type: ignore[no-any-return]


def _array(column: Any, values: Collection[Any]) -> str:
    _kind, encode = _form(column.type)
    return "{" + ",".join(map(encode, values)) + "}"


def pairs_of(
    connection: Connection, columns: tuple[Any, Any], pairs: Collection[tuple[Any, Any]]
) -> ColumnElement[bool]:
    """`(a, b) IN pairs`, on PostgreSQL as two array literals; either way it rides an index on both columns."""
    if connection.dialect.name != "postgresql":
        return tuple_(*columns).in_([tuple(pair) for pair in pairs])
    literals = []
    for place, column in enumerate(columns):
        _kind, encode = _form(column.type)
        literal = bindparam(None, "{" + ",".join(encode(pair[place]) for pair in pairs) + "}", type_=Text)
        literals.append(cast(literal, postgresql.ARRAY(column.type)))
    wanted = func.unnest(*literals).table_valued("a", "b").render_derived()
    return tuple_(*columns).in_(select(wanted.c.a, wanted.c.b))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''").replace("%", "%%") + "'"


_ARRAY_FORMS: tuple[tuple[type[TypeEngine[Any]], str, Callable[[Any], str]], ...] = (
    (Uuid, "uuid", lambda value: value.hex),  # half the price of str
    (BigInteger, "bigint", str),
    (Integer, "integer", str),
    (Boolean, "boolean", lambda value: "t" if value else "f"),
    (Text, "text", _quoted),
    (UtcDateTime, "timestamptz", lambda value: f'"{aware(value).isoformat()}"'),
    (JSON, "json", lambda value: _quoted(json.dumps(value, ensure_ascii=False))),
)


def _form(column_type: TypeEngine[Any]) -> tuple[str, Callable[[Any], str]]:
    for kind, name, encode in _ARRAY_FORMS:
        if isinstance(column_type, kind):
            return name, encode
    raise TypeError(f"no array form is known for {column_type!r}")


@lru_cache(maxsize=256)
def _forms(table: Any, columns: tuple[str, ...]) -> tuple[tuple[str, Callable[[Any], str]], ...]:
    return tuple(_form(table.c[name].type) for name in columns)


def _arrays(table: Any, columns: tuple[str, ...], rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(
        "{" + ",".join("NULL" if (value := row[name]) is None else encode(value) for row in rows) + "}"
        for name, (_type, encode) in zip(columns, _forms(table, columns), strict=True)
    )


def _unnest(table: Any, columns: tuple[str, ...]) -> str:
    return ", ".join(f"%s::{kind}[]" for kind, _encode in _forms(table, columns))


@lru_cache(maxsize=256)
def _pg_statement(shapes: tuple[_Shape, ...]) -> str:
    """One statement for all: those that are not alone are each a WITH of their own, and their row counts are its row."""
    texts = [_pg_update(shape) if shape.by else _pg_insert(shape) for shape in shapes]
    if len(texts) == 1:
        return texts[0]
    each = ", ".join(f"w{number} AS ({text} RETURNING 1)" for number, text in enumerate(texts))
    return f"WITH {each} SELECT {', '.join(f'(SELECT count(*) FROM w{n})' for n in range(len(texts)))}"  # noqa: S608 - as below


def _pg_insert(shape: _Shape) -> str:
    table, columns = shape.table, shape.columns
    skip = " ON CONFLICT DO NOTHING" if shape.skip_existing else ""
    into = f"INSERT INTO {table.name} ({', '.join(columns)})"
    return f"{into} SELECT * FROM unnest({_unnest(table, columns)}){skip}"  # noqa: S608 - names are the models'; values are bound


def _pg_update(shape: _Shape) -> str:
    table, columns, by, add, guard, _skip = shape
    sets = ", ".join(f"{name} = {f't.{name} + ' if name in add else ''}d.{name}" for name in columns if name not in by)
    met = [f"t.{name} = d.{name}" for name in by]
    met += [
        f"t.{name} IS NULL" if texts is None else f"t.{name} IN ({', '.join(map(_literal, texts))})"
        for name, texts in guard
    ]
    source = f"unnest({_unnest(table, columns)}) AS d ({', '.join(columns)})"
    return f"UPDATE {table.name} AS t SET {sets} FROM {source} WHERE {' AND '.join(met)}"  # noqa: S608 - as above


def _sqlite_rows(shape: _Shape, rows: Sequence[Row]) -> Sequence[Row]:
    return [{f"new_{name}": value for name, value in row.items()} for row in rows] if shape.by else rows


@lru_cache(maxsize=256)
def _sqlite_statement(shape: _Shape) -> Any:
    table, columns, by, add, guard, skip_existing = shape
    if not by:
        insert = sqlite.insert(table)
        return insert.on_conflict_do_nothing() if skip_existing else insert
    new = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in columns}
    met = [table.c[name] == new[name] for name in by]
    # Not IN: SQLAlchemy expands its list for each execution, which executemany cannot have.
    met += [or_(*(table.c[name] == text for text in texts or (None,))) for name, texts in guard]
    sets = {name: table.c[name] + new[name] if name in add else new[name] for name in columns if name not in by}
    return table.update().where(*met).values(sets)
