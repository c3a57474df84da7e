"""Slow statements name themselves in the log, and nothing of what they were asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from loguru import logger
from sqlalchemy import Select, bindparam, column, func, literal, select, text
from sqlalchemy.exc import DBAPIError

from orderkit.catalog.models import Product
from orderkit.clock import now
from orderkit.db import Database
from orderkit.rows import update_rows
from orderkit.settings import Settings

NEVER, ALWAYS, SLOWLY = 60.0, 1e-9, 0.2
ROWS = 4_000_000
"""So many numbers take SQLite more than SLOWLY to count, and its first one less."""


@pytest.fixture
def said() -> Iterator[list[Any]]:
    """Records of the log."""
    records: list[Any] = []
    sink = logger.add(lambda message: records.append(message.record), level="WARNING")
    yield records
    logger.remove(sink)


def watched(settings: Settings, seconds: float) -> Database:
    return Database(settings.model_copy(update={"slow_query": seconds}))


def names(said: list[Any]) -> list[str]:
    return [record["extra"]["query"] for record in said if "query" in record["extra"]]


def slow(database: Database) -> Any:
    """A query that takes longer than SLOWLY, on SQLite only once its rows are fetched."""
    if not database.is_sqlite:
        return select(func.pg_sleep(2 * SLOWLY))
    numbers = select(literal(1).label("n")).cte("numbers", recursive=True)
    numbers = numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < ROWS))
    return select(numbers.c.n).where((numbers.c.n == 1) | (numbers.c.n == ROWS))


def test_a_slow_query_says_its_name_and_how_long_it_took(settings: Settings, said: list[Any]) -> None:
    database = watched(settings, SLOWLY)
    with database.reading() as session:
        session.connection().execute(slow(database).execution_options(query="things.counted")).all()
    assert names(said) == ["things.counted"]
    [record] = said
    assert record["level"].name == "WARNING"
    assert SLOWLY * 1e3 <= record["extra"]["milliseconds"] < 60_000
    assert record["message"].startswith("a slow query: things.counted took ")
    database.dispose()


def test_a_query_that_is_not_slow_says_nothing(settings: Settings, said: list[Any]) -> None:
    database = watched(settings, NEVER)
    with database.reading() as session:
        assert session.connection().execute(select(literal(1)).execution_options(query="things.one")).all() == [(1,)]
    assert said == []
    database.dispose()


def test_a_statement_without_a_name_says_its_first_words_and_no_values(settings: Settings, said: list[Any]) -> None:
    database = watched(settings, ALWAYS)
    query: Select[Any] = select(column("a")).select_from(select(bindparam("a", "a-secret").label("a")).subquery())
    with database.reading() as session:
        session.connection().execute(query).all()
        session.connection().execute(text("SELECT :a AS b"), {"a": "a-secret"}).all()
    assert next(name for name in names(said) if name.startswith("SELECT")).startswith("SELECT a FROM (SELECT")
    assert "a-secret" not in "".join(str(record["message"]) + str(record["extra"]) for record in said)
    database.dispose()


def test_a_statement_of_many_rows_is_named_too(settings: Settings, said: list[Any]) -> None:
    database = watched(settings, ALWAYS)
    with database.transaction() as session:
        session.add(Product(sku="TEA", name="Tea", unit_price=1, currency="GBP", stock=1))
        session.flush()
        rows = [{"sku": "TEA", "stock": 2, "updated_at": now()}]
        update_rows(session.connection(), Product, rows, by=("sku",), query="products.filled")
    assert "products.filled" in names(said)
    database.dispose()


@pytest.mark.parametrize("engine_name", ["postgresql"], indirect=True)
def test_a_query_that_the_server_gives_up_says_its_name(settings: Settings, said: list[Any]) -> None:
    database = watched(settings, SLOWLY)
    with database.reading() as session:
        session.connection().execute(text(f"SET LOCAL statement_timeout = {int(SLOWLY * 2e3)}"))
        with pytest.raises(DBAPIError):
            session.connection().execute(select(func.pg_sleep(30)).execution_options(query="things.slept"))
    assert names(said) == ["things.slept"]
    database.dispose()


def test_nothing_is_watched_where_the_setting_is_0(settings: Settings, said: list[Any]) -> None:
    database = watched(settings, 0.0)
    with database.reading() as session:
        session.connection().execute(slow(database)).all()
    assert said == []
    database.dispose()


def test_rows_that_nobody_fetched_keep_no_connection_from_writing(settings: Settings) -> None:
    """A connection that is still reading cannot write once another has: it would be told `database is locked` at once."""
    database = watched(settings, NEVER)
    numbers = text("SELECT value FROM json_each('[1, 2, 3]')" if database.is_sqlite else "SELECT generate_series(1, 3)")
    for _ in range(3):
        with database.transaction() as session:
            session.connection().execute(numbers)
            update_rows(session.connection(), Product, [{"sku": "none", "stock": 1}], by=("sku",), exact=False)
    database.dispose()
