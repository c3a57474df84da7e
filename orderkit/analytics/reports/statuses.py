"""What has become of the orders that were placed in a range: how many are in which status now."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from orderkit.analytics import periods
from orderkit.analytics.asking import Asked
from orderkit.analytics.periods import Span
from orderkit.analytics.tallies import Books
from orderkit.orders.models import Order
from orderkit.orders.states import OrderStatus

_orders = Order.__table__  # type: ignore[attr-defined]


class Item(NamedTuple):
    """So many orders are in this status."""

    status: str
    orders: int


def report(books: Books, asked: Asked) -> list[Item]:
    """Statuses that an order of the range has, in the order of an order's life."""
    found: Counter[str] = Counter()
    within = books.extent("status")
    if within is not None:
        for group, tally in books.tallies("status", asked.range.spans(within), asked.currency).items():
            found[group.key] += tally.orders
    ever = Span(periods.FIRST, periods.LAST)
    for span in asked.range.spans(ever) if (asked.range.start, asked.range.end) != (None, None) else [ever]:
        found[OrderStatus.PENDING] += _pending(books.connection, span, asked.currency)
    return [Item(one.value, found[one.value]) for one in OrderStatus if found[one.value]]


def _pending(connection: Connection, span: Span, currency: str | None) -> int:
    """They are few at any time, and not summed. Rides ix_orders_status_created_at."""
    query = select(func.count()).where(
        _orders.c.status == OrderStatus.PENDING.value,
        _orders.c.created_at >= span.start,
        _orders.c.created_at < span.end,
        *([] if currency is None else [_orders.c.currency == currency]),
    )
    return int(connection.execute(query.execution_options(query="reports.pending")).scalar_one())
