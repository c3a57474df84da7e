"""The whole life of an order: numbers for people, notes, metadata, edits, refunds by line, deliveries, prices, low stock.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision: str | None = "0004"


def upgrade() -> None:
    op.create_table(
        "order_numbers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("next", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_order_numbers")),
    )
    op.add_column("orders", sa.Column("number", sa.BigInteger(), nullable=True))
    op.add_column("orders", sa.Column("staff_note", sa.Text(), nullable=True))
    op.add_column("orders", sa.Column("metadata", sa.JSON(), nullable=True))
    # Orders that are there have no number, so the index is made of nothing.
    op.create_index("uq_orders_number", "orders", ["number"], unique=True, if_not_exists=True)
    op.add_column("refunds", sa.Column("actor_id", sa.Uuid(), nullable=True))
    op.add_column("refunds", sa.Column("restock", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_index("ix_refunds_payment_id", "refunds", ["payment_id", "created_at", "id"], if_not_exists=True)
    op.create_table(
        "refund_lines",
        sa.Column("refund_id", sa.Uuid(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_refund_lines_quantity_positive")),
        sa.ForeignKeyConstraint(["refund_id"], ["refunds.id"], name=op.f("fk_refund_lines_refund_id_refunds")),
        sa.PrimaryKeyConstraint("refund_id", "line", name=op.f("pk_refund_lines")),
    )
    op.add_column("fulfillments", sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "webhook_receipts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_receipts")),
    )
    op.create_index("ix_webhook_receipts_received_at", "webhook_receipts", ["received_at"], unique=False)
    op.add_column("products", sa.Column("low_stock_at", sa.BigInteger(), nullable=True))
    op.create_table(
        "product_prices",
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("unit_price", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("length(currency) = 3", name=op.f("ck_product_prices_currency_iso")),
        sa.CheckConstraint(
            "unit_price BETWEEN 0 AND 9007199254740991", name=op.f("ck_product_prices_unit_price_in_bounds")
        ),
        sa.ForeignKeyConstraint(["sku"], ["products.sku"], name=op.f("fk_product_prices_sku_products")),
        sa.PrimaryKeyConstraint("sku", "currency", name=op.f("pk_product_prices")),
    )
    op.create_index("ix_stock_movements_sku", "stock_movements", ["sku", "created_at", "id"], if_not_exists=True)
    with op.batch_alter_table("outbox", copy_from=_outbox(nullable=False)) as outbox:
        outbox.alter_column("order_id", existing_type=sa.Uuid(), nullable=True)
        outbox.alter_column("sequence", existing_type=sa.Integer(), nullable=True)
    op.create_index(
        "ix_outbox_of_products",
        "outbox",
        ["created_at", "id"],
        postgresql_where=_OF_PRODUCTS,
        sqlite_where=_OF_PRODUCTS,
    )


_UNSENT = sa.text("sent_at IS NULL")
_OF_PRODUCTS = sa.text("sent_at IS NULL AND order_id IS NULL")


def _outbox(*, nullable: bool) -> sa.Table:
    """The table as it is beforehand, for SQLite, which changes a column by copying the table."""
    return sa.Table(
        "outbox",
        sa.MetaData(),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=nullable),
        sa.Column("sequence", sa.Integer(), nullable=nullable),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="fk_outbox_order_id_orders"),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.UniqueConstraint("order_id", "sequence", name="uq_outbox_order_id_sequence"),
        sa.Index("ix_outbox_unsent", "order_id", "sequence", postgresql_where=_UNSENT, sqlite_where=_UNSENT),
    )


def downgrade() -> None:
    op.drop_index("ix_outbox_of_products", table_name="outbox")
    op.execute("DELETE FROM outbox WHERE order_id IS NULL")
    with op.batch_alter_table("outbox", copy_from=_outbox(nullable=True)) as outbox:
        outbox.alter_column("sequence", existing_type=sa.Integer(), nullable=False)
        outbox.alter_column("order_id", existing_type=sa.Uuid(), nullable=False)
    op.drop_index("ix_stock_movements_sku", table_name="stock_movements")
    op.drop_table("product_prices")
    op.drop_column("products", "low_stock_at")
    op.drop_table("webhook_receipts")
    op.drop_column("fulfillments", "delivered_at")
    op.drop_table("refund_lines")
    op.drop_index("ix_refunds_payment_id", table_name="refunds")
    op.drop_column("refunds", "restock")
    op.drop_column("refunds", "actor_id")
    op.drop_index("uq_orders_number", table_name="orders")
    for name in ("metadata", "staff_note", "number"):
        op.drop_column("orders", name)
    op.drop_table("order_numbers")
