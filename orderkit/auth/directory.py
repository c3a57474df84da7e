"""Finding accounts, for those who look after them: by address, by name, by id; and what anyone may see of one.

Each branch of the search walks an index from where the page before ended, so that it costs the same however many users
there are. The deleted are in neither index.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Select, Text, literal, select, text, tuple_

from orderkit.auth.models import User, folded
from orderkit.errors import NotFound
from orderkit.rows import any_of, update_rows

SCANNED = 1000
"""Rows that one page looks at, at most. Those whose address was found before are passed over, and could be millions."""

NOBODY = UUID(int=0)
"""The id in a position by address, where the address alone decides."""

_LAST = "\U0010ffff"
"""Sorts after whatever may follow a prefix."""

_users = User.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Account:
    """All that there is to know about a user, but how they log in."""

    id: UUID
    email: str
    name: str
    role: str
    avatar_url: str | None
    bio: str | None
    verified_at: datetime | None
    banned_at: datetime | None
    created_at: datetime

    @property
    def verified(self) -> bool:
        return self.verified_at is not None

    @property
    def banned(self) -> bool:
        return self.banned_at is not None


class Position(NamedTuple):
    """Where a page ended: first come those found by address, then those found by name alone."""

    by: Literal["email", "name"]
    key: str
    id: UUID


class Found(NamedTuple):
    """A page, and where it ended if more may follow. It may have fewer than asked for, or none, and more follow yet."""

    accounts: list[Account]
    more_after: Position | None


def get(connection: Connection, user_id: UUID) -> Account:
    """Raises NotFound for one who is deleted too."""
    row = connection.execute(_by_id(user_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no user {user_id}")
    return _account(row)


def emails(connection: Connection, user_ids: Collection[UUID]) -> dict[UUID, str]:
    """The addresses of those users by id; of the deleted, what was put in its place."""
    found = select(_users.c.id, _users.c.email).where(any_of(connection, _users.c.id, list(user_ids)))
    return {row.id: row.email for row in connection.execute(found)}


def page(connection: Connection, *, limit: int, q: str = "", after: Position | None = None) -> Found:
    """At most `limit` users whose address or name begins with `q`, whatever its case, or whose whole id it is.

    Those whose address does come first, by address; then the others, by name. Whoever fits both is there once.
    """
    if (user_id := _whole_id(q)) is not None:
        row = connection.execute(_by_id(user_id)).one_or_none()
        return Found([] if row is None else [_account(row)], None)
    found: list[Account] = []
    if after is None or after.by == "email":
        rows = connection.execute(by_email(connection.dialect.name, q.lower(), after).limit(limit + 1)).all()
        found = [_account(row) for row in rows[:limit]]
        if found:
            after = Position("email", found[-1].email, found[-1].id)
        if len(rows) > limit:
            return Found(found, after)
    return _by_name_too(connection, found, limit, q, after) if q else Found(found, None)


def _by_name_too(connection: Connection, found: list[Account], limit: int, q: str, after: Position | None) -> Found:
    """Goes on, after those found by address, with those who are found by name alone."""
    prefix, start, seen = q.lower(), after if after and after.by == "name" else None, 0
    while seen < SCANNED:
        rows = connection.execute(by_name(folded(q), start).limit(limit + 1)).all()
        for row in rows:
            if not row.email.startswith(prefix):
                if len(found) == limit:
                    return Found(found, after)
                found.append(_account(row))
            after = start = Position("name", row.search_name, row.id)
        if len(rows) <= limit:
            return Found(found, None)
        seen += len(rows)
    return Found(found, after)


def fold_names(connection: Connection, *, limit: int = 1000) -> int:
    """Fills in `search_name` of at most `limit` users without one: of before there was any, or made by old code since."""
    locked = unfolded().limit(limit).with_for_update(skip_locked=True, key_share=True)
    rows = [{"id": row.id, "search_name": folded(row.name)} for row in connection.execute(locked)]
    return update_rows(connection, User, rows)


def unfolded() -> Select[Any]:
    """Users who are found by address only as yet. Rides ix_users_name_search, in which NULLs are side by side."""
    found = select(_users.c.id, _users.c.name).where(_users.c.deleted_at.is_(None), _users.c.search_name.is_(None))
    return found.execution_options(query="users.unfolded")


def by_email(dialect: str, prefix: str, after: Position | None = None) -> Select[Any]:
    """Those whose address begins with `prefix`, after `after`. Rides ix_users_email_search."""
    # PostgreSQL compares texts as its language does, except by these operators.
    at_least, above, below = ("~>=~", "~>~", "~<~") if dialect == "postgresql" else (">=", ">", "<")
    order = text("users.email USING ~<~") if dialect == "postgresql" else _users.c.email
    query = _there().order_by(order).execution_options(query="users.by_email_prefix")
    if prefix:
        query = query.where(_users.c.email.bool_op(below)(literal(prefix + _LAST, Text)))
    if after is not None:
        return query.where(_users.c.email.bool_op(above)(literal(after.key, Text)))
    return query.where(_users.c.email.bool_op(at_least)(literal(prefix, Text)))


def by_name(prefix: str, after: Position | None = None) -> Select[Any]:
    """Those whose name begins with `prefix`, which is folded, after `after`. Rides ix_users_name_search."""
    name, key = _users.c.search_name, tuple_(_users.c.search_name, _users.c.id)
    query = _there().add_columns(name).where(name < prefix + _LAST).order_by(name, _users.c.id)
    query = query.execution_options(query="users.by_name_prefix")
    return query.where(name >= prefix if after is None else key > (after.key, after.id))


def _by_id(user_id: UUID) -> Select[Any]:
    return _there().where(_users.c.id == user_id).execution_options(query="users.get")


def _there() -> Select[Any]:
    return select(*(_users.c[field] for field in Account.__dataclass_fields__)).where(_users.c.deleted_at.is_(None))


def _account(row: Any) -> Account:
    return Account(*row[: len(Account.__dataclass_fields__)])


def _whole_id(text: str) -> UUID | None:
    try:
        return UUID(text) if len(text) in (32, 36) else None
    except ValueError:
        return None
