"""Users."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlmodel import col, select

from orderkit.auth import accounts, passwords
from orderkit.auth.models import CUSTOMER, User
from orderkit.auth.permissions import PERMISSIONS
from orderkit.db import Database
from orderkit.ids import new_id

GRANTS = {
    "admin": tuple(sorted(PERMISSIONS)),
    "analyst": ("analytics:read", "orders:read"),
    "creator": ("catalog:write",),
    "moderator": ("users:manage",),
    "operations": (
        "catalog:write",
        "fulfillment:manage",
        "inventory:write",
        "orders:read",
        "orders:write",
        "system:read",
    ),
    "support": ("orders:read", "orders:refund", "orders:write", "system:read"),
}
"""What each role may do in a fresh installation; customer, nothing but what every account may."""


PASSWORD = "what users of tests have"


@lru_cache
def _hash(password: str, _parameters: object) -> str:
    return passwords.hash_password(password)


def make_user(
    database: Database,
    *,
    email: str | None = None,
    name: str = "Somebody",
    role: str = CUSTOMER,
    password: str | None = None,
    **more: Any,
) -> User:
    """A user, who can log in only if given a password (each is hashed once)."""
    user = User(
        email=email or f"user-{new_id().hex}@example.com",
        name=name,
        role=role,
        password_hash=None if password is None else _hash(password, passwords._argon2id),
        **more,
    )
    with database.transaction() as session:
        session.add(user)
    return user


def logs_in(database: Database, email: str, password: str) -> User | None:
    """Who logs in with those, as the API finds it out; None when nobody may."""
    user = accounts.sought(database, email)
    return user if accounts.is_theirs(user, password) else None


def all_users(database: Database) -> list[User]:
    """Every user, by e-mail address."""
    with database.reading() as session:
        return list(session.scalars(select(User).order_by(col(User.email))))
