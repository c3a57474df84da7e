"""Writing changes: the order's row, its history and its event, together or not at all. Nothing else changes an order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from orderkit.events import outbox, types
from orderkit.orders import states
from orderkit.orders.models import Order, OrderHistory
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.orders.states import OrderStatus
from orderkit.rows import Writes, insert_rows, update_rows

EVENTS = {
    OrderStatus.PAID: types.ORDER_PAID,
    OrderStatus.PAYMENT_FAILED: types.ORDER_PAYMENT_FAILED,
    OrderStatus.CANCELLED: types.ORDER_CANCELLED,
    OrderStatus.SHIPPED: types.ORDER_SHIPPED,
    OrderStatus.DELIVERED: types.ORDER_DELIVERED,
    OrderStatus.REFUNDED: types.ORDER_REFUNDED,
}


@dataclass(frozen=True, slots=True)
class Change:
    """An order that is locked, the status it is to have, why, and who asked (nobody: orderkit itself)."""

    order: OrderSnapshot
    to: OrderStatus
    reason: str
    actor_id: UUID | None = None
    request_id: str | None = None


def apply(to: Connection | Writes, changes: Sequence[Change], *, at: datetime) -> None:
    """Moves locked orders to new states, raising each version by one. The snapshots are brought up to date at once.

    Raises IllegalTransition, before anything is written, for a step that the transition table does not have.
    """
    for change in changes:
        states.check(change.order.status, change.to)
    history: list[dict[str, Any]] = []
    events: list[outbox.Event] = []
    for change in changes:
        order = change.order
        history.append(history_row(change, order.status, order.version + 1, at))
        order.status, order.version, order.updated_at = change.to.value, order.version + 1, at
        events.append(outbox.Event(order.id, order.version, EVENTS[change.to], _payload(change), order.traceparent))
    rows = [{"id": c.order.id, "status": c.order.status, "version": c.order.version, "updated_at": at} for c in changes]
    update_rows(to, Order, rows)
    insert_rows(to, OrderHistory, history)
    outbox.record(to, events, at=at)


def edit(
    to: Connection | Writes,
    order: OrderSnapshot,
    values: Mapping[str, Any],
    reason: str,
    *,
    actor_id: UUID | None = None,
    request_id: str | None = None,
    at: datetime,
    event: str = types.ORDER_UPDATED,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Sets columns of a locked order that are not its status, raising its version by one. The snapshot is brought up to date.

    `reason` says what was edited, or, with another `event`, what happened that is no change of status. The event says `more`
    besides what all events say.
    """
    change = Change(order, OrderStatus(order.status), reason, actor_id, request_id)
    order.version, order.updated_at = order.version + 1, at
    for name, value in values.items():
        setattr(order, name, value)
    update_rows(to, Order, [{"id": order.id, **values, "version": order.version, "updated_at": at}])
    insert_rows(to, OrderHistory, [history_row(change, order.status, order.version, at)])
    payload = _payload(change) | dict(more or {})
    outbox.record(to, [outbox.Event(order.id, order.version, event, payload, order.traceparent)], at=at)


def history_row(change: Change, from_status: str | None, version: int, at: datetime) -> dict[str, Any]:
    """A row of OrderHistory."""
    return {
        "order_id": change.order.id,
        "version": version,
        "from_status": from_status,
        "to_status": change.to.value,
        "actor_id": change.actor_id,
        "reason": change.reason,
        "request_id": change.request_id,
        "at": at,
    }


def _payload(change: Change) -> dict[str, Any]:
    order = change.order
    return types.order_payload(
        user_id=order.user_id,
        currency=order.currency,
        total=order.total,
        country=order.country,
        reason=change.reason,
    )
