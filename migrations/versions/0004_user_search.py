"""What users are found by: the beginning of their address, or of their name without regard to case.

`search_name` is filled here for those who are there. What old code writes during a rollout has none, and is found by address
until the name is changed.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision: str | None = "0003"


def _users(*more: sa.Column[str]) -> sa.Table:
    """The table as it was, for SQLite, which adds a column in its place by copying the table."""
    to_erase = sa.text("deleted_at IS NOT NULL AND erased_at IS NULL")
    table = sa.Table(
        "users",
        sa.MetaData(),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("avatar_url", sa.Text(), nullable=True),
        sa.Column("bio", sa.Text(), nullable=True),
        sa.Column("token_version", sa.Integer(), server_default=sa.text("0"), nullable=False),
        *(
            sa.Column(name, sa.DateTime(timezone=True), nullable=True)
            for name in ("verified_at", "banned_at", "deleted_at", "erased_at")
        ),
        *more,
        sa.CheckConstraint("email = lower(email)", name="ck_users_email_lower"),
        sa.CheckConstraint("token_version >= 0", name="ck_users_token_version_not_negative"),
        sa.ForeignKeyConstraint(["role"], ["roles.name"], name="fk_users_role_roles"),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email", name="uq_users_email"),
    )
    sa.Index("ix_users_to_erase", table.c.deleted_at, postgresql_where=to_erase, sqlite_where=to_erase)
    return table


def upgrade() -> None:
    in_bytes = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    # SQLite could add it without a copy, but keeps such a column in another form than that of a new table.
    recreate: Literal["always", "never"] = "always" if op.get_context().dialect.name == "sqlite" else "never"
    with op.batch_alter_table("users", copy_from=_users(), recreate=recreate) as users:
        users.add_column(sa.Column("search_name", in_bytes, nullable=True))
    op.execute("UPDATE users SET search_name = substr(lower(name), 1, 100) WHERE deleted_at IS NULL")
    there = sa.text("deleted_at IS NULL")
    op.create_index(
        "ix_users_email_search",
        "users",
        ["email"],
        unique=False,
        postgresql_ops={"email": "text_pattern_ops"},
        postgresql_where=there,
        sqlite_where=there,
    )
    op.create_index(
        "ix_users_name_search",
        "users",
        ["search_name", "id"],
        unique=False,
        postgresql_where=there,
        sqlite_where=there,
    )


def downgrade() -> None:
    op.drop_index("ix_users_name_search", table_name="users")
    op.drop_index("ix_users_email_search", table_name="users")
    with op.batch_alter_table("users", copy_from=_users(sa.Column("search_name", sa.Text(), nullable=True))) as users:
        users.drop_column("search_name")
