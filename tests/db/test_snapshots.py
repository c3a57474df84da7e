"""Reading as of one moment: what others commit meanwhile is not seen, and the next look sees it."""

from __future__ import annotations

import pytest
from sqlalchemy import func, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import select

from orderkit.catalog.models import Product
from orderkit.db import Database
from tests.engines import on_postgresql
from tests.factories import make_product


def count(database: Database) -> int:
    with database.snapshot() as session:
        return session.exec(select(func.count()).select_from(Product)).one()


def test_all_of_a_snapshot_is_of_the_moment_of_its_first_statement(database: Database) -> None:
    make_product(database)
    with database.snapshot() as session:
        counted = select(func.count()).select_from(Product)
        assert session.exec(counted).one() == 1
        make_product(database)
        assert session.exec(counted).one() == 1
    assert count(database) == 2


@on_postgresql
def test_nothing_can_be_written_in_a_snapshot_and_its_connection_can_be_written_with_afterwards(
    database: Database,
) -> None:
    with database.snapshot() as session, pytest.raises(DBAPIError, match="read-only"):
        session.execute(text("CREATE TABLE stray (id integer)"))
    make_product(database)
    assert count(database) == 1
    with database.transaction() as session:
        assert session.execute(text("SHOW transaction_isolation")).scalar() == "read committed"
