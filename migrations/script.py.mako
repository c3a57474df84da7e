"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision or "nothing"}

Before you keep this file, answer each, and then delete the questions:
- Is its name the next number (`0002_what_it_does.py`), and `revision` that number? The numbers are the history.
- Does the code that runs now still work on the new schema? Both run at once during a rollout: add first, let go a release
  later. A new column of an existing table is nullable or has a server_default, because old code does not fill it.
- Does anything rewrite, or lock for more than a moment, a table that grows with the orders? It gives up after 5 s without
  its lock, but nobody stops it once it has one. A column's type never changes; a constraint is added NOT VALID and validated
  by the next migration. All migrations run in one transaction, so an index on such a table is built by hand beforehand with
  CREATE INDEX CONCURRENTLY, told in the changelog, and is here with if_not_exists=True for everyone else.
- Does it run on SQLite? A new table does as it is. Constraints, and columns that go, take op.batch_alter_table, which copies
  the table; foreign keys are off meanwhile and checked before the commit. A whole name goes in op.f("ck_…"), or gets a
  second prefix.
- Does it go back down again? A test does it, and compares.
- Does it stand alone? It must do the same in two years: plain types, no import of orderkit.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision: str | None = ${repr(down_revision)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
