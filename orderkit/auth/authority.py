"""What somebody may do by the time they do it: when their request came in, it may have been more.

Whatever changes who may do what is done one after the other, under the lock of the row of the role admin. So of two admins
who demote each other at once the second is by then none, and who loses a permission cannot give it back to themselves.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select

from orderkit.auth import permissions, sessions
from orderkit.auth.callers import Caller
from orderkit.auth.models import ADMIN, Role, User
from orderkit.errors import Forbidden

Held = frozenset[str] | None
"""What whoever asks may do; None: anything."""

_users = User.__table__  # type: ignore[attr-defined]
_roles = Role.__table__  # type: ignore[attr-defined]


def wait_turn(connection: Connection) -> None:
    """Locks until the transaction ends, against everybody else who changes who may do what."""
    # Users refer to the row, and new ones may meanwhile. SQLite has one writer at a time as it is.
    connection.execute(select(_roles.c.name).where(_roles.c.name == ADMIN).with_for_update(key_share=True))


def lock_user(connection: Connection, user_id: UUID, *, against_new_orders: bool = False) -> Any:
    """The row of a user, locked until the transaction ends; None for one who is deleted or never was.

    `against_new_orders` also keeps anybody from writing a row that refers to the user, as a new order or session does.
    """
    query = select(_users).where(_users.c.id == user_id).with_for_update(key_share=not against_new_orders)
    found = connection.execute(query).one_or_none()
    return None if found is None or found.deleted_at else found


def held_in_turn(connection: Connection, by: Caller | None, needed: str) -> Held:
    """Waits for its turn; what `by` may do then. None, who is on the command line, may do anything.

    Raises Unauthenticated for one who is banned or deleted by then, and Forbidden for one who has lost `needed`.
    """
    wait_turn(connection)
    if by is None:
        return None
    good = _users.c.id == by.id, _users.c.banned_at.is_(None), _users.c.deleted_at.is_(None)
    role = connection.execute(select(_users.c.role).where(*good)).scalar()
    if role is None:
        raise sessions.over()
    held = by.permissions & permissions.of_role(connection, role)
    if needed not in held:
        raise Forbidden(f"this needs the permission {needed}")
    return held
