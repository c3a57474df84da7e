"""The audit log: who changed what about who may do what, when, and from where. Written in the transaction of the change."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, insert

from orderkit.auth.models import AuditEntry
from orderkit.clock import now
from orderkit.ids import new_id
from orderkit.observability import context

_log = AuditEntry.__table__  # type: ignore[attr-defined]


class Actor(NamedTuple):
    """Who makes a change: a user, or nobody known, and where from: an address, or the command line."""

    user_id: UUID | None
    source: str


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
