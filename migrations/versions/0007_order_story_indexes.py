"""Indexes of the story of an order: the calls about its payment, and its dead letters.

They hold `payment_attempts` and `dead_letters` against writers while they are built. Who cannot spare that builds them by
hand beforehand, with CREATE INDEX CONCURRENTLY: the changelog has the statements.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision: str | None = "0006"


def upgrade() -> None:
    op.create_index(
        "ix_payment_attempts_payment_id", "payment_attempts", ["payment_id", "started_at", "id"], if_not_exists=True
    )
    op.create_index("ix_dead_letters_order_id", "dead_letters", ["order_id"], if_not_exists=True)


def downgrade() -> None:
    op.drop_index("ix_dead_letters_order_id", table_name="dead_letters")
    op.drop_index("ix_payment_attempts_payment_id", table_name="payment_attempts")
