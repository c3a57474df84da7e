"""Deleting an account: what says who somebody was goes, and the bare row stays, because orders refer to it.

What their orders, stored answers and the audit log say of them is erased by `orders.erasure`, in the same transaction and, for
orders that are still to be shipped, later.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, update

from orderkit.auth import audit_log, sessions
from orderkit.auth.audit_log import Actor
from orderkit.auth.models import CUSTOMER, AccountMail, ApiKey, User
from orderkit.clock import now

NAME = "deleted user"

_users = User.__table__  # type: ignore[attr-defined]
_keys = ApiKey.__table__  # type: ignore[attr-defined]
_mails = AccountMail.__table__  # type: ignore[attr-defined]


def erase(connection: Connection, actor: Actor, user: Any) -> None:
    """Deletes `user`, a row that is locked against new orders: they are nobody from the next request on.

    Their address is free for whoever registers with it. The new address of the row is one that nobody can have (RFC 2606).
    """
    at = now()
    nothing = dict.fromkeys(("password_hash", "avatar_url", "bio", "verified_at", "search_name"))
    erased = {
        "email": f"deleted-{user.id}@deleted.invalid",
        "name": NAME,
        "role": CUSTOMER,
        "deleted_at": at,
        "erase_at": at,
        "token_version": _users.c.token_version + 1,
        **nothing,
    }
    connection.execute(update(_users).where(_users.c.id == user.id).values(erased))
    sessions.forget_of(connection, user.id)
    connection.execute(delete(_keys).where(_keys.c.user_id == user.id))
    connection.execute(delete(_mails).where(_mails.c.email == user.email))
    audit_log.record(connection, actor, "user.left" if actor.user_id == user.id else "user.deleted", f"user:{user.id}")
