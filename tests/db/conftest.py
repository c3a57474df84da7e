"""A table with a column of every kind that orderkit uses, within a transaction that is rolled back."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import BigInteger, Boolean, Column, Connection, Integer, MetaData, Text, Uuid, select
from sqlalchemy import Table as SqlTable
from sqlmodel import Session

from orderkit.db import Json, UtcDateTime


class Scratch:
    """Looks like a model to whoever writes many rows; it is in no migration."""

    __table__ = SqlTable(
        "scratch",
        MetaData(),
        Column("id", Uuid, primary_key=True),
        Column("words", Text),
        Column("big", BigInteger),
        Column("small", Integer),
        Column("flag", Boolean),
        Column("at", UtcDateTime),
        Column("document", Json),
    )


@pytest.fixture
def scratch(rolled_back: Session) -> Connection:
    """A connection in whose transaction the table `scratch` is there, and empty."""
    connection = rolled_back.connection()
    Scratch.__table__.create(connection)
    return connection


def rows_of(connection: Connection) -> dict[Any, dict[str, Any]]:
    """What the table holds, by id."""
    return {row.id: dict(row._mapping) for row in connection.execute(select(Scratch.__table__))}
