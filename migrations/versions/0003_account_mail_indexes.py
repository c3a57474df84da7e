"""Indexes of account mails: how many an address was sent of late, and which are old enough to be forgotten.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"


def upgrade() -> None:
    op.create_index("ix_account_mails_email", "account_mails", ["email", "kind", "created_at"], unique=False)
    done = sa.text("done_at IS NOT NULL")
    op.create_index(
        "ix_account_mails_done", "account_mails", ["done_at"], unique=False, postgresql_where=done, sqlite_where=done
    )


def downgrade() -> None:
    op.drop_index("ix_account_mails_done", table_name="account_mails")
    op.drop_index("ix_account_mails_email", table_name="account_mails")
