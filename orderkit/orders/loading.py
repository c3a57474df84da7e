"""Past orders that nobody has heard of yet, in bulk: written as they ended, refunds and all, for half the CPU of the long way.

It is a short cut, not another way: orders are made by the functions of `past`, what is written is the same to the last
column, and a batch of which anything is there already, or that the database refuses, goes the long way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from orderkit import bulk
from orderkit.batches import alone
from orderkit.bulk import REFUSED, TextForm, Value, instant, load_rows, text_form
from orderkit.db import Database
from orderkit.orders import numbers, past, states
from orderkit.orders.models import Order, OrderHistory, OrderItem
from orderkit.orders.past import AfterWriting, Brought, Outcome, PastOrder, PastOrders, PastRefund, Written
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.orders.states import OrderStatus
from orderkit.payments.models import Payment, Refund, RefundStatus

ORDER_COLUMNS = (
    *("id", "user_id", "idempotency_key", "status", "currency", "total", "country", "note", "number", "version"),
    *("created_at", "updated_at"),
)
ITEM_COLUMNS = ("order_id", "line", "sku", "name", "quantity", "unit_price", "line_total")
STEP_COLUMNS = ("order_id", "version", "from_status", "to_status", "reason", "at")
PAYMENT_COLUMNS = (
    *("id", "order_id", "status", "method", "amount", "currency", "refunded", "attempts", "run_at", "created_at"),
    "updated_at",
)
REFUND_COLUMNS = (
    *("id", "payment_id", "amount", "currency", "reason", "status", "attempts", "run_at", "created_at", "updated_at"),
)
PENDING, REFUNDED = OrderStatus.PENDING.value, OrderStatus.REFUNDED.value


class PastLoad:
    """Brings in past orders as PastOrders does, without events."""

    def __init__(self, database: Database, *, reason: str, after: AfterWriting | None = None) -> None:
        self._database = database
        self._reason = reason
        self._after = after
        self._long_way = PastOrders(database, reason=reason, announce=False, after=after)

    def bring_in(self, members: Sequence[PastOrder]) -> list[Outcome]:
        """One outcome for each member, in order; all in one transaction. No key may be among `members` twice.

        Raises what the database answers when it refuses a member also the long way.
        """
        try:
            outcomes = self._load(members)
        except REFUSED:
            outcomes = None
        return self._long_way.bring_in(members) if outcomes is None else outcomes

    def _load(self, members: Sequence[PastOrder]) -> list[Outcome] | None:
        """None if some are there already, and nothing was written."""
        with self._database.reading() as session:
            if not members or past.known(session.connection(), [one.key for one in members]):
                return None
        # In a transaction of their own, so that nobody who places an order waits for this one.
        taken = alone(self._database, lambda connection: numbers.take(connection, len(members)))
        orders = [past.as_it_ended(one, number) for one, number in zip(members, taken, strict=True)]
        refunds, ends = _given_back(members, orders)
        with self._database.transaction() as session:
            connection = session.connection()
            bulk.begin(connection)
            _write(connection, orders, refunds, ends, self._reason)
            past.pass_goods_through(connection, members, self._reason)
            if self._after is not None:
                ended = [order for order in orders if order.id in ends]
                self._after(connection, Written(orders, refunds, ended))
        given = Counter(order.id for order, _refund, _amount in refunds)
        return [Brought(True, given[order.id]) for order in orders]


_Refunds = list[tuple[OrderSnapshot, PastRefund, int]]


def _given_back(
    members: Sequence[PastOrder], orders: Sequence[OrderSnapshot]
) -> tuple[_Refunds, dict[UUID, PastRefund]]:
    """Each refund with its order and amount, and the last refund of those orders that end with it."""
    refunds: _Refunds = []
    ends: dict[UUID, PastRefund] = {}
    for one, order in zip(members, orders, strict=True):
        given = past.up_to_what_is_left(order, one.refunds) if one.refunds else ()
        refunds += [(order, refund, amount) for refund, amount in given]
        if given and sum(amount for _refund, amount in given) == order.total:
            states.check(order.status, OrderStatus.REFUNDED)
            ends[order.id] = given[-1][0]
    return refunds, ends


def _write(
    connection: Connection,
    orders: Sequence[OrderSnapshot],
    refunds: _Refunds,
    ends: Mapping[UUID, PastRefund],
    reason: str,
) -> None:
    text = text_form(connection)
    placed = [instant(order.created_at) for order in orders]  # once: three rows of each order have it
    dated = list(zip(orders, placed, strict=True))
    load_rows(connection, Order, ORDER_COLUMNS, [_order_row(one, at, ends.get(one.id), text) for one, at in dated])
    load_rows(connection, OrderItem, ITEM_COLUMNS, [row for order in orders for row in _item_rows(order, text)])
    steps = [step for one, at in dated for step in _steps(one, at, ends.get(one.id), text, text(reason))]
    load_rows(connection, OrderHistory, STEP_COLUMNS, steps)
    last: dict[UUID, datetime] = {}
    total: Counter[UUID] = Counter()
    for order, refund, amount in refunds:
        last[order.id] = refund.at
        total[order.id] += amount
    payments = [_payment_row(one, at, total[one.id], last.get(one.id), text) for one, at in dated]
    load_rows(connection, Payment, PAYMENT_COLUMNS, payments)
    load_rows(connection, Refund, REFUND_COLUMNS, [_refund_row(*refund, text) for refund in refunds])


def _order_row(order: OrderSnapshot, placed: str, end: PastRefund | None, text: TextForm) -> tuple[Value, ...]:
    return (
        order.id.hex,
        order.user_id.hex,
        text(order.idempotency_key),
        order.status if end is None else REFUNDED,
        order.currency,
        order.total,
        text(order.country),
        text(order.note),
        order.number,
        order.version if end is None else order.version + 1,
        placed,
        placed if end is None else instant(end.at),
    )


def _item_rows(order: OrderSnapshot, text: TextForm) -> Iterator[tuple[Value, ...]]:
    id_ = order.id.hex
    for number, (sku, name, quantity, unit_price, line_total) in enumerate(order.lines, start=1):
        yield id_, number, text(sku), text(name), quantity, unit_price, line_total


def _steps(
    order: OrderSnapshot, placed: str, end: PastRefund | None, text: TextForm, reason: Value
) -> Iterator[tuple[Value, ...]]:
    """An order's history, to its last version."""
    id_, nowhere = order.id.hex, text(None)
    if order.status == OrderStatus.PAYMENT_FAILED.value:
        yield id_, 1, nowhere, PENDING, reason, placed
        yield id_, 2, PENDING, order.status, past.DECLINED, placed
        return
    yield id_, 1, nowhere, order.status, reason, placed
    if end is not None:
        yield id_, 2, order.status, REFUNDED, text(end.reason), instant(end.at)


def _payment_row(
    order: OrderSnapshot, placed: str, refunded: int, last: datetime | None, text: TextForm
) -> tuple[Value, ...]:
    return (
        order.payment_id.hex,
        order.id.hex,
        order.payment_status,
        text(order.payment_method),
        order.total,
        order.currency,
        refunded,
        order.payment_attempts,
        placed,
        placed,
        placed if last is None else instant(max(last, order.updated_at)),
    )


def _refund_row(order: OrderSnapshot, refund: PastRefund, amount: int, text: TextForm) -> tuple[Value, ...]:
    at, payment = instant(refund.at), order.payment_id.hex
    status = RefundStatus.SUCCEEDED.value
    return refund.id.hex, payment, amount, order.currency, text(refund.reason), status, 0, at, at, at
