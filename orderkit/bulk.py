"""Rows by the thousand, the way that each engine takes fastest: COPY on PostgreSQL, a bare executemany on SQLite.

Values come ready, as text and integers that both engines take, so that nothing is looked at twice: ids by `hex`, times by
`instant`, all other text by `text_form`. Every constraint is checked as with any INSERT.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from orderkit.db import PLANNED_ONCE, Table, aware

Value = str | int | None
TextForm = Callable[[str | None], str | None]

REFUSED = (DBAPIError, psycopg.Error)
"""What `load_rows` raises. COPY goes past SQLAlchemy, and so do its errors: roll back, whichever it is."""

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def instant(at: datetime) -> str:
    """An instant as text. Connections to PostgreSQL are in UTC, and SQLite stores UTC."""
    return aware(at).astimezone(UTC).isoformat(" ", "microseconds")[:26]


def text_form(connection: Connection) -> TextForm:
    """What makes a text, or NULL, a value of a row."""
    return _copied if connection.dialect.name == "postgresql" else _as_it_is


def _copied(text: str | None) -> str:
    if text is None:
        return "\\N"
    return text if text.isprintable() and "\\" not in text else text.translate(_ESCAPES)


def _as_it_is(text: str | None) -> str | None:
    return text


def begin(connection: Connection) -> None:
    """To be called first in a transaction that loads rows.

    PostgreSQL looks every foreign key up with a statement of its own, and would plan it for each row: that alone takes more
    than half of the server's time.
    """
    if connection.dialect.name == "postgresql":
        settings = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in PLANNED_ONCE.items())
        connection.exec_driver_sql(f"SELECT {settings}")


def load_rows(
    connection: Connection, model: type[Table], columns: tuple[str, ...], rows: Sequence[tuple[Value, ...]]
) -> None:
    """Inserts `rows`, each the values of `columns`, in the order given; all other columns are NULL or as the database has it.

    Raises REFUSED, after which the transaction is good for nothing.
    """
    if not rows:
        return
    table, names = model.__table__.name, ", ".join(columns)  # type: ignore[attr-defined]
    if connection.dialect.name != "postgresql":
        marks = ", ".join("?" * len(columns))
        insert = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - names are the models'; values are bound
        connection.exec_driver_sql(insert, list(rows))
        return
    line = "\t".join(["%s"] * len(columns)) + "\n"
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
        for start in range(0, len(rows), _AT_ONCE):
            copy.write("".join([line % row for row in rows[start : start + _AT_ONCE]]))


_AT_ONCE = 2_000
"""Rows sent together: the server takes in the ones while the next are put into words."""
