"""Many rows at once: written, updated and found, in one statement for however many there are.

PostgreSQL takes each column as one array literal, `INSERT … SELECT * FROM unnest(…)`: one round trip and one plan for any
number of rows, and text is three times cheaper in Python than the driver's list adapter. SQLite is in process, so there
plain executemany is the cheapest.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    JSON,
    BigInteger,
    BindParameter,
    Boolean,
    ColumnElement,
    Connection,
    Integer,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    cast,
    func,
    or_,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeEngine

from orderkit.db import BigSum, Table, UtcDateTime, aware

Row = Mapping[str, Any]


class StaleRows(RuntimeError):
    """A guarded UPDATE did not meet the rows it was decided on. A bug, or a lock that was not taken."""


Guard = tuple[tuple[str, tuple[str, ...] | None], ...]


class Provided(NamedTuple):
    """What must hold for a row to be inserted, asked in the INSERT itself: `condition` is SQL that sees the row as `d`.

    `columns` of `d`, each with its type, come with the rows and are not stored. Rows go in ordered by `order`, because
    nothing else promises PostgreSQL's INSERT … SELECT an order.
    """

    columns: tuple[tuple[str, TypeEngine[Any]], ...]
    condition: str
    order: tuple[str, ...]


class _Shape(NamedTuple):
    """What a write looks like, apart from its rows. Without `by` it is an INSERT."""

    table: Any
    columns: tuple[str, ...]
    by: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    guard: Guard = ()
    skip_existing: bool = False
    provided: Provided | None = None
    upsert: tuple[str, ...] = ()


class Writes:
    """Inserts and updates gathered to be sent together: on PostgreSQL as one statement, for the price of one round trip.

    None may rest on what another of them writes, foreign keys apart, and no row may be updated twice.
    """

    def __init__(self, connection: Connection, query: str | None = None) -> None:
        """`query` is the name of what is sent."""
        self._connection = connection
        self._query = query
        self._parts: list[tuple[_Shape, Sequence[Row], bool]] = []

    def add(self, shape: _Shape, rows: Sequence[Row], exact: bool) -> None:
        self._parts.append((shape, rows, exact))

    def send(self) -> Counter[str]:
        """Writes it all, and tells how many rows of each table were met. Raises StaleRows like `update_rows`."""
        parts, self._parts = self._parts, []
        both = [(shape, rows) for shape, rows, _exact in parts]
        counts = _carry_out(self._connection, both, self._query) if parts else []
        met: Counter[str] = Counter()
        for (shape, rows, exact), count in zip(parts, counts, strict=True):
            if exact and count != len(rows):
                raise StaleRows(f"{shape.table.name}: {count} of {len(rows)} rows were still as expected")
            met[shape.table.name] += count
        return met


def insert_rows(
    to: Connection | Writes,
    model: type[Table],
    rows: Sequence[Row],
    *,
    skip_existing: bool = False,
    provided: Provided | None = None,
    query: str | None = None,
) -> int:
    """Inserts `rows`, all with the same columns, in the order given; with `skip_existing`, those whose key is free.

    With `provided`, those of which it holds; its columns come last in each of `rows`.

    Answers how many went in. Given a Writes they go in when that is sent, and the answer is 0. `query` is the statement's
    name, unless a Writes has one for all.
    """
    if not rows:
        return 0
    table = model.__table__  # type: ignore[attr-defined]
    columns = tuple(rows[0])[: -len(provided.columns)] if provided else tuple(rows[0])
    shape = _Shape(table, columns, skip_existing=skip_existing, provided=provided)
    return _write(to, shape, rows, exact=not (skip_existing or provided), query=query)


def update_rows(
    to: Connection | Writes,
    model: type[Table],
    rows: Sequence[Row],
    *,
    by: tuple[str, ...] = ("id",),
    add: tuple[str, ...] = (),
    only_if: Mapping[str, tuple[str, ...] | None] | None = None,
    exact: bool = True,
    query: str | None = None,
) -> int:
    """Updates one row for each of `rows`, found by its columns `by`; columns in `add` are added to instead of set.

    `only_if` guards every row by the texts that a column may hold now (`{"status": ("pending",)}`; None for NULL).
    Answers how many rows were met. Raises StaleRows if that is not every one of them, unless `exact` is off. Given a Writes,
    all this comes to pass when that is sent, and the answer is 0. `query` is its name, as in `insert_rows`.
    """
    if not rows:
        return 0
    table = model.__table__  # type: ignore[attr-defined]
    shape = _Shape(table, tuple(rows[0]), by, add, tuple((only_if or {}).items()))
    return _write(to, shape, rows, exact=exact, query=query)


def add_rows(to: Connection | Writes, model: type[Table], rows: Sequence[Row], *, by: tuple[str, ...]) -> int:
    """Adds the columns of `rows` to those of the rows that have the same `by`, the primary key, or inserts them.

    No key may be among `rows` twice. They are met in the order given. Answers how many.
    """
    if not rows:
        return 0
    table = model.__table__  # type: ignore[attr-defined]
    return _write(to, _Shape(table, tuple(rows[0]), upsert=by), rows, exact=True)


def _write(
    to: Connection | Writes, shape: _Shape, rows: Sequence[Row], *, exact: bool, query: str | None = None
) -> int:
    if isinstance(to, Writes):
        to.add(shape, rows, exact)
        return 0
    alone = Writes(to, query)
    alone.add(shape, rows, exact)
    return alone.send()[shape.table.name]


def _carry_out(
    connection: Connection, parts: Sequence[tuple[_Shape, Sequence[Row]]], query: str | None
) -> Sequence[int]:
    """How many rows each part met."""
    named = {"query": query} if query else None
    if connection.dialect.name != "postgresql":
        return [
            connection.execute(_sqlite_statement(shape), _sqlite_rows(shape, rows), execution_options=named).rowcount
            for shape, rows in parts
        ]
    arrays = tuple(array for shape, rows in parts for array in _arrays(shape, rows))
    statement = _pg_statement(tuple(shape for shape, _rows in parts))
    found = connection.exec_driver_sql(statement, arrays, execution_options=named)
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
        # By pairs alone SQLite looks through the whole table; by their first halves it walks the index.
        return and_(
            columns[0].in_({first for first, _second in pairs}), tuple_(*columns).in_([tuple(one) for one in pairs])
        )
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
    (BigSum, "numeric", str),
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
def _forms(shape: _Shape) -> tuple[tuple[str, str, Callable[[Any], str]], ...]:
    """Name, PostgreSQL's type and array form of each column that is sent."""
    return tuple((name, *_form(kind)) for name, kind in _sent(shape))


def _sent(shape: _Shape) -> list[tuple[str, TypeEngine[Any]]]:
    return [
        *((name, shape.table.c[name].type) for name in shape.columns),
        *(shape.provided.columns if shape.provided else ()),
    ]


def _arrays(shape: _Shape, rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(
        "{" + ",".join("NULL" if (value := row[name]) is None else encode(value) for row in rows) + "}"
        for name, _kind, encode in _forms(shape)
    )


def _unnest(shape: _Shape) -> str:
    return ", ".join(f"%s::{kind}[]" for _name, kind, _encode in _forms(shape))


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
    if shape.upsert:
        sums = ", ".join(f"{one} = {table.name}.{one} + excluded.{one}" for one in columns if one not in shape.upsert)
        skip = f" ON CONFLICT ({', '.join(shape.upsert)}) DO UPDATE SET {sums}"
    if shape.provided:
        source = f"unnest({_unnest(shape)}) AS d ({', '.join(name for name, _kind in _sent(shape))})"
        order = ", ".join(f"d.{name}" for name in shape.provided.order)
        return f"{_insert_provided(shape, source)} ORDER BY {order}{skip}"
    return f"{into} SELECT * FROM unnest({_unnest(shape)}){skip}"  # noqa: S608 - names are the models'; values are bound


def _insert_provided(shape: _Shape, source: str) -> str:
    assert shape.provided  # noqa: S101 - for types; its callers asked
    into, these = ", ".join(shape.columns), ", ".join(f"d.{name}" for name in shape.columns)
    return f"INSERT INTO {shape.table.name} ({into}) SELECT {these} FROM {source} WHERE {shape.provided.condition}"  # noqa: S608 - as above


def _pg_update(shape: _Shape) -> str:
    table, columns, by, add, guard = shape[:5]
    sets = ", ".join(f"{name} = {f't.{name} + ' if name in add else ''}d.{name}" for name in columns if name not in by)
    met = [f"t.{name} = d.{name}" for name in by]
    met += [
        f"t.{name} IS NULL" if texts is None else f"t.{name} IN ({', '.join(map(_literal, texts))})"
        for name, texts in guard
    ]
    source = f"unnest({_unnest(shape)}) AS d ({', '.join(columns)})"
    return f"UPDATE {table.name} AS t SET {sets} FROM {source} WHERE {' AND '.join(met)}"  # noqa: S608 - as above


def _sqlite_rows(shape: _Shape, rows: Sequence[Row]) -> Sequence[Row]:
    return [{f"new_{name}": value for name, value in row.items()} for row in rows] if shape.by else rows


@lru_cache(maxsize=256)
def _sqlite_statement(shape: _Shape) -> Any:
    table, columns, by, add, guard, skip_existing, provided, upsert = shape
    if provided:
        row = ", ".join(f":{name} AS {name}" for name, _kind in _sent(shape))
        skip = " ON CONFLICT DO NOTHING" if skip_existing else ""
        types = [bindparam(name, type_=kind) for name, kind in _sent(shape)]
        return text(f"{_insert_provided(shape, f'(SELECT {row}) AS d')}{skip}").bindparams(*types)
    if not by:
        insert = sqlite.insert(table)
        if upsert:
            sums = {name: table.c[name] + insert.excluded[name] for name in columns if name not in upsert}
            return insert.on_conflict_do_update(index_elements=upsert, set_=sums)
        return insert.on_conflict_do_nothing() if skip_existing else insert
    new = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in columns}
    met = [table.c[name] == new[name] for name in by]
    # Not IN: SQLAlchemy expands its list for each execution, which executemany cannot have.
    met += [or_(*(table.c[name] == text for text in texts or (None,))) for name, texts in guard]
    sets = {name: table.c[name] + new[name] if name in add else new[name] for name in columns if name not in by}
    return table.update().where(*met).values(sets)
