"""Idempotency keys: one key of one user does one thing, once, and gives the same answer for as long as it is kept.

A request claims its key in the very transaction that does its work, so that a key exists exactly when its work does. The
claim carries `resource_id`, the id of what the request makes: a rerun after a lost COMMIT finds its own id and knows that
it succeeded, any other request finds a stranger's. After draft-ietf-httpapi-idempotency-key-header-07.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Index, Integer, Text, delete, select, tuple_
from sqlmodel import Field

from orderkit.db import Table, UtcDateTime
from orderkit.errors import KeyExpired, KeyInUse, KeyMalformed, KeyReused
from orderkit.rows import Provided, Writes, insert_rows, pairs_of, update_rows


class IdempotencyKey(Table, table=True):
    """A claimed key and, once there is one, the answer that every repeat gets.

    `lease_until`: until then the first request may still be at work; after it, the answer is made from what there is.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)  # forgetting the expired

    user_id: UUID = Field(primary_key=True)
    key: str = Field(sa_type=Text, primary_key=True)
    fingerprint: str = Field(sa_type=Text)
    resource_id: UUID
    status_code: int | None = Field(default=None, sa_type=Integer)
    body: str | None = Field(default=None, sa_type=Text)
    lease_until: datetime = Field(sa_type=UtcDateTime)
    created_at: datetime = Field(sa_type=UtcDateTime)


_table = IdempotencyKey.__table__  # type: ignore[attr-defined]

COMMAND_LINE = UUID(int=0)
"""Whose the keys of the command line are, which is nobody's account: no user has this id."""

_VISIBLE = re.compile(r"[\x21-\x7e]{1,255}")


def check_key(text: str) -> str:
    """`text`, if it can be a key. Raises KeyMalformed."""
    if not _VISIBLE.fullmatch(text):
        raise KeyMalformed("an Idempotency-Key is 1 to 255 visible ASCII characters")
    return text


class KeyId(NamedTuple):
    """A key is its user's: the same text from another user is another key."""

    user_id: UUID
    key: str


@dataclass(frozen=True, slots=True)
class Claim:
    """`facts` are the columns of the condition, if there is one, on which the key is claimed."""

    id: KeyId
    fingerprint: str
    resource_id: UUID
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """A status code and a body, ready to be sent and sent again."""

    status: int
    body: str


@dataclass(frozen=True, slots=True)
class Replay:
    """The answer stored for a key, and whether an earlier request got it first."""

    resource_id: UUID
    answer: Answer
    replayed: bool = True


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The key was used for the same request before, which died without an answer. Its work is there and is the truth."""

    resource_id: UUID


# Made once: json.dumps with options would make one for every body.
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def fingerprint(method: str, path: str, body: Any) -> str:
    """What makes two requests the same: method, path and the parsed body, whatever its whitespace and order of members."""
    return hashlib.sha256(f"{method} {path}\n{_canonical.encode(body)}".encode()).hexdigest()


def claim(
    connection: Connection,
    claims: Iterable[Claim],
    *,
    at: datetime,
    lease: timedelta,
    provided: Provided | None = None,
) -> dict[KeyId, Any]:
    """Claims each key that is free, and answers whose each key is now: rows with the columns of IdempotencyKey.

    With `provided`, only those of which it holds; of the others there is no row, unless it was there before. Keys go in
    sorted, because an insert waits for another's uncommitted key: (k1, k2) against (k2, k1) would deadlock.
    """
    ordered = sorted({one.id: one for one in claims}.values(), key=lambda one: (one.id.user_id, one.id.key))
    rows = [
        {
            "user_id": one.id.user_id,
            "key": one.id.key,
            "fingerprint": one.fingerprint,
            "resource_id": one.resource_id,
            "lease_until": at + lease,
            "created_at": at,
            **one.facts,
        }
        for one in ordered
    ]
    inserted = insert_rows(connection, IdempotencyKey, rows, skip_existing=True, provided=provided, query="keys.claim")
    if inserted < len(rows):
        return find(connection, [one.id for one in ordered])
    # All were free, as nearly always: what would be read is what was written.
    return {one.id: SimpleNamespace(**row, status_code=None, body=None) for one, row in zip(ordered, rows, strict=True)}


def find(connection: Connection, ids: Sequence[KeyId]) -> dict[KeyId, Any]:
    """The rows of those keys that exist."""
    found = pairs_of(connection, (_table.c.user_id, _table.c.key), ids)
    query = select(_table).where(found).execution_options(query="keys.find")
    rows = {KeyId(row.user_id, row.key): row for row in connection.execute(query)}
    return {one: rows[one] for one in ids if one in rows}


def judge(
    row: Any, fingerprint: str, *, at: datetime, ttl: timedelta, location: str | None = None
) -> Replay | Abandoned:
    """What a request gets whose key `row` was claimed by another before it.

    Raises KeyExpired, KeyReused, or KeyInUse (with Retry-After). A row does not say what kind of thing its key made; whoever
    knows says where it is, in `location`.
    """
    if row.created_at + ttl <= at:
        raise expired(location)
    if row.fingerprint != fingerprint:
        raise KeyReused("this Idempotency-Key was used for another request; send a new key with a new request")
    if row.status_code is not None:
        return Replay(row.resource_id, Answer(row.status_code, row.body))
    if row.lease_until > at:
        raise in_use()
    return Abandoned(row.resource_id)


def expired(location: str | None) -> KeyExpired:
    """`location` is of what the key made, where that is known."""
    told = "this Idempotency-Key was used too long ago to be answered again"
    if location is None:
        return KeyExpired(f"{told}; send a new key with a new request")
    return KeyExpired(f"{told}; see what it made at Location", headers={"Location": location})


def in_use() -> KeyInUse:
    return KeyInUse(
        "a request with this Idempotency-Key is still being answered; repeat it in a moment",
        headers={"Retry-After": "1"},
    )


def once(
    connection: Connection,
    claimed: Claim,
    act: Callable[[], Answer],
    *,
    at: datetime,
    lease: timedelta,
    ttl: timedelta,
    location: Callable[[UUID, bool], str],
) -> Replay:
    """Does `act` and stores its answer, both in this transaction, unless the key was used before: then what `judge` says.

    For acts that need one transaction and no more, so that a key that is there has its answer: run again after a COMMIT
    that was lost and did happen, it gives the answer of then. `location` is of what the key made, which it made for this very
    request or, if False, for another.
    """
    row = claim(connection, [claimed], at=at, lease=lease).get(claimed.id)
    if row is None:  # whoever held the key gave it up between the two statements
        raise in_use()
    if row.resource_id != claimed.resource_id:
        made = location(row.resource_id, row.fingerprint == claimed.fingerprint)
        found = judge(row, claimed.fingerprint, at=at, ttl=ttl, location=made)
        assert isinstance(found, Replay)  # noqa: S101 - see above
        return found
    if row.status_code is not None:
        return Replay(claimed.resource_id, Answer(row.status_code, row.body), replayed=False)
    answer = act()
    store(connection, {claimed.id: answer})
    return Replay(claimed.resource_id, answer, replayed=False)


def release(connection: Connection, ids: Collection[KeyId]) -> None:
    """Gives up claims of this transaction whose requests came to nothing, so that the keys are not used up.

    All in one statement: of a hundred buyers of the last piece, ninety-nine come here.
    """
    if ids:
        these = delete(_table).where(pairs_of(connection, (_table.c.user_id, _table.c.key), ids))
        connection.execute(these.execution_options(query="keys.release"))


def store(to: Connection | Writes, answers: Mapping[KeyId, Answer]) -> None:
    """Stores each answer whose key has none yet."""
    rows = [
        {"user_id": one.user_id, "key": one.key, "status_code": answers[one].status, "body": answers[one].body}
        for one in sorted(answers)
    ]
    update_rows(to, IdempotencyKey, rows, by=("user_id", "key"), only_if={"status_code": None}, exact=False)


def stored(connection: Connection, answers: Mapping[KeyId, Answer]) -> dict[KeyId, Answer]:
    """What everyone answers: what is stored or, where the key has been forgotten, what was to be."""
    rows = find(connection, sorted(answers))
    return {one: Answer(rows[one].status_code, rows[one].body) if one in rows else answers[one] for one in answers}


def forget(connection: Connection, *, before: datetime, limit: int = 1000) -> int:
    """Deletes at most `limit` keys claimed before then. What they made keeps (user, key) unique for ever."""
    return _delete(connection, _table.c.created_at < before, _table.c.created_at, limit, "keys.forget")


def forget_of(connection: Connection, user_id: UUID, *, limit: int = 1000) -> int:
    """Deletes at most `limit` keys of a user, of those that nobody is at work on."""
    return _delete(connection, _table.c.user_id == user_id, _table.c.key, limit, "keys.forget_of_user")


def _delete(
    connection: Connection, which: ColumnElement[bool], order: ColumnElement[Any], limit: int, query: str
) -> int:
    """Deletes the first of those keys, and waits for none: a key that is locked is left for the next time.

    Whoever settles holds keys and may wait for a user's row, which a deletion holds.
    """
    key = _table.c.user_id, _table.c.key
    # A WITH, because PostgreSQL may run a plain subquery, and lock, more than once.
    free = select(*key).where(which).order_by(order).limit(limit).with_for_update(skip_locked=True).cte("free")
    these = delete(_table).where(tuple_(*key).in_(select(free.c.user_id, free.c.key)))
    deleted = these.returning(_table.c.key).execution_options(query=query)
    return len(connection.execute(deleted).all())
