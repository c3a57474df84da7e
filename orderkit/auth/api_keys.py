"""API keys: with one, a machine acts for its owner, within some of what the owner may do, until a day that is set.

A key is shown when it is made, and never again: what is kept is its SHA-256, and its beginning to tell it by.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Select, delete, insert, or_, select, tuple_, update

from orderkit.auth import audit_log, authority, permissions, sessions
from orderkit.auth.audit_log import Actor
from orderkit.auth.callers import API_KEY_PREFIX, key_hash
from orderkit.auth.models import ApiKey
from orderkit.auth.permissions import OWN_ORDERS, SCOPES
from orderkit.clock import now
from orderkit.errors import Conflict, Invalid, NotFound
from orderkit.ids import new_id

MAX_GOOD = 50
"""Keys of one user that are good at the same time."""
MAX_DAYS = 365
DEFAULT_DAYS = 90
KEPT = timedelta(days=90)
"""How long a key that is no longer good stays in its owner's list."""
PREFIX_CHARACTERS = 8
SECRET_BYTES = 32

_ALPHABET = string.ascii_lowercase + string.digits
_keys = ApiKey.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Key:
    """A key as its owner sees it. `prefix` is how it begins."""

    id: UUID
    name: str
    prefix: str
    permissions: list[str]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None

    @property
    def position(self) -> Position:
        return Position(self.created_at, self.id)


class Position(NamedTuple):
    """Of a key in its owner's list."""

    created_at: datetime
    id: UUID


def make(
    connection: Connection, actor: Actor, user_id: UUID, *, name: str, wanted: Sequence[str], days: int
) -> tuple[Key, str]:
    """Makes a key of a user that is good for so many days, and gives it with its text.

    Raises Invalid for what the user may not do now, pointing at it, and Conflict when there are MAX_GOOD keys already. Of
    two who make the last one at once, the second waits for the first: the user's row is locked.
    """
    owner = authority.lock_user(connection, user_id)
    if owner is None or owner.banned_at is not None:
        raise sessions.over()
    _require_held(wanted, permissions.of_role(connection, owner.role) | {OWN_ORDERS})
    at = now()
    good = _of(user_id).where(_keys.c.revoked_at.is_(None), _keys.c.expires_at > at).limit(MAX_GOOD)
    if len(connection.execute(good).all()) == MAX_GOOD:
        raise Conflict(f"there are {MAX_GOOD} API keys already; revoke one that is not needed")
    prefix = API_KEY_PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(PREFIX_CHARACTERS))
    text = f"{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"
    key = Key(new_id(), name, prefix, sorted(set(wanted)), at, at + timedelta(days=days), None, None)
    values = {field: getattr(key, field) for field in Key.__dataclass_fields__}
    connection.execute(insert(_keys).values(user_id=user_id, hash=key_hash(text), **values))
    audit_log.record(
        connection, actor, "api_key.made", f"api_key:{key.id}", user_id=str(user_id), permissions=key.permissions
    )
    return key, text


def _require_held(wanted: Sequence[str], held: frozenset[str]) -> None:
    wrong = [
        (f"#/permissions/{number}", "is no permission" if one not in SCOPES else "is not one that the account has")
        for number, one in enumerate(wanted)
        if one not in held
    ]
    if wrong:
        raise Invalid(f"a key can be given what its owner may do: {', '.join(sorted(held))}", pointers=wrong)


def page(connection: Connection, user_id: UUID, *, limit: int, after: Position | None = None) -> Sequence[Key]:
    """The keys of a user, those that are no longer good too, newest first. Rides ix_api_keys_user_id from the end."""
    query = _of(user_id).order_by(_keys.c.created_at.desc(), _keys.c.id.desc()).limit(limit)
    if after is not None:
        query = query.where(tuple_(_keys.c.created_at, _keys.c.id) < tuple_(*after))
    return [Key(**row._mapping) for row in connection.execute(query.execution_options(query="api_keys.of_user"))]


def revoke(connection: Connection, actor: Actor, user_id: UUID, key_id: UUID) -> None:
    """Makes a key no longer good, from the next request on. Done again, it changes nothing. Raises NotFound."""
    mine = _keys.c.id == key_id, _keys.c.user_id == user_id
    revoked = update(_keys).where(*mine, _keys.c.revoked_at.is_(None)).values(revoked_at=now())
    if connection.execute(revoked).rowcount:
        audit_log.record(connection, actor, "api_key.revoked", f"api_key:{key_id}", user_id=str(user_id))
    elif connection.execute(select(_keys.c.id).where(*mine)).one_or_none() is None:
        raise NotFound(f"there is no API key {key_id}")


def revoke_all(connection: Connection, actor: Actor, user_id: UUID) -> None:
    """Revokes every key of a user that is good, with one entry in the log for all of them."""
    good = _keys.c.user_id == user_id, _keys.c.revoked_at.is_(None), _keys.c.expires_at > now()
    all_good = update(_keys).where(*good).values(revoked_at=now())
    revoked = connection.execute(all_good.execution_options(query="api_keys.revoke_all")).rowcount
    if revoked:
        audit_log.record(connection, actor, "api_keys.revoked", f"user:{user_id}", number=revoked)


def forget(connection: Connection, *, before: datetime, limit: int = 1000) -> int:
    """Deletes at most `limit` keys that expired or were revoked before then; the audit log still tells of them."""
    free = no_longer_good(before).limit(limit).with_for_update(skip_locked=True).cte("free")
    these = delete(_keys).where(_keys.c.id.in_(select(free.c.id)))
    return len(connection.execute(these.returning(_keys.c.id).execution_options(query="api_keys.forget")).all())


def no_longer_good(since: datetime) -> Select[tuple[UUID]]:
    """Rides ix_api_keys_expires_at and ix_api_keys_revoked_at."""
    return select(_keys.c.id).where(or_(_keys.c.expires_at < since, _keys.c.revoked_at < since))


def _of(user_id: UUID) -> Select[Any]:
    return select(*(_keys.c[field] for field in Key.__dataclass_fields__)).where(_keys.c.user_id == user_id)
