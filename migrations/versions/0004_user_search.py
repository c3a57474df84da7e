"""Indexes of users: the search by address and by name, what is still to be erased, and who is an admin.

They hold `users` while they are built: with 0002, whose constraints read the table once and rewrite nothing, for 1.8 s where
there are 1,000,000 users (PostgreSQL 18 on two busy cores; 0002 alone 0.4 s). Who cannot spare that migrates to 0003, builds
them by hand with CREATE INDEX CONCURRENTLY, and migrates on. `search_name` is filled by the worker, bit by bit.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision: str | None = "0003"

THERE = "deleted_at IS NULL"
INDEXES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("ix_users_email_search", ("email",), THERE),
    ("ix_users_name_search", ("search_name", "id"), THERE),
    ("ix_users_to_erase", ("erase_at",), "erase_at IS NOT NULL"),
    ("ix_users_admins", ("id",), "role = 'admin'"),
)


def upgrade() -> None:
    for name, columns, where in INDEXES:
        op.create_index(
            name,
            "users",
            list(columns),
            unique=False,
            if_not_exists=True,
            postgresql_ops={"email": "text_pattern_ops"},
            postgresql_where=sa.text(where),
            sqlite_where=sa.text(where),
        )


def downgrade() -> None:
    for name, _columns, _where in reversed(INDEXES):
        op.drop_index(name, table_name="users")
