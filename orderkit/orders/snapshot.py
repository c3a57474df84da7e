"""An order with its lines and its payment, as one value: what answers, events and decisions are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, select

from orderkit.idempotency import KeyId
from orderkit.orders.models import Order, OrderItem
from orderkit.orders.pricing import PricedLine
from orderkit.orders.states import OrderStatus
from orderkit.payments.models import Payment, PaymentStatus
from orderkit.rows import any_of, in_list, listed

_orders = Order.__table__  # type: ignore[attr-defined]
_payments = Payment.__table__  # type: ignore[attr-defined]
_items = OrderItem.__table__  # type: ignore[attr-defined]


@dataclass(slots=True)
class OrderSnapshot:
    """An order as it stands. Amounts are minor units of `currency`; `items` is None until lines were loaded."""

    id: UUID
    user_id: UUID
    idempotency_key: str
    status: str
    currency: str
    total: int
    shipping_address: dict[str, Any] | None
    note: str | None
    version: int
    created_at: datetime
    updated_at: datetime
    payment_id: UUID
    payment_status: str
    payment_method: str
    provider_reference: str | None
    payment_attempts: int
    refunded: int
    number: int | None = None
    staff_note: str | None = None
    metadata: dict[str, str] | None = None
    country: str | None = None
    traceparent: str | None = None
    items: tuple[PricedLine, ...] | None = None

    @property
    def key(self) -> KeyId:
        return KeyId(self.user_id, self.idempotency_key)

    @property
    def all_given_back(self) -> bool:
        """That money was taken, and all of it is given back, or promised."""
        return 0 < self.total == self.refunded

    @property
    def owed(self) -> int:
        """Minor units that a cancelled order has of its customer and that no refund gives back: nothing, or people must look."""
        kept = self.status == OrderStatus.CANCELLED and self.payment_status == PaymentStatus.CAPTURED
        return self.total - self.refunded if kept else 0

    @property
    def lines(self) -> tuple[PricedLine, ...]:
        assert self.items is not None, "lines were not loaded"  # noqa: S101 - a bug, not an input
        return self.items


_SOURCES = {
    **_orders.c,
    "payment_id": _payments.c.id,
    "payment_status": _payments.c.status,
    "payment_method": _payments.c.method,
    "provider_reference": _payments.c.provider_reference,
    "payment_attempts": _payments.c.attempts,
    "refunded": _payments.c.refunded,
}
COLUMNS = tuple(_SOURCES[name].label(name) for name in OrderSnapshot.__dataclass_fields__ if name != "items")
"""What `of_row` needs of a row of `orders` joined with `payments`: the fields of OrderSnapshot, in their order."""

WITH_PAYMENT = select(*COLUMNS).join_from(_orders, _payments, _payments.c.order_id == _orders.c.id)


def of_row(row: Any) -> OrderSnapshot:
    """A snapshot, without its lines, of a row that begins with COLUMNS."""
    return OrderSnapshot(*row[: len(COLUMNS)])


def lock(connection: Connection, order_ids: Sequence[UUID]) -> dict[UUID, OrderSnapshot]:
    """Locks those orders, in the order of their ids, and their payments; snapshots without lines.

    Both tables are locked, because PostgreSQL rereads after a wait only the rows that it locks: a payment that is merely
    joined would be as old as the statement.
    """
    rows = connection.execute(_locking(connection.dialect.name), listed(connection, _orders.c.id, order_ids))
    return {row.id: of_row(row) for row in rows}


@lru_cache
def _locking(dialect: str) -> Select[Any]:
    wanted = WITH_PAYMENT.where(in_list(dialect, _orders.c.id)).order_by(_orders.c.id)
    return wanted.with_for_update(key_share=True).execution_options(query="orders.lock")


def load(connection: Connection, order_ids: Sequence[UUID]) -> dict[UUID, OrderSnapshot]:
    """Snapshots with lines, unlocked, of those orders that exist."""
    these = WITH_PAYMENT.where(any_of(connection, _orders.c.id, order_ids))
    found = connection.execute(these.execution_options(query="orders.load"))
    snapshots = {row.id: of_row(row) for row in found}
    load_lines(connection, list(snapshots.values()))
    return snapshots


def load_lines(connection: Connection, snapshots: Sequence[OrderSnapshot]) -> None:
    """Fills in the lines of those snapshots that have none yet."""
    bare = {one.id: one for one in snapshots if one.items is None}
    if not bare:
        return
    lines: dict[UUID, list[PricedLine]] = {order_id: [] for order_id in bare}
    found = any_of(connection, _items.c.order_id, list(bare))
    query = select(_items).where(found).order_by(_items.c.order_id, _items.c.line)
    for row in connection.execute(query.execution_options(query="orders.lines")):
        lines[row.order_id].append(PricedLine(row.sku, row.name, row.quantity, row.unit_price, row.line_total))
    for order_id, snapshot in bare.items():
        snapshot.items = tuple(lines[order_id])
