"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision or "nothing"}

Before you keep this file, answer each, and then delete the questions:
- Does the code that runs now still work on the new schema? Both run at once during a rollout: add first, remove a release later.
- Does anything rewrite, or lock for more than a moment, a table that grows with the orders? A new column takes no default that
  must be computed; an index on such a table is made with postgresql_concurrently in an autocommit block; a constraint is
  added NOT VALID and validated by the next migration.
- Does it run on SQLite as well as on PostgreSQL, and back down again?
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
