"""What the links in mails carry: signed tokens that let their holder do one thing, once, for a while.

None is stored. A token holds a digest of the state that it is to change, so whoever changes that state, with this token or
otherwise, uses it up. Its key is derived for this purpose alone: no access token is ever a link, nor the other way round.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from datetime import timedelta
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import jwt
from sqlalchemy import Connection, select

from orderkit.auth import api_keys, audit_log, passwords, sessions
from orderkit.auth.audit_log import Actor
from orderkit.auth.models import User
from orderkit.clock import now
from orderkit.db import Database
from orderkit.errors import Invalid
from orderkit.settings import Settings


class Purpose(StrEnum):
    """What a link is for, by the names that kinds of account mails have."""

    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - a name


GOOD_FOR = {Purpose.VERIFY_EMAIL: timedelta(days=3), Purpose.RESET_PASSWORD: timedelta(minutes=30)}
MAX_TOKEN = 1024
"""Characters. They have about 300."""

_ALGORITHM = "HS256"
_ISSUER = "orderkit-links"
_KEY_LABEL = b"orderkit links in mails, 1"
_REQUIRED = ["iss", "aud", "sub", "exp", "state"]
_DIGEST_BYTES = 16

_users = User.__table__  # type: ignore[attr-defined]


class Link(NamedTuple):
    """What a token says whose signature and time are good. Whether its state still is, the user's row knows."""

    purpose: Purpose
    user_id: UUID
    state: str


def make(settings: Settings, purpose: Purpose, user: Any) -> str:
    """A token for `user`, a row with the columns of User, as it is now."""
    key = _key(settings)
    claims = {
        "iss": _ISSUER,
        "aud": purpose.value,
        "sub": str(user.id),
        "exp": int((now() + GOOD_FOR[purpose]).timestamp()),
        "state": _state(key, purpose, user),
    }
    return jwt.encode(claims, key, algorithm=_ALGORITHM)


def check(database: Database, settings: Settings, purpose: Purpose, token: str) -> None:
    """Raises Invalid, with pointer #/token, unless the token is good just now. Changes nothing."""
    key, link = _read(settings, purpose, token)
    with database.reading() as session:
        _owner(session.connection(), key, link)


def verify_email(database: Database, settings: Settings, token: str, actor: Actor) -> UUID:
    """Marks the address verified that the token was sent to; whose it is. Raises Invalid with pointer #/token."""
    key, link = _read(settings, Purpose.VERIFY_EMAIL, token)
    with database.transaction() as session:
        connection = session.connection()
        user = _owner(connection, key, link, lock=True)
        _change(connection, user, verified_at=now())
        audit_log.record(connection, _holder(user, actor), "user.verified", f"user:{user.id}")
    return link.user_id


def new_hash(database: Database, settings: Settings, token: str, password: str) -> str:
    """The hash of `password`, for `reset_password`. Hashes: call it in HashingThreads.

    Raises Invalid, with pointer #/token or, for a password that cannot be taken, #/password; the token stays good then.
    """
    key, link = _read(settings, Purpose.RESET_PASSWORD, token)
    with database.reading() as session:
        user = _owner(session.connection(), key, link)  # nobody has us hash with a link that is over
    passwords.check(password, about=(user.email, user.name))
    return passwords.hash_password(password)


def reset_password(database: Database, settings: Settings, token: str, hashed: str, actor: Actor) -> str:
    """Gives the token's owner a new password, ends all their sessions and revokes their API keys; their address.

    Whoever resets a password may do it because somebody else was in, or registered with their address before them; what
    that somebody left to come back with goes. The address counts as verified from then on: the token was sent to it.
    Raises Invalid with pointer #/token.
    """
    key, link = _read(settings, Purpose.RESET_PASSWORD, token)
    with database.transaction() as session:
        connection = session.connection()
        user = _owner(connection, key, link, lock=True)
        _change(connection, user, password_hash=hashed, verified_at=user.verified_at or now())
        sessions.end_all(connection, user.id)
        holder, subject = _holder(user, actor), f"user:{user.id}"
        api_keys.revoke_all(connection, holder, user.id)
        audit_log.record(connection, holder, "user.password_reset", subject)
        if user.verified_at is None:
            audit_log.record(connection, holder, "user.verified", subject)
    return str(user.email)


def _owner(connection: Connection, key: bytes, link: Link, *, lock: bool = False) -> Any:
    """The user of a link that is still good. Of two who come at once with `lock`, the second sees what the first did."""
    query = select(_users).where(_users.c.id == link.user_id)
    if lock:
        query = query.with_for_update(key_share=True)
    user = connection.execute(query).one_or_none()
    if user is None or user.banned_at is not None or user.deleted_at is not None:
        raise _refused()
    if not hmac.compare_digest(_state(key, link.purpose, user), link.state):
        raise _refused()
    return user


def _change(connection: Connection, user: Any, **values: Any) -> None:
    connection.execute(_users.update().where(_users.c.id == user.id).values(**values))


def _holder(user: Any, actor: Actor) -> Actor:
    """Whoever has the link acts as its user, wherever from."""
    return Actor(user.id, actor.source)


def _read(settings: Settings, purpose: Purpose, token: str) -> tuple[bytes, Link]:
    key = _key(settings)
    try:
        # The time is checked by our own clock, which may be moved; PyJWT would ask the system's.
        claims = jwt.decode(
            token,
            key,
            algorithms=[_ALGORITHM],
            issuer=_ISSUER,
            audience=purpose.value,
            options={"require": _REQUIRED, "verify_exp": False},
        )
        link, expires = Link(purpose, UUID(claims["sub"]), str(claims["state"])), int(claims["exp"])
    except (jwt.PyJWTError, ValueError):
        raise _refused() from None
    if not link.state.isascii() or expires <= now().timestamp():
        raise _refused()
    return key, link


def _key(settings: Settings) -> bytes:
    return hmac.digest(settings.signing_key.encode(), _KEY_LABEL, "sha256")


def _state(key: bytes, purpose: Purpose, user: Any) -> str:
    """A digest that says nothing of what it is of, though the token can be read by whoever holds it."""
    if purpose is Purpose.VERIFY_EMAIL:
        state = (user.email, user.verified_at and user.verified_at.isoformat())
    else:
        state = (user.password_hash, user.token_version)
    digest = hmac.digest(key, repr((purpose.value, str(user.id), *state)).encode(), "sha256")
    return urlsafe_b64encode(digest[:_DIGEST_BYTES]).decode().rstrip("=")


def _refused() -> Invalid:
    return Invalid(
        "the link is not good, or no longer: it works once, and for a while; ask for a new one",
        pointers=[("#/token", "is not good, or no longer")],
    )
