"""Users."""

from __future__ import annotations

from orderkit.auth import passwords
from orderkit.auth.models import CUSTOMER, User
from orderkit.db import Database
from orderkit.ids import new_id


def make_user(
    database: Database,
    *,
    email: str | None = None,
    name: str = "Somebody",
    role: str = CUSTOMER,
    password: str | None = None,
) -> User:
    """A user, who can log in only if given a password (hashing it takes 30 ms)."""
    user = User(
        email=email or f"user-{new_id().hex}@example.com",
        name=name,
        role=role,
        password_hash=None if password is None else passwords.hash_password(password),
    )
    with database.transaction() as session:
        session.add(user)
    return user
