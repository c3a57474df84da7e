"""What orders say of somebody who is deleted: erased at once, or when the order needs it no longer.

An order that is pending or paid keeps its address, because it is still shipped. Afterwards the country stays, for reports.
A request that began before the deletion may write yet while it is under way; so `users.erased_at` is set, by the worker,
when no such request can be left.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, or_, select, tuple_, update

from orderkit.auth.models import LoginSession, User
from orderkit.clock import now
from orderkit.idempotency import IdempotencyKey
from orderkit.orders.models import Order
from orderkit.orders.states import OrderStatus
from orderkit.rows import update_rows

OPEN = (OrderStatus.PENDING.value, OrderStatus.PAID.value)
PERSONAL = ("name", "line1", "line2", "city", "postal_code")
"""Of an address: all but the country."""

SETTLED = timedelta(minutes=15)
"""No transaction is as old: each of its statements, and each pause between them, ends after a few times `db_timeout`."""

AT_ONCE = 1000
"""Orders, and keys, in one transaction; whoever has more is gone on with by the worker."""

_users = User.__table__  # type: ignore[attr-defined]
_orders = Order.__table__  # type: ignore[attr-defined]
_keys = IdempotencyKey.__table__  # type: ignore[attr-defined]
_sessions = LoginSession.__table__  # type: ignore[attr-defined]

_DELETED = and_(_users.c.deleted_at.is_not(None), _users.c.erased_at.is_(None))
_SAYS_WHO = or_(
    _orders.c.note.is_not(None), *(_orders.c.shipping_address[part].as_string().is_not(None) for part in PERSONAL)
)
_CLOSED = and_(_orders.c.status.not_in(OPEN), _SAYS_WHO)


def erase(connection: Connection, user_id: UUID) -> None:
    """Erases what closed orders and stored answers say of a user, AT_ONCE of each at most. Deletes late sessions too.

    An order that somebody is just working on is left for the next time: whoever deletes an account holds its row, and may
    not wait for one who holds an order and waits for that row.
    """
    closed = select(_orders.c.id, _orders.c.shipping_address).where(_orders.c.user_id == user_id, _CLOSED)
    found = connection.execute(closed.limit(AT_ONCE).with_for_update(skip_locked=True, key_share=True)).all()
    update_rows(
        connection,
        Order,
        [{"id": row.id, "shipping_address": _country(row.shipping_address), "note": None} for row in found],
    )
    some = select(_keys.c.user_id, _keys.c.key).where(_keys.c.user_id == user_id).limit(AT_ONCE)
    connection.execute(delete(_keys).where(tuple_(_keys.c.user_id, _keys.c.key).in_(some)))
    connection.execute(delete(_sessions).where(_sessions.c.user_id == user_id))


def _country(address: dict[str, Any] | None) -> dict[str, Any] | None:
    return {"country": address["country"]} if address and "country" in address else None


def waiting(connection: Connection, *, limit: int) -> Sequence[UUID]:
    """Deleted users of whom something can be erased now, or all is, the longest deleted first."""
    todo = or_(_left(), and_(_users.c.deleted_at <= now() - SETTLED, ~_of_user(_orders.c, _orders.c.status.in_(OPEN))))
    query = select(_users.c.id).where(_DELETED, todo).order_by(_users.c.deleted_at).limit(limit)
    return connection.execute(query).scalars().all()


def go_on(connection: Connection, user_id: UUID) -> None:
    """Erases what can be erased of a deleted user, and notes it when that was all."""
    erase(connection, user_id)
    at = now()
    done = and_(
        _DELETED, _users.c.deleted_at <= at - SETTLED, ~_left(), ~_of_user(_orders.c, _orders.c.status.in_(OPEN))
    )
    connection.execute(update(_users).where(_users.c.id == user_id, done).values(erased_at=at))


def _left() -> ColumnElement[bool]:
    """That a user has something that can be erased now."""
    return or_(_of_user(_orders.c, _CLOSED), _of_user(_keys.c), _of_user(_sessions.c))


def _of_user(columns: Any, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(columns.user_id == _users.c.id, *conditions).correlate(_users)
