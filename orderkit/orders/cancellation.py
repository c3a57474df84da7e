"""Cancelling an order: its stock comes back, and its money is voided or refunded by the worker."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection

from orderkit.clock import now
from orderkit.errors import NotFound
from orderkit.inventory import stock
from orderkit.orders import changes, pricing, refunds, snapshot
from orderkit.orders.changes import Change
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.orders.states import OrderStatus
from orderkit.payments.models import UNRESOLVED, Payment, PaymentStatus
from orderkit.rows import update_rows

NO_REASON = "no reason given"


def cancel(
    connection: Connection,
    order_id: UUID,
    *,
    reason: str = NO_REASON,
    of_user: UUID | None = None,
    actor_id: UUID | None = None,
    request_id: str | None = None,
) -> OrderSnapshot:
    """Cancels a pending or paid order within the caller's transaction and gives its stock back. One that is cancelled
    stays as it is: whoever asks again may not have heard the answer.

    A captured payment gets a refund of all that is left; one that is unresolved is due at once, for the sweep to void.
    The event makes the relay stop the fulfillment. Raises IllegalTransition, and NotFound, also if the order is not
    `of_user`, where one is given.
    """
    order = snapshot.lock(connection, [order_id]).get(order_id)
    if order is None or of_user not in (None, order.user_id):
        raise NotFound(f"there is no order {order_id}")
    at = now()  # once the lock is had: whoever had it before wrote an earlier time
    snapshot.load_lines(connection, [order])
    if order.status == OrderStatus.CANCELLED:
        return order
    changes.apply(connection, [Change(order, OrderStatus.CANCELLED, reason, actor_id, request_id)], at=at)
    if order.payment_status == PaymentStatus.CAPTURED:
        refunds.queue_rest(connection, order, reason, at=at)
    elif order.payment_status in UNRESOLVED:
        update_rows(connection, Payment, [{"id": order.payment_id, "run_at": at, "woken_at": None, "updated_at": at}])
    stock.give_back(connection, pricing.needs(order.lines))
    return order
