"""Finding the refunds of an order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Select, select, tuple_

from orderkit.orders import refund_lines
from orderkit.orders.models import OrderItem
from orderkit.orders.refund_lines import Pieces
from orderkit.orders.refunds import OrderRefund
from orderkit.payments.models import Payment, Refund

_items = OrderItem.__table__  # type: ignore[attr-defined]
_payments = Payment.__table__  # type: ignore[attr-defined]
_refunds = Refund.__table__  # type: ignore[attr-defined]


class Position(NamedTuple):
    """Where a page ended, newest first; the id decides among refunds of one instant."""

    created_at: datetime
    id: UUID


def position(refund: OrderRefund) -> Position:
    return Position(refund.created_at, refund.id)


def page(connection: Connection, order_id: UUID, *, limit: int, after: Position | None = None) -> Sequence[OrderRefund]:
    """At most `limit` refunds of an order, newest first, after `after`. Rides ix_refunds_payment_id."""
    payment_id = select(_payments.c.id).where(_payments.c.order_id == order_id).scalar_subquery()
    query = select(_refunds).where(_refunds.c.payment_id == payment_id)
    query = query.order_by(_refunds.c.created_at.desc(), _refunds.c.id.desc()).limit(limit)
    if after is not None:
        query = query.where(tuple_(_refunds.c.created_at, _refunds.c.id) < tuple_(*after))
    return _with_lines(connection, order_id, query.execution_options(query="refunds.of_order"))


def find(connection: Connection, order_id: UUID, refund_id: UUID) -> OrderRefund | None:
    """That refund, if it is one of the order's."""
    of_order = select(_refunds).join(_payments, _payments.c.id == _refunds.c.payment_id)
    query = of_order.where(_refunds.c.id == refund_id, _payments.c.order_id == order_id)
    return next(iter(_with_lines(connection, order_id, query.execution_options(query="refunds.find"))), None)


def _with_lines(connection: Connection, order_id: UUID, query: Select[Any]) -> list[OrderRefund]:
    rows = connection.execute(query).all()
    lines = refund_lines.of_refunds(connection, [row.id for row in rows])
    skus: dict[int, str] = {}
    if any(lines.values()):
        items = select(_items.c.line, _items.c.sku).where(_items.c.order_id == order_id)
        skus = {row.line: row.sku for row in connection.execute(items)}
    return [
        OrderRefund(
            row.id,
            order_id,
            row.amount,
            row.currency,
            row.status,
            row.reason,
            row.restock,
            tuple(Pieces(line, skus[line], quantity) for line, quantity in lines[row.id]),
            row.created_at,
            row.updated_at,
        )
        for row in rows
    ]
