"""Facts: what reports are sums of. Money that came, money that went back, and orders that moved from status to status.

They are told by three sources, alike: by the events of orders, by the base tables, and by who brings past orders in. So what
the relay adds up from events is what a report counts in the base tables, and the other way round.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Row, Select, and_, select

from orderkit.events import types
from orderkit.events.models import OutboxEvent
from orderkit.orders.models import Order, OrderHistory, OrderItem
from orderkit.orders.past import Written
from orderkit.orders.states import OrderStatus
from orderkit.payments.models import Payment, PaymentStatus, Refund, RefundStatus
from orderkit.rows import any_of, pairs_of

AT_ONCE = 1_000
"""Events that are looked into together, so that a backlog of any length is read in statements of bounded size."""

PENDING = OrderStatus.PENDING.value
TAKEN = (PaymentStatus.CAPTURED.value, PaymentStatus.IMPORTED.value)
"""A payment whose order counts as sold."""

_MOVES = {
    types.ORDER_PAID: (None, OrderStatus.PAID.value),
    types.ORDER_PAYMENT_FAILED: (None, OrderStatus.PAYMENT_FAILED.value),
    types.ORDER_SHIPPED: (OrderStatus.PAID.value, OrderStatus.SHIPPED.value),
    types.ORDER_DELIVERED: (OrderStatus.SHIPPED.value, OrderStatus.DELIVERED.value),
}
"""Events that say by their names from where to where; None: `pending`."""
_MOVES_FROM_ANYWHERE = (types.ORDER_CANCELLED, types.ORDER_REFUNDED)
"""Events of which only the history knows from where."""
_SALES = (types.ORDER_PAID, types.ORDER_CAPTURED_LATE)

_orders = Order.__table__  # type: ignore[attr-defined]
_items = OrderItem.__table__  # type: ignore[attr-defined]
_history = OrderHistory.__table__  # type: ignore[attr-defined]
_payments = Payment.__table__  # type: ignore[attr-defined]
_refunds = Refund.__table__  # type: ignore[attr-defined]
_events = OutboxEvent.__table__  # type: ignore[attr-defined]


class Sold(NamedTuple):
    """A line of a sale: `revenue` is what its pieces came to, in minor units."""

    sku: str
    pieces: int
    revenue: int


class Sale(NamedTuple):
    """The money of an order came, or it was imported. `at` is when the order was placed; `amount` its total in minor units.

    With `sign` -1 it is taken back, because the order goes to another country than it was counted for. `lines` are empty
    where nobody asked for them.
    """

    at: datetime
    currency: str
    user_id: UUID
    country: str | None
    amount: int
    lines: tuple[Sold, ...]
    sign: int = 1


class GivenBack(NamedTuple):
    """A refund succeeded. `at` is when it was asked for; `amount` in minor units; `sign` as of a Sale."""

    at: datetime
    currency: str
    user_id: UUID
    country: str | None
    amount: int
    sign: int = 1


class Moved(NamedTuple):
    """An order placed `at` that time went from status `before` to `after`.

    `before` is None for one that was `pending`: those are few, never summed, and counted where they are.
    """

    at: datetime
    currency: str
    before: str | None
    after: str


Fact = Sale | GivenBack | Moved
Lines = Mapping[UUID, Sequence[Sold]]


# ── from events ──────────────────────────────────────────────────────────────────────────────────────────────────────

EVENT_COLUMNS = (_events.c.id, _events.c.order_id, _events.c.sequence, _events.c.type, _events.c.payload)
"""What `of_events` needs of an event."""


def unsent(connection: Connection, *, lines: bool = True) -> list[Fact]:
    """What the events say that the relay has not sent yet, and so has not added to the rollups. Rides ix_outbox_unsent."""
    return of_events(connection, connection.execute(unsent_events()).all(), lines=lines)


def unsent_events() -> Select[Any]:
    found = select(*EVENT_COLUMNS).where(_events.c.sent_at.is_(None), _events.c.order_id.is_not(None))
    return found.order_by(_events.c.order_id, _events.c.sequence).execution_options(query="outbox.unsent")


def of_events(connection: Connection, events: Sequence[Row[Any]], *, lines: bool = True) -> list[Fact]:
    """What events of orders, rows of EVENT_COLUMNS, say. Without `lines`, not of which products.

    An order that was imported says nothing: whoever imports counts it. Its country is taken from the event, because by now
    it may be another; events of versions before have none, and the order's is taken.
    """
    told: list[Fact] = []
    for start in range(0, len(events), AT_ONCE):
        told += _of_some_events(connection, events[start : start + AT_ONCE], lines)
    return told


def _of_some_events(connection: Connection, events: Sequence[Row[Any]], lines: bool) -> Iterator[Fact]:
    telling = [one for one in events if _tells(one)]
    if not telling:
        return
    columns = (_orders.c.id, _orders.c.user_id, _orders.c.currency, _orders.c.total, _orders.c.country)
    found = select(*columns, _orders.c.created_at).where(
        any_of(connection, _orders.c.id, {one.order_id for one in telling})
    )
    orders = {row.id: row for row in connection.execute(found)}
    sold = {one.order_id for one in telling if one.type in _SALES or "was" in one.payload} if lines else ()
    lines_of = _lines(connection, _of_orders(connection, sold)) if sold else {}
    moves = _moves(connection, [one for one in telling if one.type in _MOVES_FROM_ANYWHERE])
    for event in telling:
        order = orders[event.order_id]
        if event.type in _SALES:
            yield _sale(order, _country(event, order), lines_of)
        elif event.type == types.ORDER_REFUND_SUCCEEDED:
            part = event.payload["refund"]
            at = datetime.fromisoformat(part["created_at"])
            yield GivenBack(at, order.currency, order.user_id, _country(event, order), part["amount"])
        elif "was" in event.payload:
            yield from _sent_elsewhere(order, event.payload, lines_of)
        move = _MOVES.get(event.type) or moves.get((event.order_id, event.sequence))
        if move is not None:
            yield Moved(order.created_at, order.currency, *move)


def _tells(event: Row[Any]) -> bool:
    return (
        event.type in _MOVES
        or event.type in _MOVES_FROM_ANYWHERE
        or event.type in (types.ORDER_CAPTURED_LATE, types.ORDER_REFUND_SUCCEEDED)
        or "was" in event.payload
    )


def _country(event: Row[Any], order: Any) -> str | None:
    country: str | None = event.payload.get("country", order.country)
    return country


def _sale(order: Any, country: str | None, lines: Lines, sign: int = 1) -> Sale:
    sold = tuple(lines.get(order.id, ()))
    return Sale(order.created_at, order.currency, order.user_id, country, order.total, sold, sign)


def _sent_elsewhere(order: Any, payload: Mapping[str, Any], lines: Lines) -> Iterator[Fact]:
    """All that was counted for the country of before is counted for the present one instead."""
    was = payload["was"]
    given = [(datetime.fromisoformat(at), amount) for at, amount in was["refunds"]]
    for country, sign in ((was["country"], -1), (payload["country"], 1)):
        yield _sale(order, country, lines, sign)
        for at, amount in given:
            yield GivenBack(at, order.currency, order.user_id, country, amount, sign)


def _moves(connection: Connection, events: Sequence[Row[Any]]) -> dict[tuple[UUID, int], tuple[str | None, str]]:
    if not events:
        return {}
    key = (_history.c.order_id, _history.c.version)
    these = pairs_of(connection, key, [(one.order_id, one.sequence) for one in events])
    found = connection.execute(select(*key, _history.c.from_status, _history.c.to_status).where(these))
    return {(row.order_id, row.version): (_counted(row.from_status), row.to_status) for row in found}


def _counted(status: str | None) -> str | None:
    return None if status == PENDING else status


def _of_orders(connection: Connection, order_ids: Any) -> Select[Any]:
    return _line_columns().where(any_of(connection, _items.c.order_id, order_ids))


def _line_columns() -> Select[Any]:
    return select(_items.c.order_id, _items.c.sku, _items.c.quantity, _items.c.line_total)


def _lines(connection: Connection, query: Select[Any]) -> Lines:
    lines: defaultdict[UUID, list[Sold]] = defaultdict(list)
    for order_id, sku, quantity, line_total in connection.execute(query):
        lines[order_id].append(Sold(sku, quantity, line_total))
    return lines


# ── from the base tables ─────────────────────────────────────────────────────────────────────────────────────────────


def of_base(
    connection: Connection, start: datetime, end: datetime, *, lines: bool = True, user_id: UUID | None = None
) -> list[Fact]:
    """What the base tables say of the time from `start` to before `end`. Rides ix_orders_created_at and ix_refunds_succeeded.

    With `user_id` only of that user's orders, on ix_orders_user_id_created_at, but of everybody's refunds, of which there are
    few. Memory grows with the orders and refunds of that time.
    """
    lines_of = _lines(connection, lines_between(start, end)) if lines else {}
    told: list[Fact] = []
    for order in connection.execute(orders_between(start, end, user_id)):
        if order.payment_status in TAKEN:
            told.append(_sale(order, order.country, lines_of))
        if order.status != PENDING:
            told.append(Moved(order.created_at, order.currency, None, order.status))
    told += [GivenBack(*row) for row in connection.execute(refunds_between(start, end))]
    return told


def orders_between(start: datetime, end: datetime, user_id: UUID | None = None) -> Select[Any]:
    """All orders placed in that time, also those that count for nothing yet, with the status of their payment."""
    columns = (_orders.c.id, _orders.c.created_at, _orders.c.currency, _orders.c.user_id, _orders.c.country)
    query = (
        select(*columns, _orders.c.total, _orders.c.status, _payments.c.status.label("payment_status"))
        .join_from(_orders, _payments, _payments.c.order_id == _orders.c.id)
        .where(_within(_orders.c.created_at, start, end))
    )
    if user_id is None:
        return query.execution_options(query="analytics.orders_between")
    return query.where(_orders.c.user_id == user_id).execution_options(query="analytics.orders_of_user_between")


def lines_between(start: datetime, end: datetime) -> Select[Any]:
    """The lines of the orders placed in that time."""
    return (
        _line_columns()
        .join(_orders, _orders.c.id == _items.c.order_id)
        .where(_within(_orders.c.created_at, start, end))
        .execution_options(query="analytics.lines_between")
    )


def refunds_between(start: datetime, end: datetime) -> Select[Any]:
    """The refunds asked for in that time that succeeded, as GivenBack has them."""
    return (
        select(_refunds.c.created_at, _refunds.c.currency, _orders.c.user_id, _orders.c.country, _refunds.c.amount)
        .join_from(_refunds, _payments, _payments.c.id == _refunds.c.payment_id)
        .join(_orders, _orders.c.id == _payments.c.order_id)
        .where(_refunds.c.status == RefundStatus.SUCCEEDED.value, _within(_refunds.c.created_at, start, end))
        .execution_options(query="analytics.refunds_between")
    )


def _within(column: Any, start: datetime, end: datetime) -> Any:
    return and_(column >= start, column < end)


# ── from who brings past orders in ───────────────────────────────────────────────────────────────────────────────────


def of_past(written: Written) -> list[Fact]:
    """What past orders say that were written just now."""
    told: list[Fact] = []
    for order in written.orders:
        if order.payment_status in TAKEN:
            sold = tuple(Sold(line.sku, line.quantity, line.line_total) for line in order.lines)
            told.append(Sale(order.created_at, order.currency, order.user_id, order.country, order.total, sold))
        told.append(Moved(order.created_at, order.currency, None, order.status))
    for order, refund, amount in written.refunds:
        told.append(GivenBack(refund.at, order.currency, order.user_id, order.country, amount))
    for order in written.ended:
        told.append(Moved(order.created_at, order.currency, order.status, OrderStatus.REFUNDED.value))
    return told
