"""What PostgreSQL was set to had a say in whether orders could be placed.

A database whose default isolation was `repeatable read` refused every third order under load, because what is locked and read
again counts on `read committed`. And a standby, which only reads, made every order a 500: the driver calls that an internal
error, so it was not known for an outage.
"""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from orderkit.db import Database
from orderkit.settings import Settings
from tests.engines import on_postgresql
from tests.factories import make_user


def _set(settings: Settings, database: Database, name: str, value: str | None) -> None:
    assert settings.database_url is not None
    where = settings.database_url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(where, autocommit=True) as admin:
        admin.execute("SET default_transaction_read_only = off")
        ours = sql.Identifier(database.url.database or "")
        if value is None:
            admin.execute(sql.SQL("ALTER DATABASE {} RESET {}").format(ours, sql.Identifier(name)))
        else:
            admin.execute(
                sql.SQL("ALTER DATABASE {} SET {} = {}").format(ours, sql.Identifier(name), sql.Literal(value))
            )


@on_postgresql
def test_isolation_is_read_committed_whatever_the_database_prefers(settings: Settings, database: Database) -> None:
    _set(settings, database, "default_transaction_isolation", "repeatable read")
    try:
        with database.transaction() as session:
            assert session.connection().execute(text("SHOW transaction_isolation")).scalar_one() == "read committed"
    finally:
        _set(settings, database, "default_transaction_isolation", None)


@on_postgresql
def test_a_server_that_only_reads_is_an_outage(settings: Settings, database: Database) -> None:
    _set(settings, database, "default_transaction_read_only", "on")
    try:
        with pytest.raises(OperationalError):
            make_user(database)
    finally:
        _set(settings, database, "default_transaction_read_only", None)
