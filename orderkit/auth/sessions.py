"""Logins. Each is a row, and its refresh tokens a family of which only the newest is good (RFC 9700, section 4.14.2).

A refresh token is opaque: 16 bytes that name the session, 16 that its whole family shares, 32 of its own; SHA-256 of the
latter two is all that is kept. Whoever shows the right family and an old token of it shows one that was used before, stolen
or not: the session ends there and then. There is no grace for a client that lost the answer; it logs in again.

A session that ended is deleted. All of a user's end at once when `token_version` is raised: a login that was under way
meanwhile read the old version, and what it stores is dead.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

from loguru import logger
from sqlalchemy import ColumnElement, Connection, Select, Uuid, and_, delete, exists, insert, select, tuple_, update

from orderkit.auth.models import LoginSession, User
from orderkit.clock import now
from orderkit.db import Database
from orderkit.errors import InvalidToken, NotFound, Unauthenticated
from orderkit.ids import new_id
from orderkit.rows import Provided, any_of

PREFIX = "okr_"
"""So that a scanner for secrets finds a token that was committed or logged."""

MAX_AGENT = 200

MAX_SESSIONS = 100
"""Of one user; a login more ends the oldest."""

AT_ONCE = 1000
"""Sessions of one user that are deleted in one transaction."""

_sessions = LoginSession.__table__  # type: ignore[attr-defined]
_users = User.__table__  # type: ignore[attr-defined]

ADMITTED = Provided(
    columns=(("session_id", Uuid()),),
    # The same as `live`, for a row `d` with user_id, session_id and created_at. Without a session it is an API key's, which
    # was asked for just before; its owner is asked for here.
    condition="EXISTS (SELECT 1 FROM users u WHERE u.id = d.user_id AND u.banned_at IS NULL AND u.deleted_at IS NULL"
    " AND (d.session_id IS NULL OR EXISTS (SELECT 1 FROM sessions s WHERE s.id = d.session_id"
    " AND s.user_id = u.id AND s.token_version = u.token_version AND s.expires_at > d.created_at)))",
    order=("user_id", "key"),
)
"""What must hold for a claim: the order path asks who is there in the very statement that claims the key."""


class Holder(NamedTuple):
    """Whoever sends a request: a user, in one of their sessions or, without one, by an API key."""

    user_id: UUID
    session_id: UUID | None


class Granted(NamedTuple):
    """A login as its client gets to know it; the refresh token is told this once."""

    session_id: UUID
    user_id: UUID
    refresh_token: str


class Position(NamedTuple):
    """Of a login in its owner's list."""

    created_at: datetime
    id: UUID


def live(at: datetime) -> ColumnElement[bool]:
    """That a session, joined with its user, is good at that time."""
    return and_(
        _sessions.c.expires_at > at,
        _sessions.c.token_version == _users.c.token_version,
        _users.c.banned_at.is_(None),
        _users.c.deleted_at.is_(None),
    )


def start(
    database: Database, user: User, *, days: int, user_agent: str | None = None, address: str | None = None
) -> Granted:
    """Begins a session of `user`, as they were read when their password was checked; `days` long, however used.

    Of theirs, the newest MAX_SESSIONS stay.
    """
    session_id, family, secret, at = new_id(), secrets.token_bytes(16), secrets.token_bytes(32), now()
    with database.transaction() as session:
        session.connection().execute(
            insert(_sessions).values(
                id=session_id,
                user_id=user.id,
                token_version=user.token_version,
                family_hash=_hash(family),
                refresh_hash=_hash(secret),
                user_agent=user_agent and user_agent[:MAX_AGENT],
                address=address,
                created_at=at,
                refreshed_at=at,
                expires_at=at + timedelta(days=days),
            )
        )
        _delete(session.connection(), newest(user.id).offset(MAX_SESSIONS).limit(AT_ONCE), "sessions.forget_of_user")
    return Granted(session_id, user.id, _token(session_id, family, secret))


def refresh(database: Database, token: str) -> Granted:
    """Puts a new refresh token in the place of `token`. Of any number who try at once, one gets it, and the others end it.

    Raises Unauthenticated for a token that is none, was used before, or whose session is over.
    """
    session_id, family, secret = _parsed(token)
    at, fresh = now(), secrets.token_bytes(32)
    of_family = and_(_sessions.c.id == session_id, _sessions.c.family_hash == _hash(family))
    is_live = exists().where(_users.c.id == _sessions.c.user_id, live(at)).correlate(_sessions)
    rotate = (
        update(_sessions)
        .where(of_family, _sessions.c.refresh_hash == _hash(secret), is_live)
        .values(refresh_hash=_hash(fresh), refreshed_at=at)
        .returning(_sessions.c.user_id)
        .execution_options(query="sessions.refresh")
    )
    used_before = delete(_sessions).where(of_family, _sessions.c.refresh_hash != _hash(secret))
    with database.transaction() as session:
        connection = session.connection()
        user_id = connection.execute(rotate).scalar()
        reused = user_id is None and connection.execute(used_before).rowcount > 0
    if user_id is None:
        if reused:
            logger.bind(session_id=str(session_id)).warning("a refresh token was used twice; its session was ended")
        raise Unauthenticated("the refresh token is not good, or no longer; log in again")
    return Granted(session_id, user_id, _token(session_id, family, fresh))


def revoke(database: Database, token: str) -> None:
    """Ends the session that a refresh token belongs to, whichever of its family it is. Nothing happens if there is none."""
    try:
        session_id, family, _secret = _parsed(token)
    except Unauthenticated:
        return
    with database.transaction() as session:
        these = delete(_sessions).where(_sessions.c.id == session_id, _sessions.c.family_hash == _hash(family))
        session.connection().execute(these)


def end(connection: Connection, user_id: UUID, session_id: UUID) -> None:
    """Ends one session of a user. Raises NotFound."""
    one = delete(_sessions).where(_sessions.c.id == session_id, _sessions.c.user_id == user_id)
    if not connection.execute(one).rowcount:
        raise NotFound(f"there is no session {session_id}")


def end_all(connection: Connection, user_id: UUID, *, but: UUID | None = None) -> None:
    """Ends every session of a user, except `but`, and those that are about to begin.

    Of more than AT_ONCE the rows of the rest stay until they expire: by their version they are as dead.
    """
    version = update(_users).where(_users.c.id == user_id).values(token_version=_users.c.token_version + 1)
    raised = connection.execute(version.returning(_users.c.token_version)).scalar()
    others = newest(user_id) if but is None else newest(user_id).where(_sessions.c.id != but)
    _delete(connection, others.limit(AT_ONCE), "sessions.forget_of_user")
    if but is not None:
        connection.execute(update(_sessions).where(_sessions.c.id == but).values(token_version=raised))


def page(connection: Connection, user_id: UUID, *, limit: int, after: Position | None = None) -> Sequence[Any]:
    """The sessions of a user that are good, newest first, as rows of LoginSession."""
    query = (
        select(_sessions)
        .join(_users, _users.c.id == _sessions.c.user_id)
        .where(_sessions.c.user_id == user_id, live(now()))
        .order_by(_sessions.c.created_at.desc(), _sessions.c.id.desc())
        .limit(limit)
        .execution_options(query="sessions.of_user")
    )
    if after is not None:
        query = query.where(tuple_(_sessions.c.created_at, _sessions.c.id) < tuple_(*after))
    return connection.execute(query).all()


def admitted(connection: Connection, asking: Collection[Holder], at: datetime) -> set[Holder]:
    """Those of `asking` whom ADMITTED lets in, for when a claim did not go in and the reason is wanted."""
    of_sessions = any_of(connection, _sessions.c.id, {one.session_id for one in asking if one.session_id})
    logged_in = (
        select(_sessions.c.user_id, _sessions.c.id)
        .join(_users, _users.c.id == _sessions.c.user_id)
        .where(of_sessions, live(at))
        .execution_options(query="sessions.admitted")
    )
    of_keys = any_of(connection, _users.c.id, {one.user_id for one in asking if one.session_id is None})
    good = select(_users.c.id).where(of_keys, _users.c.banned_at.is_(None), _users.c.deleted_at.is_(None))
    found = {Holder(*row) for row in connection.execute(logged_in)}
    return found | {Holder(user_id, None) for user_id in connection.execute(good).scalars()}


def over() -> InvalidToken:
    """What somebody is told whose session is no longer good."""
    return InvalidToken("the session of this token is over; log in again")


def forget(connection: Connection, *, before: datetime, limit: int = 1000) -> int:
    """Deletes at most `limit` sessions that expired before then."""
    old = select(_sessions.c.id).where(_sessions.c.expires_at < before).order_by(_sessions.c.expires_at)
    return _delete(connection, old.limit(limit), "sessions.forget")


def forget_of(connection: Connection, user_id: UUID, *, limit: int = AT_ONCE) -> int:
    """Deletes at most `limit` sessions of a user who is deleted."""
    return _delete(connection, newest(user_id).limit(limit), "sessions.forget_of_user")


def newest(user_id: UUID) -> Select[tuple[UUID]]:
    """All of a user, the newest first. Rides ix_sessions_user_id."""
    mine = select(_sessions.c.id).where(_sessions.c.user_id == user_id)
    return mine.order_by(_sessions.c.created_at.desc(), _sessions.c.id.desc())


def _delete(connection: Connection, which: Select[tuple[UUID]], query: str) -> int:
    """Deletes those sessions, and waits for none: two who delete the same ones would wait for each other."""
    free = which.with_for_update(skip_locked=True).cte("free")
    these = delete(_sessions).where(_sessions.c.id.in_(select(free.c.id)))
    deleted = these.returning(_sessions.c.id).execution_options(query=query)
    return len(connection.execute(deleted).all())


def _token(session_id: UUID, family: bytes, secret: bytes) -> str:
    return PREFIX + base64.urlsafe_b64encode(session_id.bytes + family + secret).decode().rstrip("=")


def _parsed(token: str) -> tuple[UUID, bytes, bytes]:
    try:
        raw = base64.b64decode(token.removeprefix(PREFIX).encode("ascii") + b"==", b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raw = b""
    if len(raw) != 64 or not token.startswith(PREFIX):
        raise Unauthenticated("the refresh token is not good, or no longer; log in again")
    return UUID(bytes=raw[:16]), raw[16:32], raw[32:]


def _hash(secret: bytes) -> str:
    return sha256(secret).hexdigest()
