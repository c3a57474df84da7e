"""A threshold of low stock that is a number of pieces, and refunds that remember the key they were asked under.

The catalog is small: looking through a million products for the constraint takes less than a second. No refund has a key yet,
so the index is made of nothing, and only looks for them.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision: str | None = "0007"

_KEYED = sa.text("idempotency_key IS NOT NULL")
_IN_BOUNDS = "low_stock_at BETWEEN 0 AND 9007199254740991"


def upgrade() -> None:
    with op.batch_alter_table("products", copy_from=_products()) as products:
        products.create_check_constraint(op.f("ck_products_low_stock_at_in_bounds"), _IN_BOUNDS)
    op.add_column("refunds", sa.Column("idempotency_key", sa.Text(), nullable=True))
    op.create_index(
        "uq_refunds_actor_id_idempotency_key",
        "refunds",
        ["actor_id", "idempotency_key"],
        unique=True,
        postgresql_where=_KEYED,
        sqlite_where=_KEYED,
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_index("uq_refunds_actor_id_idempotency_key", table_name="refunds")
    op.drop_column("refunds", "idempotency_key")
    bounded = sa.CheckConstraint(_IN_BOUNDS, name="ck_products_low_stock_at_in_bounds")
    with op.batch_alter_table("products", copy_from=_products(bounded)) as products:
        products.drop_constraint(op.f("ck_products_low_stock_at_in_bounds"), type_="check")


def _products(*more: sa.CheckConstraint) -> sa.Table:
    """The table as it is beforehand, for SQLite, which adds a constraint by copying the table."""
    return sa.Table(
        "products",
        sa.MetaData(),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("unit_price", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("stock", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("low_stock_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("length(currency) = 3", name="ck_products_currency_iso"),
        sa.CheckConstraint("length(sku) BETWEEN 1 AND 64", name="ck_products_sku_length"),
        sa.CheckConstraint("stock >= 0", name="ck_products_stock_not_negative"),
        sa.CheckConstraint("unit_price BETWEEN 0 AND 9007199254740991", name="ck_products_unit_price_in_bounds"),
        *more,
        sa.PrimaryKeyConstraint("sku", name="pk_products"),
    )
