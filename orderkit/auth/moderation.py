"""Roles given, accounts banned and deleted: by staff within what they may do themselves, from the command line without bounds.

All of it is done in turn, as `authority` says.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, select, text, update

from orderkit.auth import audit_log, authority, deletion, permissions, sessions
from orderkit.auth.audit_log import Actor
from orderkit.auth.authority import Held
from orderkit.auth.callers import Caller
from orderkit.auth.directory import NOBODY
from orderkit.auth.models import ADMIN, User
from orderkit.clock import now
from orderkit.errors import Conflict, Forbidden, NotFound

NEEDED = "users:manage"

_users = User.__table__  # type: ignore[attr-defined]
_IS_ADMIN = text(f"role = '{ADMIN}'")  # the very text of the partial index, else SQLite would not use it


def change(
    connection: Connection,
    actor: Actor,
    user_id: UUID,
    *,
    by: Caller | None,
    role: str | None = None,
    banned: bool | None = None,
) -> None:
    """Gives a user another role, bans or unbans them; what is so already stays as it is and makes no entry in the log.

    A ban ends every session of theirs. `by` is who asks over the API; None may do anything. Raises NotFound; Conflict for
    oneself and for the last active admin; Forbidden for a role, before or after, that may do what `by` may not; Invalid.
    """
    user, held = _begin(connection, user_id, by)
    subject = f"user:{user_id}"
    if role is not None and role != user.role:
        permissions.require_role(connection, role)
        _require_held(held, permissions.of_role(connection, role), "this role")
        _leave_an_admin(connection, user, held)
        connection.execute(update(_users).where(_users.c.id == user_id).values(role=role))
        audit_log.record(connection, actor, "user.role_changed", subject, **{"from": user.role, "to": role})
    if banned and user.banned_at is None:
        _leave_an_admin(connection, user, held)
        connection.execute(update(_users).where(_users.c.id == user_id).values(banned_at=now()))
        sessions.end_all(connection, user_id)
        audit_log.record(connection, actor, "user.banned", subject)
    if banned is False and user.banned_at is not None:
        connection.execute(update(_users).where(_users.c.id == user_id).values(banned_at=None))
        audit_log.record(connection, actor, "user.unbanned", subject)


def delete(connection: Connection, actor: Actor, user_id: UUID, *, by: Caller | None) -> None:
    """Deletes somebody else's account, as `deletion.erase` says; their orders are the caller's to erase.

    Raises what `change` does.
    """
    user, held = _begin(connection, user_id, by, to_delete=True)
    _leave_an_admin(connection, user, held)
    deletion.erase(connection, actor, user)


def leave(connection: Connection, actor: Actor, user_id: UUID) -> None:
    """Deletes one's own account. Raises Conflict for the last active admin, and Unauthenticated if it is deleted already."""
    authority.wait_turn(connection)
    user = authority.lock_user(connection, user_id, against_new_orders=True)
    if user is None:
        raise sessions.over()
    _leave_an_admin(connection, user, frozenset())
    deletion.erase(connection, actor, user)


def _begin(connection: Connection, user_id: UUID, by: Caller | None, *, to_delete: bool = False) -> tuple[Any, Held]:
    """The row of whom it is about, locked, and what `by` may do by now."""
    held = authority.held_in_turn(connection, by, NEEDED)
    user = authority.lock_user(connection, user_id, against_new_orders=to_delete)
    if user is None:
        raise NotFound(f"there is no user {user_id}")
    if by is not None and by.id == user_id:
        raise Conflict("this is you; another has to do it, or delete your account at /users/me")
    _require_held(held, permissions.of_role(connection, user.role), "whoever has their role")
    return user, held


def _require_held(held: Held, needed: frozenset[str], who: str) -> None:
    if held is not None and (lacking := sorted(needed - held)):
        raise Forbidden(f"nobody gives or takes what they do not have, and {who} may do more: {', '.join(lacking)}")


def _leave_an_admin(connection: Connection, user: Any, held: Held) -> None:
    """Raises Conflict if without `user` no admin were left who can log in; the command line can make another."""
    if held is None or user.role != ADMIN or user.banned_at is not None:
        return
    if connection.execute(other_admins(user.id).limit(1)).first() is None:
        raise Conflict("this is the last active admin; make another first")


def is_without_admin(connection: Connection) -> bool:
    """Whether there is nobody left who can log in as admin. The command line may go so far, and says so."""
    return connection.execute(other_admins(NOBODY).limit(1)).first() is None


def other_admins(user_id: UUID) -> Select[tuple[UUID]]:
    """Admins but this one who can log in. Rides ix_users_admins."""
    # The deleted are no admins and have no password. Were `deleted_at` asked for, SQLite would take the index of a search.
    can_log_in = _users.c.password_hash.is_not(None), _users.c.banned_at.is_(None)
    others = select(_users.c.id).where(_IS_ADMIN, _users.c.id != user_id, *can_log_in)
    return others.execution_options(query="users.other_admins")
