"""The keys that sign access tokens, several at a time, so that a new one can take over without logging anybody out.

A key is HMAC-SHA-256 of its salt under the installation's secret: who reads the database alone has none, and who learns an
old key does not know the next.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, insert, select, update

from orderkit.auth import audit_log
from orderkit.auth.audit_log import Actor
from orderkit.auth.models import SigningKey
from orderkit.clock import now
from orderkit.db import Database
from orderkit.errors import Conflict, NotFound
from orderkit.ids import new_id

SALT_BYTES = 32
MAX_KEYS = 16
"""Good at a time; each is one more that could leak."""

_keys = SigningKey.__table__  # type: ignore[attr-defined]


class Listed(NamedTuple):
    id: UUID
    created_at: datetime
    retired_at: datetime | None
    signs: bool


class Key(NamedTuple):
    """A key that is good. `id` is the `kid` of the tokens it signs."""

    id: str
    secret: bytes


def load(database: Database, secret: str) -> list[Key]:
    """The keys that are good, the one that signs first. Makes the first of all if there is none yet."""
    with database.reading() as session:
        found = _good(session.connection())
    if not found:
        with database.transaction() as session:
            connection = session.connection()
            _add(connection)
            found = _good(connection)
    return [Key(str(key_id), _derived(secret, salt)) for key_id, salt in found]


def _good(connection: Connection, *, locked: bool = False) -> list[tuple[UUID, str]]:
    newest_first = (_keys.c.created_at.desc(), _keys.c.id.desc())
    query = select(_keys.c.id, _keys.c.salt).where(_keys.c.retired_at.is_(None)).order_by(*newest_first).limit(MAX_KEYS)
    if locked:
        query = query.with_for_update()
    return [(row.id, row.salt) for row in connection.execute(query)]


def _derived(secret: str, salt: str) -> bytes:
    return hmac.digest(secret.encode(), f"orderkit access token {salt}".encode(), hashlib.sha256)


def _add(connection: Connection) -> UUID:
    key_id = new_id()
    connection.execute(insert(_keys).values(id=key_id, salt=secrets.token_hex(SALT_BYTES), created_at=now()))
    return key_id


def rotate(database: Database, actor: Actor) -> UUID:
    """Makes a new key, which signs from now on; the others are still good. Raises Conflict when there are too many."""
    with database.transaction() as session:
        connection = session.connection()
        _good(connection, locked=True)
        if len(_good(connection)) >= MAX_KEYS:  # asked anew: whoever was waited for may have made one
            raise Conflict(f"there are {MAX_KEYS} keys that are good; retire old ones: orderkit keys retire")
        key_id = _add(connection)
        audit_log.record(connection, actor, "signing_key.made", f"signing_key:{key_id}")
    return key_id


def retire(database: Database, actor: Actor, key_id: UUID | None = None) -> list[UUID]:
    """Retires one key or, without `key_id`, all but the one that signs: their tokens are no longer good, within a second.

    Answers which were retired. Raises NotFound, and Conflict for the key that signs.
    """
    with database.transaction() as session:
        connection = session.connection()
        good = [one for one, _salt in _good(connection, locked=True)]  # two at once could retire each other's last
        if key_id is None:
            these = good[1:]
        elif key_id not in good:
            raise NotFound(f"there is no signing key {key_id} that is good; see orderkit keys list")
        elif key_id == good[0]:  # else the one before it, given up by then, would sign again
            raise Conflict("this is the key that signs; make another first: orderkit keys rotate")
        else:
            these = [key_id]
        for one in these:
            connection.execute(
                update(_keys).where(_keys.c.id == one, _keys.c.retired_at.is_(None)).values(retired_at=now())
            )
            audit_log.record(connection, actor, "signing_key.retired", f"signing_key:{one}")
    return these


def listing(database: Database, *, limit: int = 100) -> Sequence[Listed]:
    """The keys there are and were, newest first."""
    with database.reading() as session:
        rows = session.execute(select(_keys).order_by(_keys.c.created_at.desc(), _keys.c.id.desc()).limit(limit)).all()
    signing = next((row.id for row in rows if row.retired_at is None), None)
    return [Listed(row.id, row.created_at, row.retired_at, row.id == signing) for row in rows]
