"""During a rollout, whatever still ran the old version would have called itself unready and refused to start again.

The database is migrated first, as it must be, and old code runs on the new schema, as it can; but it asked whether the
database is at the revision that it knows as the newest, and took a newer one for unmigrated.
"""

from __future__ import annotations

from sqlalchemy import text

from orderkit import migrating
from orderkit.db import Database


def test_a_database_that_is_newer_than_the_code_is_served(database: Database) -> None:
    newer = f"{int(migrating.head()) + 1:04}"
    with database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :newer"), {"newer": newer})
    try:
        migrating.require_current(database)
        assert migrating.migrate(database) == (newer, newer)
    finally:
        with database.transaction() as session:
            session.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": migrating.head()})
