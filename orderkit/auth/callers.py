"""Who is calling, as the database has it now: account, permissions, and by what they are known. One query a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import Row, and_, select, update

from orderkit.auth import sessions
from orderkit.auth.models import ApiKey, LoginSession, RolePermission, User
from orderkit.auth.permissions import OWN_ORDERS, PERMISSIONS
from orderkit.clock import now
from orderkit.db import Database

API_KEY_PREFIX = "okk_"
USE_NOTED_EVERY = timedelta(minutes=1)
"""A key's last use is known to the minute: a write for every request would cost more than the request."""

_users = User.__table__  # type: ignore[attr-defined]
_sessions = LoginSession.__table__  # type: ignore[attr-defined]
_grants = RolePermission.__table__  # type: ignore[attr-defined]
_keys = ApiKey.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sends a request, in a session or by an API key. `permissions` holds OWN_ORDERS too, which all sessions have."""

    user: User
    permissions: frozenset[str]
    session_id: UUID | None = None
    api_key_id: UUID | None = None

    @property
    def id(self) -> UUID:
        return self.user.id

    def may(self, permission: str) -> bool:
        return permission in self.permissions


def of_session(database: Database, user_id: UUID, session_id: UUID) -> Caller | None:
    """The caller of this session; None when it is over."""
    query = (
        select(User, _grants.c.permission)
        .join(_sessions, _sessions.c.user_id == _users.c.id)
        .join(_grants, _grants.c.role == _users.c.role, isouter=True)
        .where(_sessions.c.id == session_id, _users.c.id == user_id, sessions.live(now()))
        .execution_options(query="sessions.caller")
    )
    with database.reading() as session:
        rows = session.execute(query).all()
    return Caller(rows[0][0], _granted(rows), session_id=session_id) if rows else None


def of_api_key(database: Database, key: str) -> Caller | None:
    """The caller by this key; None for one that is not good, or no longer. Notes its use."""
    at = now()
    query = (
        select(User, _grants.c.permission, _keys.c.id, _keys.c.permissions, _keys.c.last_used_at)
        .join(_keys, _keys.c.user_id == _users.c.id)
        .join(_grants, _grants.c.role == _users.c.role, isouter=True)
        .where(
            _keys.c.hash == key_hash(key),
            _keys.c.revoked_at.is_(None),
            _keys.c.expires_at > at,
            _users.c.banned_at.is_(None),
            _users.c.deleted_at.is_(None),
        )
        .execution_options(query="api_keys.caller")
    )
    with database.reading() as session:
        rows = session.execute(query).all()
    if not rows:
        return None
    user, _permission, key_id, scopes, last_used_at = rows[0]
    if last_used_at is None or last_used_at <= at - USE_NOTED_EVERY:
        not_noted = and_(_keys.c.id == key_id, _keys.c.last_used_at.is_not_distinct_from(last_used_at))
        with database.transaction() as session:
            session.execute(update(_keys).where(not_noted).values(last_used_at=at))
    return Caller(user, _granted(rows) & frozenset(scopes), api_key_id=key_id)


def _granted(rows: Sequence[Row[Any]]) -> frozenset[str]:
    return frozenset({row.permission for row in rows} & PERMISSIONS.keys() | {OWN_ORDERS})


def key_hash(key: str) -> str:
    """What is stored of an API key. Of 256 random bits, so that a plain hash is enough."""
    return sha256(key.encode(errors="replace")).hexdigest()
