"""From users of the first version to those of today, on a live system: no row written, no index built that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from orderkit import migrating
from orderkit.auth import directory
from orderkit.db import Database
from orderkit.ids import new_id
from tests.engines import on_postgresql
from tests.migrations.definitions import definitions

CHANGELOG = Path(__file__).resolve().parents[2] / "CHANGELOG.md"
OLD_CODE = text(
    "INSERT INTO users (id, email, name, role, created_at) VALUES (:id, :email, :name, :role, '2026-01-01 00:00:00')"
)


def add(database: Database, name: str, role: str = "customer") -> None:
    """As the first version adds a user."""
    with database.transaction() as session:
        values = {"id": new_id().hex, "email": f"{name.lower()}@example.com", "name": name, "role": role}
        session.execute(OLD_CODE, values)


@pytest.fixture
def before(empty: Database) -> Database:
    migrating.migrate(empty, "0001")
    add(empty, "Ada", "admin")
    add(empty, "Bob")
    return empty


def found(database: Database, q: str) -> list[str]:
    with database.reading() as session:
        return [one.name for one in directory.page(session.connection(), limit=10, q=q).accounts]


def test_users_of_before_and_of_old_code_are_found_by_name_once_the_worker_was_there(before: Database) -> None:
    migrating.migrate(before)
    add(before, "Adam")
    assert found(before, "ada") == ["Ada", "Adam"], "by their addresses"
    with before.transaction() as session:
        session.execute(text("UPDATE users SET email = 'x' || email"))
    assert found(before, "ada") == []
    with before.transaction() as session:
        assert directory.fold_names(session.connection()) == 3
    assert found(before, "ada") == ["Ada", "Adam"]
    with before.reading() as session:
        rows = session.execute(text("SELECT name, role, token_version, erase_at FROM users ORDER BY name")).all()
    assert rows == [("Ada", "admin", 0, None), ("Adam", "customer", 0, None), ("Bob", "customer", 0, None)]


def test_what_constraints_say_holds_for_users_of_before_too(before: Database) -> None:
    migrating.migrate(before)
    for change in ("role = 'nobody'", "token_version = -1"):
        with pytest.raises(IntegrityError), before.transaction() as session:
            session.execute(text(f"UPDATE users SET {change} WHERE name = 'Ada'"))


@on_postgresql
def test_no_row_of_users_is_written(before: Database) -> None:
    rows = text("SELECT name, ctid::text, xmin::text, pg_relation_filenode('users') FROM users ORDER BY name")
    with before.reading() as session:
        written = session.execute(rows).all()
    migrating.migrate(before)
    with before.reading() as session:
        assert session.execute(rows).all() == written


@on_postgresql
@pytest.mark.parametrize(
    ("table", "revision", "indexes"),
    [
        (
            "users",
            "0003",
            {"ix_users_email_search", "ix_users_name_search", "ix_users_to_erase", "ix_users_admins"},
        ),
        (
            "orders",
            "0005",
            {"ix_orders_user_id_status_created_at", "ix_orders_total", "ix_orders_user_id_total"},
        ),
    ],
)
def test_the_indexes_that_the_changelog_builds_beforehand_are_those_that_the_migration_would(
    before: Database, database: Database, table: str, revision: str, indexes: set[str]
) -> None:
    by_hand = re.findall(rf"CREATE INDEX CONCURRENTLY (\w+) (ON {table} [^;]+);", CHANGELOG.read_text())
    assert {name for name, _on in by_hand} == indexes
    migrating.migrate(before, revision)
    with before.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for name, on in by_hand:
            connection.exec_driver_sql(f"CREATE INDEX CONCURRENTLY {name} {on}")
    made = text(f"SELECT relname, relfilenode FROM pg_class WHERE relname LIKE 'ix_{table}_%' ORDER BY relname")
    with before.reading() as session:
        earlier = session.execute(made).all()
    migrating.migrate(before)
    with before.reading() as session:
        assert session.execute(made).all() == earlier
    assert definitions(before) == definitions(database)
