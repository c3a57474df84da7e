"""What staff do to an order by hand: ship it past the carrier, call it delivered, send it elsewhere, note something.

Everything works within the caller's transaction, under the order's lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select

from orderkit.clock import now
from orderkit.errors import Conflict, IllegalTransition
from orderkit.fulfillment import changes as fulfillment_changes
from orderkit.fulfillment import recalling
from orderkit.fulfillment.models import Fulfillment, FulfillmentStatus
from orderkit.orders import cancellation, changes, editing, reading, states
from orderkit.orders.changes import Change
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.orders.states import OrderStatus

_fulfillments = Fulfillment.__table__  # type: ignore[attr-defined]

BY_HAND = (OrderStatus.SHIPPED, OrderStatus.DELIVERED, OrderStatus.CANCELLED)
"""The states that people give an order; the others follow from what became of its money."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to change. `address` None leaves it; `staff_note` counts only with `notes`, and None clears the note."""

    status: OrderStatus | None = None
    address: dict[str, Any] | None = None
    notes: bool = False
    staff_note: str | None = None


def change(
    connection: Connection,
    order_id: UUID,
    wanted: Wanted,
    *,
    seen: editing.Seen,
    actor_id: UUID | None = None,
    request_id: str | None = None,
) -> OrderSnapshot:
    """Does all that is wanted, or nothing; each part is a version and a row of history of its own. The status comes last, and
    one that the order has already changes nothing.

    Raises NotFound; PreconditionFailed before anything else is looked at; IllegalTransition; and Conflict where the
    carrier may know the order already, or is being asked right now.
    """
    order = editing.lock(connection, order_id, seen)
    if wanted.status is not None and wanted.status not in BY_HAND:
        raise IllegalTransition(
            f"an order becomes {wanted.status} by what happens to its money, not by hand",
            facts={"status_now": order.status},
        )
    if wanted.notes:
        editing.note(connection, order, wanted.staff_note, actor_id=actor_id, request_id=request_id)
    if wanted.address is not None:
        if order.status in editing.SENDABLE and wanted.address != order.shipping_address:
            _check_untried(connection, order)
        editing.send_to(connection, order, wanted.address, actor_id=actor_id, request_id=request_id)
    match wanted.status:
        case status if status == order.status:
            pass  # asked for again, by whoever did not hear the answer
        case OrderStatus.SHIPPED:
            ship(connection, order, actor_id=actor_id, request_id=request_id)
        case OrderStatus.DELIVERED:
            delivered = Change(order, OrderStatus.DELIVERED, "by hand", actor_id, request_id)
            changes.apply(connection, [delivered], at=now())
        case OrderStatus.CANCELLED:
            cancellation.cancel(connection, order_id, actor_id=actor_id, request_id=request_id)
    found = reading.find(connection, order_id)
    assert found is not None  # noqa: S101 - it is locked
    return found


def ship(
    connection: Connection, order: OrderSnapshot, *, actor_id: UUID | None = None, request_id: str | None = None
) -> None:
    """A locked order goes out without the carrier: whatever is under way for it is stopped, and its dead letter closed.

    The carrier is told to forget what it may have booked. Raises IllegalTransition unless the order is paid, and Conflict
    while a worker is asking the carrier, or when all its money is promised back.
    """
    states.check(order.status, OrderStatus.SHIPPED)
    if order.all_given_back:
        raise Conflict("all that was paid is on its way back; there is nothing to ship")
    at = now()
    fulfillment = _locked(connection, order.id) or _closed_before_it_began(connection, order.id, at)
    if fulfillment is not None and fulfillment.status == FulfillmentStatus.RUNNING:
        raise Conflict("the carrier is being asked right now; try again in some seconds")
    if fulfillment is not None and fulfillment.status in recalling.STOPPABLE:
        recalling.stop(connection, [fulfillment], at=at)
    changes.apply(connection, [Change(order, OrderStatus.SHIPPED, "by hand", actor_id, request_id)], at=at)


def _locked(connection: Connection, order_id: UUID) -> Any:
    of_order = select(_fulfillments).where(_fulfillments.c.order_id == order_id)
    return connection.execute(of_order.with_for_update(key_share=True)).first()


def _closed_before_it_began(connection: Connection, order_id: UUID, at: datetime) -> Any:
    """Leaves the relay, which has not heard yet that the order was paid, nothing to queue. None; or its row, if it was faster."""
    if fulfillment_changes.insert(connection, [order_id], FulfillmentStatus.CANCELLED, at=at):
        return None
    return _locked(connection, order_id)


def _check_untried(connection: Connection, order: OrderSnapshot) -> None:
    """Raises Conflict if a carrier may have heard of the order, which knows a parcel by its key and keeps the first address."""
    fulfillment = _locked(connection, order.id)
    # A claim raises the token, and comes before the call.
    if fulfillment is not None and (fulfillment.status != FulfillmentStatus.QUEUED or fulfillment.token > 0):
        raise Conflict("the carrier has been asked already, so the address cannot be changed any more")
