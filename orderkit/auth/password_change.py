"""A new password for somebody who knows the old one, or from whoever runs this installation."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection, update

from orderkit.auth import accounts, audit_log, authority, passwords, sessions
from orderkit.auth.audit_log import Actor
from orderkit.auth.models import User
from orderkit.db import Database
from orderkit.errors import Conflict, Invalid, NotFound

_users = User.__table__  # type: ignore[attr-defined]


def check_new(user: User, new: str) -> None:
    """Raises Invalid, with pointer #/new_password, for a password that `user` cannot have. May read a file."""
    passwords.check(new, about=(user.email, user.name), pointer="#/new_password")


def check_current(user: User, current: str) -> None:
    """Raises Invalid, with pointer #/current_password, unless it is `user`'s. Hashes: call it in HashingThreads."""
    if not passwords.matches(current, user.password_hash):
        raise Invalid("the current password is wrong", pointers=[("#/current_password", "is not the current password")])


def change(database: Database, actor: Actor, user: User, hashed: str, session_id: UUID | None) -> None:
    """Puts `hashed` in the place of the hash that `user` was read with, and ends all sessions but `session_id`.

    Raises Conflict if somebody else was faster.
    """
    unchanged = _users.c.password_hash.is_not_distinct_from(user.password_hash)
    with database.transaction() as session:
        connection = session.connection()
        mine = update(_users).where(_users.c.id == user.id, _users.c.deleted_at.is_(None), unchanged)
        if not connection.execute(mine.values(password_hash=hashed)).rowcount:
            raise Conflict("the password was changed in another way meanwhile")
        _end_sessions(connection, actor, user.id, but=session_id)


def set_new(database: Database, actor: Actor, email: str, new: str) -> None:
    """Gives the user with this address a password and ends all their sessions. Raises Invalid and NotFound. Hashes."""
    user = accounts.find_by_email(database, email)
    if user is None:
        raise NotFound(f"there is no user {email}")
    passwords.check(new, about=(user.email, user.name))
    hashed = passwords.hash_password(new)
    with database.transaction() as session:
        connection = session.connection()
        if authority.lock_user(connection, user.id) is None:
            raise NotFound(f"there is no user {email}")
        connection.execute(update(_users).where(_users.c.id == user.id).values(password_hash=hashed))
        _end_sessions(connection, actor, user.id)


def _end_sessions(connection: Connection, actor: Actor, user_id: UUID, but: UUID | None = None) -> None:
    sessions.end_all(connection, user_id, but=but)
    audit_log.record(connection, actor, "user.password_changed", f"user:{user_id}")
