"""The trace that an order, a refund and an event belong to, so that what is done for them later goes on in it.

Columns only, added without touching a row. What is older has none, and begins a trace when it is worked on.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision: str | None = "0009"

TABLES = ("orders", "refunds", "outbox")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("traceparent", sa.Text(), nullable=True))


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "traceparent")
