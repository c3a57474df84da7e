"""Finding orders. Every list is bounded and walks an index by key, so that its cost does not grow with the orders there are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, tuple_

from orderkit.orders import snapshot
from orderkit.orders.models import Order
from orderkit.orders.snapshot import OrderSnapshot

_orders = Order.__table__  # type: ignore[attr-defined]


class Position(NamedTuple):
    """Where a page ended, newest first; the id decides among orders of one instant."""

    created_at: datetime
    id: UUID


def position(order: OrderSnapshot) -> Position:
    return Position(order.created_at, order.id)


def find(connection: Connection, order_id: UUID) -> OrderSnapshot | None:
    return snapshot.load(connection, [order_id]).get(order_id)


def page(
    connection: Connection,
    *,
    limit: int,
    user_id: UUID | None = None,
    status: str | None = None,
    after: Position | None = None,
) -> Sequence[OrderSnapshot]:
    """At most `limit` orders with their lines, newest first, after `after`; one user's and of one status if given."""
    query = snapshot.WITH_PAYMENT.order_by(_orders.c.created_at.desc(), _orders.c.id.desc()).limit(limit)
    if user_id is not None:
        query = query.where(_orders.c.user_id == user_id)
    if status is not None:
        query = query.where(_orders.c.status == status)
    if after is not None:
        query = query.where(tuple_(_orders.c.created_at, _orders.c.id) < tuple_(*after))
    found = [snapshot.of_row(row) for row in connection.execute(query)]
    snapshot.load_lines(connection, found)
    return found
