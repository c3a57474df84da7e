"""The audit log: who changed what about who may do what, when, and from where. Written in the transaction of the change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Select, insert, select, tuple_

from orderkit.auth.models import AuditEntry
from orderkit.clock import now
from orderkit.ids import new_id
from orderkit.observability import context

_log = AuditEntry.__table__  # type: ignore[attr-defined]


COMMAND_LINE = "command line"
"""How a source begins that is no address; no id of a request has a space."""


class Actor(NamedTuple):
    """Who makes a change: a user, or nobody known, and where from: an address, or the command line."""

    user_id: UUID | None
    source: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One change, as it was written. `actor_id` is the user who made it; None from the command line."""

    id: UUID
    at: datetime
    actor_id: UUID | None
    source: str
    action: str
    subject: str
    detail: dict[str, Any]
    request_id: str | None

    @property
    def position(self) -> Position:
        return Position(self.at, self.id)


class Position(NamedTuple):
    """Where a page ended, newest first; the id decides among entries of one instant."""

    at: datetime
    id: UUID


def record(connection: Connection, actor: Actor, action: str, subject: str, **detail: Any) -> None:
    """Writes one entry. `action` is `role.changed`, `user.banned` and so on; `detail` is of primitives and names nobody."""
    connection.execute(
        insert(_log).values(
            id=new_id(),
            at=now(),
            actor_id=actor.user_id,
            source=actor.source,
            action=action,
            subject=subject,
            detail=detail,
            request_id=context.request_id() or None,
        )
    )


def page(
    connection: Connection, *, limit: int, subject: str | None = None, after: Position | None = None
) -> Sequence[Entry]:
    """At most `limit` entries after `after`, newest first: all there are, or those about `subject`, `role:support`."""
    return [Entry(**row._mapping) for row in connection.execute(_newest(subject, after).limit(limit))]


def _newest(subject: str | None, after: Position | None) -> Select[Any]:
    """Rides ix_audit_log_at, or with a subject ix_audit_log_subject, both from the end."""
    query = select(*(_log.c[name] for name in Entry.__dataclass_fields__))
    if subject is not None:
        query = query.where(_log.c.subject == subject)
    if after is not None:
        query = query.where(tuple_(_log.c.at, _log.c.id) < tuple_(*after))
    query = query.order_by(_log.c.at.desc(), _log.c.id.desc())
    if subject is not None:
        return query.execution_options(query="audit_log.of_subject")
    return query.execution_options(query="audit_log.by_time")
