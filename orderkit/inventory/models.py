"""Why stock is what it is."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, Text
from sqlmodel import Field

from orderkit.clock import now
from orderkit.db import Table, UtcDateTime
from orderkit.ids import new_id


class StockMovement(Table, table=True):
    """A receipt, an adjustment or a restock; never a placement or a release.

    At any time stock + quantities of the orders that hold goods = sum of the movements.
    """

    __tablename__ = "stock_movements"
    __table_args__ = (
        CheckConstraint("delta <> 0", name="delta_not_zero"),
        Index("ix_stock_movements_sku", "sku", "created_at", "id"),  # a product's movements, newest first
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    sku: str = Field(sa_type=Text, foreign_key="products.sku")
    delta: int = Field(sa_type=BigInteger)
    reason: str = Field(sa_type=Text)
    author_id: UUID | None = Field(default=None, foreign_key="users.id")
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
