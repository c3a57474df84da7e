"""Making many users at once, for orders that come from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, select

from orderkit.auth.models import CUSTOMER, User, folded
from orderkit.clock import now
from orderkit.ids import new_id
from orderkit.rows import any_of, insert_rows

_users = User.__table__  # type: ignore[attr-defined]
_AT_ONCE = 5_000  # SQLite takes 32,766 parameters in a statement


@dataclass(frozen=True, slots=True)
class Enrolled:
    """Ids by e-mail address, and how many of them are new."""

    ids: dict[str, UUID]
    created: int


def enrol(connection: Connection, people: Mapping[str, str], *, password_hash: str | None = None) -> Enrolled:
    """Makes customers of those who are not users yet: names by address in its normal spelling. Others stay as they are.

    Without a `password_hash` nobody can log in as them.
    """
    at = now()
    fresh = {email: new_id() for email in people}
    insert_rows(
        connection,
        User,
        [
            {
                "id": fresh[email],
                "email": email,
                "name": name,
                "password_hash": password_hash,
                "role": CUSTOMER,
                "created_at": at,
                "search_name": folded(name),
            }
            for email, name in sorted(people.items())
        ],
        skip_existing=True,
    )
    emails = list(people)
    ids: dict[str, UUID] = {}
    for start in range(0, len(emails), _AT_ONCE):
        found = any_of(connection, _users.c.email, emails[start : start + _AT_ONCE])
        ids.update((row.email, row.id) for row in connection.execute(select(_users.c.email, _users.c.id).where(found)))
    return Enrolled(ids, sum(ids[email] == fresh[email] for email in emails))
