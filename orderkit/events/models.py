"""The outbox: what other parts must hear, written in the transaction that made it true."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, Integer, Text, UniqueConstraint, text
from sqlmodel import Field

from orderkit.clock import now
from orderkit.db import Json, Table, UtcDateTime
from orderkit.ids import new_id

_UNSENT = text("sent_at IS NULL")
_OF_PRODUCTS = text("sent_at IS NULL AND order_id IS NULL")


class OutboxEvent(Table, table=True):
    """One event of an order. `sequence` is the order's version, taken under the order's lock, so that an event that can
    be seen has no predecessor that cannot. An event of a product has neither, and no order among its like. `traceparent` is
    the trace of whoever made it."""

    __tablename__ = "outbox"
    __table_args__ = (
        UniqueConstraint("order_id", "sequence", name="uq_outbox_order_id_sequence"),
        Index("ix_outbox_unsent", "order_id", "sequence", postgresql_where=_UNSENT, sqlite_where=_UNSENT),  # the relay
        Index(
            "ix_outbox_of_products", "created_at", "id", postgresql_where=_OF_PRODUCTS, sqlite_where=_OF_PRODUCTS
        ),  # the relay
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    order_id: UUID | None = Field(default=None, foreign_key="orders.id")
    sequence: int | None = Field(default=None, sa_type=Integer)
    type: str = Field(sa_type=Text)
    payload: dict[str, Any] = Field(sa_type=Json)
    traceparent: str | None = Field(default=None, sa_type=Text)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    sent_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Lease(Table, table=True):
    """What one process at a time may do, such as relaying the outbox: whoever has its row locked.

    It says no more than that: no holder could die and keep it, and no two clocks need agree.
    """

    __tablename__ = "leases"

    name: str = Field(sa_type=Text, primary_key=True)


class WebhookReceipt(Table, table=True):
    """A callback that was taken, by its `webhook-id`: a repeat of it is answered, and changes nothing."""

    __tablename__ = "webhook_receipts"
    __table_args__ = (Index("ix_webhook_receipts_received_at", "received_at"),)  # forgetting the old

    id: str = Field(sa_type=Text, primary_key=True)
    received_at: datetime = Field(sa_type=UtcDateTime)
