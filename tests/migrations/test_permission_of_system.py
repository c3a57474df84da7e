"""The permission to see the system comes with its migration, to those who look after it, and goes with it."""

from __future__ import annotations

from sqlalchemy import text

from orderkit import migrating
from orderkit.db import Database

HELD = "SELECT role FROM role_permissions WHERE permission = 'system:read' ORDER BY role"


def held(database: Database) -> list[str]:
    with database.reading() as session:
        return list(session.connection().execute(text(HELD)).scalars())


def test_it_is_given_to_three_roles_and_taken_from_whoever_has_it(empty: Database) -> None:
    migrating.migrate(empty, "0010")
    assert held(empty) == []
    migrating.migrate(empty, "0011")
    assert held(empty) == ["admin", "operations", "support"]
    with empty.transaction() as session:
        session.connection().execute(text("INSERT INTO role_permissions VALUES ('analyst', 'system:read')"))
    migrating.migrate(empty, "0010")
    assert held(empty) == []
    migrating.migrate(empty, "0011")
    assert held(empty) == ["admin", "operations", "support"]
