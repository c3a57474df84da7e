"""Connections that the pool keeps: few round trips while they are in use, and none that is dead handed out after a rest."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from orderkit import db
from orderkit.db import Database
from tests.engines import on_postgresql
from tests.factories import make_product, make_user

pytestmark = on_postgresql


def backend(database: Database) -> int:
    with database.transaction() as session:
        pid: int = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
        return pid


@pytest.fixture
def close_backend(postgresql_url: str) -> Callable[[int], None]:
    def close(pid: int) -> None:
        with psycopg.connect(postgresql_url) as connection:
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))

    return close


def test_a_connection_in_use_is_not_asked_whether_it_lives(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    first = backend(database)
    monkeypatch.setattr(database.engine.dialect, "do_ping", lambda _connection: pytest.fail("it was asked"))
    assert backend(database) == first


def test_a_connection_that_died_while_it_lay_idle_is_replaced_unseen(
    database: Database, close_backend: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = backend(database)
    close_backend(first)
    monkeypatch.setattr(db, "TRUSTED_S", 0.0)
    assert backend(database) != first


def test_a_transaction_that_begins_along_with_its_first_statement_takes_it_back_too(database: Database) -> None:
    make_product(database, sku="TEA", stock=10)

    def act() -> None:
        with database.transaction() as session:
            session.execute(text("UPDATE products SET stock = 1"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        act()
    with database.reading() as session:
        assert session.execute(text("SELECT stock FROM products")).scalar_one() == 10


def test_a_first_statement_that_fails_leaves_the_connection_fit_for_the_next(database: Database) -> None:
    user = make_user(database)
    first = backend(database)
    with pytest.raises(DBAPIError), database.transaction() as session:
        session.execute(text("SELECT 1 / 0"))
    assert backend(database) == first
    with database.reading() as session:
        assert session.execute(text("SELECT name FROM users")).scalar_one() == user.name
