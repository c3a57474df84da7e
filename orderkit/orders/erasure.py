"""What orders say of somebody who is deleted: erased at once, or when the order needs it no longer.

An order that is pending or paid keeps its address, because it is still shipped. Afterwards the country stays, for reports.
Of the story of an order its rows stay, and lose the words that people typed.
A request that began before the deletion may write yet while it is under way; so `users.erased_at` is set, by the worker,
when no such request can be left. Until then `users.erase_at` is when it looks at them next, so that a turn of its loop costs
nothing for those who wait for a parcel, whatever they ordered before.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, or_, select, update

from orderkit import idempotency
from orderkit.auth import audit_sources, sessions
from orderkit.auth.models import LoginSession, User
from orderkit.clock import now
from orderkit.idempotency import IdempotencyKey
from orderkit.orders import typed_reasons
from orderkit.orders.models import Order
from orderkit.orders.states import OrderStatus
from orderkit.rows import update_rows

OPEN = (OrderStatus.PENDING.value, OrderStatus.PAID.value)
PERSONAL = ("name", "line1", "line2", "city", "postal_code")
"""Of an address: all but the country."""

SETTLED = timedelta(minutes=15)
"""No transaction is as old: each of its statements, and each pause between them, ends after a few times `db_timeout`."""

AT_ONCE = 1000
"""Orders, keys, sessions and entries in one transaction; whoever has more is gone on with by the worker."""

FIRST_LOOK, LAST_LOOK = timedelta(minutes=1), timedelta(days=1)
"""How soon the worker looks again at somebody whose parcel is still to go, at least and at most."""

_users = User.__table__  # type: ignore[attr-defined]
_orders = Order.__table__  # type: ignore[attr-defined]
_keys = IdempotencyKey.__table__  # type: ignore[attr-defined]
_sessions = LoginSession.__table__  # type: ignore[attr-defined]

NOTES = {"note": None, "staff_note": None, "metadata": None}
"""What customers and staff wrote on an order; nobody knows what it says of whom."""

_SAYS_WHO = or_(
    *(_orders.c[text].is_not(None) for text in NOTES),
    *(_orders.c.shipping_address[part].as_string().is_not(None) for part in PERSONAL),
)
_IS_CLOSED = _orders.c.status.not_in(OPEN)
_CLOSED = and_(_IS_CLOSED, _SAYS_WHO)


def erase(connection: Connection, user_id: UUID) -> None:
    """Erases what closed orders and their stories, stored answers and the audit log say of a user, AT_ONCE of each at most.
    Deletes late sessions too.

    What somebody is just working on is left for the next time: whoever deletes an account holds its row, and may not wait
    for one who holds an order or a key and waits for that row.
    """
    closed = select(_orders.c.id, _orders.c.shipping_address).where(_orders.c.user_id == user_id, _CLOSED)
    free = closed.limit(AT_ONCE).with_for_update(skip_locked=True, key_share=True)
    found = connection.execute(free.execution_options(query="orders.to_erase")).all()
    update_rows(
        connection,
        Order,
        [{"id": row.id, "shipping_address": _country(row.shipping_address), **NOTES} for row in found],
    )
    typed_reasons.erase(connection, and_(_orders.c.user_id == user_id, _IS_CLOSED), limit=AT_ONCE)
    idempotency.forget_of(connection, user_id, limit=AT_ONCE)
    sessions.forget_of(connection, user_id, limit=AT_ONCE)
    audit_sources.erase(connection, user_id, limit=AT_ONCE)


def _country(address: dict[str, Any] | None) -> dict[str, Any] | None:
    return {"country": address["country"]} if address and "country" in address else None


def waiting(connection: Connection, *, limit: int) -> Sequence[UUID]:
    """Deleted users to be looked at by now, the longest due first."""
    return connection.execute(due(now()).limit(limit)).scalars().all()


def due(at: datetime) -> Select[Any]:
    """Rides ix_users_to_erase."""
    waiting = select(_users.c.id).where(_users.c.erase_at <= at).order_by(_users.c.erase_at)
    return waiting.execution_options(query="users.to_erase")


def go_on(connection: Connection, user_id: UUID) -> None:
    """Erases what can be erased of a deleted user, and notes that this was all, or when to look again."""
    erase(connection, user_id)
    at = now()
    this_user = and_(_users.c.id == user_id, _users.c.erase_at.is_not(None))
    is_open = _of_user(_orders.c, _orders.c.status.in_(OPEN))
    seen = select(_users.c.erase_at, _users.c.deleted_at, _left(), is_open).where(this_user)
    found = connection.execute(seen).one_or_none()
    if found is None:  # another worker was faster
        return
    was_due, deleted_at, left, still_open = found
    values: dict[str, datetime | None]
    if left:
        values = {"erase_at": at}
    elif still_open or deleted_at > at - SETTLED:
        # As long again as a quarter of what they have waited: a parcel that takes weeks is not asked for each minute.
        values = {"erase_at": at + min(max((at - deleted_at) / 4, FIRST_LOOK), LAST_LOOK)}
    else:
        values = {"erase_at": None, "erased_at": at}
    # Whoever wrote something since has made them due anew.
    connection.execute(update(_users).where(_users.c.id == user_id, _users.c.erase_at == was_due).values(values))


def look_again(connection: Connection, order_id: UUID) -> None:
    """Has the worker look again at whose order this is, if they are deleted: somebody has just written about it."""
    owner = select(_orders.c.user_id).where(_orders.c.id == order_id).scalar_subquery()
    deleted = and_(_users.c.id == owner, _users.c.deleted_at.is_not(None))
    connection.execute(update(_users).where(deleted).values(erase_at=now()))


def _left() -> ColumnElement[bool]:
    """That a user has something that can be erased now."""
    of_orders = _of_user(_orders.c, _CLOSED)
    of_stories = typed_reasons.left(_users.c.id, _IS_CLOSED)
    return or_(of_orders, of_stories, _of_user(_keys.c), _of_user(_sessions.c), audit_sources.left(_users.c.id))


def _of_user(columns: Any, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(columns.user_id == _users.c.id, *conditions).correlate(_users)
