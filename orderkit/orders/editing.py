"""Editing an order: where it is sent, and what staff note about it. Whoever edits says which version of it they saw."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select

from orderkit.auth.models import User
from orderkit.clock import now
from orderkit.errors import Conflict, NotFound, PreconditionFailed
from orderkit.events import types
from orderkit.orders import changes, refunds, snapshot
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.orders.states import OrderStatus
from orderkit.payments.models import PaymentStatus

_users = User.__table__  # type: ignore[attr-defined]

ADDRESS_CHANGED = "shipping address changed"
STAFF_NOTE_CHANGED = "staff note changed"
"""What the history says of an edit, and what its owner is not told of. The note itself is in no history."""

SENDABLE = (OrderStatus.PENDING, OrderStatus.PAID)
"""While an order is one of these, the address may still matter."""

Seen = Collection[str] | None
"""Versions, as If-Match has them, of which one must be the order's; None: whichever it has."""


def lock(connection: Connection, order_id: UUID, seen: Seen) -> OrderSnapshot:
    """Locks an order, without its lines. Raises NotFound, and PreconditionFailed if it is of none of the versions `seen`."""
    order = snapshot.lock(connection, [order_id]).get(order_id)
    if order is None:
        raise NotFound(f"there is no order {order_id}")
    if seen is not None and str(order.version) not in seen:
        tag = f'"{order.version}"'
        told = f"the order is of version {tag}, which is not what If-Match says"
        if not seen:
            told = f"If-Match has no ETag as orders have them, in quotes and without W/; this order's is {tag}"
        raise PreconditionFailed(told, headers={"ETag": tag})
    return order


def send_to(
    connection: Connection,
    order: OrderSnapshot,
    address: dict[str, Any],
    *,
    actor_id: UUID | None = None,
    request_id: str | None = None,
) -> None:
    """Gives a locked order another shipping address; the one that it has already changes nothing.

    Raises Conflict once it is neither pending nor paid. That no carrier knows the old one is for the caller to see to.
    """
    if order.status not in SENDABLE:
        raise Conflict(
            f"the order is {order.status}; its address cannot be changed any more", facts={"status_now": order.status}
        )
    if address == order.shipping_address:
        return
    values = {"shipping_address": address, "country": address.get("country")}
    more: dict[str, Any] = {}
    if order.payment_status == PaymentStatus.CAPTURED and order.country != address.get("country"):
        more = types.sent_elsewhere_part(order.country, refunds.succeeded(connection, order))
    changes.edit(
        connection, order, values, ADDRESS_CHANGED, actor_id=actor_id, request_id=request_id, at=now(), more=more
    )


def note(
    connection: Connection,
    order: OrderSnapshot,
    text: str | None,
    *,
    actor_id: UUID | None = None,
    request_id: str | None = None,
) -> None:
    """Gives a locked order another staff note, or none; the one that it has already changes nothing.

    Raises Conflict for a note on a closed order of somebody deleted: what was noted there is erased, or about to be.
    """
    text = text or None
    if text != order.staff_note:
        if text is not None and order.status not in SENDABLE and _is_deleted(connection, order.user_id):
            raise Conflict("whoever ordered this was deleted, and nothing is noted about them any more")
        values = {"staff_note": text}
        changes.edit(connection, order, values, STAFF_NOTE_CHANGED, actor_id=actor_id, request_id=request_id, at=now())


def _is_deleted(connection: Connection, user_id: UUID) -> bool:
    found = select(_users.c.deleted_at).where(_users.c.id == user_id)
    return connection.execute(found).scalar_one() is not None
