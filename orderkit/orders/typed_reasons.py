"""Why somebody cancelled or was paid back, in the words that people typed: the part of an order's story that is erased with them.

Such words are in histories, in refunds and in events. What orderkit itself says of an order stays, and so does every row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, and_, or_, select

from orderkit.events import types
from orderkit.events.models import OutboxEvent
from orderkit.orders.cancellation import NO_REASON
from orderkit.orders.models import Order, OrderHistory
from orderkit.orders.states import OrderStatus
from orderkit.payments.models import Payment, Refund
from orderkit.rows import update_rows

ERASED = "erased"
ERASED_OF_A_REFUND = "refund of money asked for: erased"
"""In the place of `refund of 5.00 GBP asked for: …`, which begins an edit; the refund's own row still says how much."""

OURS = (
    ERASED,
    NO_REASON,
    "by the shop",
    "refunded by the shop",
    "given up in the dead letters",
    "payment confirmed too late; refunded",
    "the order was cancelled",
)
"""What orderkit says itself where people may say why. Whoever typed the very same said nothing of their own."""

_orders = Order.__table__  # type: ignore[attr-defined]
_history = OrderHistory.__table__  # type: ignore[attr-defined]
_payments = Payment.__table__  # type: ignore[attr-defined]
_refunds = Refund.__table__  # type: ignore[attr-defined]
_outbox = OutboxEvent.__table__  # type: ignore[attr-defined]

_SAID_WHY = (OrderStatus.CANCELLED.value, OrderStatus.REFUNDED.value)
_EVENT_REASON = _outbox.c.payload["reason"].as_string()


def _is_of_a_refund(reason: ColumnElement[Any]) -> ColumnElement[bool]:
    return and_(reason.like("refund of % asked for: %"), reason != ERASED_OF_A_REFUND)


_edited = and_(_history.c.from_status.is_not(None), _history.c.from_status == _history.c.to_status)
_TYPED_CHANGE = or_(
    and_(_history.c.to_status.in_(_SAID_WHY), ~_edited, _history.c.reason.not_in(OURS)),
    and_(_edited, _is_of_a_refund(_history.c.reason)),
)
_TYPED_EVENT = or_(
    and_(_outbox.c.type.in_((types.ORDER_CANCELLED, types.ORDER_REFUNDED)), _EVENT_REASON.not_in(OURS)),
    and_(_outbox.c.type == types.ORDER_UPDATED, _is_of_a_refund(_EVENT_REASON)),
)
_TYPED_REFUND = _refunds.c.reason.not_in(OURS)


def _changes(which: ColumnElement[bool]) -> Select[Any]:
    found = select(_history.c.order_id, _history.c.version, _edited.label("edited"))
    return found.join_from(_history, _orders, _orders.c.id == _history.c.order_id).where(which, _TYPED_CHANGE)


def _events(which: ColumnElement[bool]) -> Select[Any]:
    found = select(_outbox.c.id, _outbox.c.type, _outbox.c.payload)
    return found.join_from(_outbox, _orders, _orders.c.id == _outbox.c.order_id).where(which, _TYPED_EVENT)


def _asked(which: ColumnElement[bool]) -> Select[Any]:
    found = select(_refunds.c.id).join_from(_refunds, _payments, _payments.c.id == _refunds.c.payment_id)
    return found.join(_orders, _orders.c.id == _payments.c.order_id).where(which, _TYPED_REFUND)


_EACH: tuple[Callable[[ColumnElement[bool]], Select[Any]], ...] = (_changes, _events, _asked)


def erase(connection: Connection, which: ColumnElement[bool], *, limit: int) -> None:
    """Puts a fixed word in the place of what was typed of those orders, in at most `limit` rows of each table.

    Waits for nobody: a refund that is just being settled, or an event that is just being sent, is left for the next time.
    """

    def some(query: Select[Any], table: Any) -> list[Any]:
        # Order by order, so that each is done with before the next: what is left is then left of few.
        these = query.order_by(_orders.c.id).limit(limit).with_for_update(skip_locked=True, key_share=True, of=table)
        return [*connection.execute(these)]

    # Refunds first: whoever ends an order copies the reason of a refund, and locks it for that.
    refunds = [{"id": row.id, "reason": ERASED} for row in some(_asked(which), _refunds)]
    update_rows(connection, Refund, refunds)
    changes = [
        {"order_id": row.order_id, "version": row.version, "reason": ERASED_OF_A_REFUND if row.edited else ERASED}
        for row in some(_changes(which), _history)
    ]
    update_rows(connection, OrderHistory, changes, by=("order_id", "version"))
    events = [
        {
            "id": row.id,
            "payload": row.payload | {"reason": ERASED_OF_A_REFUND if row.type == types.ORDER_UPDATED else ERASED},
        }
        for row in some(_events(which), _outbox)
    ]
    update_rows(connection, OutboxEvent, events)


def left(user_id: ColumnElement[UUID], closed: ColumnElement[bool]) -> ColumnElement[bool]:
    """That something is left to be erased of the closed orders of the user whose id is in that column."""
    which = and_(_orders.c.user_id == user_id, closed)
    return or_(*(query(which).correlate(user_id.table).exists() for query in _EACH))
