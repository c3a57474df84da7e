"""Rollups for reports, the country that an order goes to, and an index of what was given back by time.

The column is added without touching a row. The index holds `refunds` against writers while it is built; who cannot spare
that builds it by hand beforehand, with CREATE INDEX CONCURRENTLY: the changelog has the statement.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision: str | None = "0008"

_OF_USERS = sa.text("kind = 'user'")
_SUCCEEDED = sa.text("status = 'succeeded'")


def upgrade() -> None:
    op.add_column("orders", sa.Column("country", sa.Text(), nullable=True))
    op.create_index(
        "ix_refunds_succeeded",
        "refunds",
        ["created_at"],
        postgresql_where=_SUCCEEDED,
        sqlite_where=_SUCCEEDED,
        if_not_exists=True,
    )
    sums = sa.Numeric(38, 0).with_variant(sa.BigInteger(), "sqlite")
    op.create_table(
        "rollups",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("grain", sa.Text(), nullable=False),
        sa.Column("bucket", sa.DateTime(timezone=True), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        *(sa.Column(name, sums, nullable=False) for name in ("orders", "gross", "refunds", "refunded", "pieces")),
        sa.CheckConstraint(
            "kind IN ('total', 'country', 'status', 'user', 'product')", name=op.f("ck_rollups_kind_known")
        ),
        sa.CheckConstraint("grain IN ('quarter', 'hour', 'day', 'month')", name=op.f("ck_rollups_grain_known")),
        sa.PrimaryKeyConstraint("kind", "grain", "bucket", "currency", "key", name=op.f("pk_rollups")),
    )
    op.create_index(
        "ix_rollups_of_users",
        "rollups",
        ["key", "grain", "bucket"],
        postgresql_where=_OF_USERS,
        sqlite_where=_OF_USERS,
    )


def downgrade() -> None:
    op.drop_table("rollups")
    op.drop_index("ix_refunds_succeeded", table_name="refunds")
    op.drop_column("orders", "country")
