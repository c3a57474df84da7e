"""Indexes of the lists of orders: one user's by status, and orders by total, everyone's and one user's.

They hold `orders` against writers while they are built. Who cannot spare that migrates to 0005, builds them by hand with
CREATE INDEX CONCURRENTLY, and migrates on: the changelog has the statements.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision: str | None = "0005"

INDEXES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ix_orders_user_id_status_created_at", ("user_id", "status", "created_at", "id")),
    ("ix_orders_total", ("total", "id")),
    ("ix_orders_user_id_total", ("user_id", "total", "id")),
)


def upgrade() -> None:
    for name, columns in INDEXES:
        op.create_index(name, "orders", list(columns), unique=False, if_not_exists=True)


def downgrade() -> None:
    for name, _columns in reversed(INDEXES):
        op.drop_index(name, table_name="orders")
