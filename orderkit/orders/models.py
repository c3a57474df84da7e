"""An order, its lines, and every state it has been in."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, Integer, Text, UniqueConstraint
from sqlmodel import Field

from orderkit.clock import now
from orderkit.db import Json, Table, UtcDateTime
from orderkit.ids import new_id
from orderkit.money import MAX_AMOUNT
from orderkit.orders.states import OrderStatus


class Order(Table, table=True):
    """What somebody wants. `version` counts its changes, from 1, and is its ETag and the sequence of its events.

    `country` is where it is delivered, as it was written; it stays when the rest of the address is erased.

    `number` is what people call it; only orders older than numbers have none. `labels` are the caller's own, text by text.

    `traceparent` is the place in a trace (W3C Trace Context) of the request that placed it; what is done for the order in the
    background goes on there.

    (user, idempotency key) stays unique for ever, also after the key itself has been forgotten.
    """

    __tablename__ = "orders"
    __table_args__ = (
        UniqueConstraint("user_id", "idempotency_key", name="uq_orders_user_id_idempotency_key"),
        CheckConstraint(f"status IN ({', '.join(repr(s.value) for s in OrderStatus)})", name="status_known"),
        CheckConstraint(f"total BETWEEN 0 AND {MAX_AMOUNT}", name="total_in_bounds"),
        CheckConstraint("length(currency) = 3", name="currency_iso"),
        CheckConstraint("version >= 1", name="version_positive"),
        # Beside each the query of `reading` that rides it; `reading.page` tells what becomes of filters that none applies.
        Index("ix_orders_created_at", "created_at", "id"),  # orders.by_time
        Index("ix_orders_status_created_at", "status", "created_at", "id"),  # orders.of_status_by_time
        Index("ix_orders_user_id_created_at", "user_id", "created_at", "id"),  # orders.of_user_by_time
        # orders.of_user_and_status_by_time
        Index("ix_orders_user_id_status_created_at", "user_id", "status", "created_at", "id"),
        Index("ix_orders_total", "total", "id"),  # orders.by_total
        Index("ix_orders_user_id_total", "user_id", "total", "id"),  # orders.of_user_by_total
        Index("uq_orders_number", "number", unique=True),  # orders.by_number
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    user_id: UUID = Field(foreign_key="users.id")
    idempotency_key: str = Field(sa_type=Text)
    status: str = Field(default=OrderStatus.PENDING, sa_type=Text)
    currency: str = Field(sa_type=Text)
    total: int = Field(sa_type=BigInteger)
    shipping_address: dict[str, Any] | None = Field(default=None, sa_type=Json)
    country: str | None = Field(default=None, sa_type=Text)
    note: str | None = Field(default=None, sa_type=Text)
    number: int | None = Field(default=None, sa_type=BigInteger)
    staff_note: str | None = Field(default=None, sa_type=Text)
    labels: dict[str, str] | None = Field(default=None, sa_type=Json, sa_column_kwargs={"name": "metadata"})
    version: int = Field(default=1, sa_type=Integer)
    traceparent: str | None = Field(default=None, sa_type=Text)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    updated_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class OrderItem(Table, table=True):
    """One line, with the name and the price of the moment it was ordered."""

    __tablename__ = "order_items"
    __table_args__ = (
        CheckConstraint("quantity > 0", name="quantity_positive"),
        CheckConstraint("unit_price >= 0", name="unit_price_not_negative"),
        CheckConstraint("line_total = quantity * unit_price", name="line_total_multiplies"),
    )

    order_id: UUID = Field(foreign_key="orders.id", primary_key=True)
    line: int = Field(sa_type=Integer, primary_key=True)
    sku: str = Field(sa_type=Text, foreign_key="products.sku")
    name: str = Field(sa_type=Text)
    quantity: int = Field(sa_type=BigInteger)
    unit_price: int = Field(sa_type=BigInteger)
    line_total: int = Field(sa_type=BigInteger)


class OrderNumbers(Table, table=True):
    """The next number that nobody took. Processes take blocks, so numbers rise by and large, and some are never used."""

    __tablename__ = "order_numbers"

    name: str = Field(sa_type=Text, primary_key=True)
    next: int = Field(sa_type=BigInteger)


class OrderHistory(Table, table=True):
    """One change: of status from what to what, by whom (nobody: orderkit itself), why, in which request.

    What the command line changed has nobody, and as its request the `source` of an Actor of the audit log.

    An edit leaves the status as it is: `from_status` is `to_status`, and `reason` says what was edited.
    """

    __tablename__ = "order_history"

    order_id: UUID = Field(foreign_key="orders.id", primary_key=True)
    version: int = Field(sa_type=Integer, primary_key=True)
    from_status: str | None = Field(default=None, sa_type=Text)
    to_status: str = Field(sa_type=Text)
    actor_id: UUID | None = Field(default=None, foreign_key="users.id")
    reason: str = Field(sa_type=Text)
    request_id: str | None = Field(default=None, sa_type=Text)
    at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
