"""Where somebody was when they changed something about themselves: the one thing that goes out of the audit log, once they
are deleted.

What they changed about others stays with where from: else whoever misused their power would only have to be deleted.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, select, text, update

from orderkit.auth.models import ERASED, AuditEntry

OWN = (
    "api_key.made",
    "api_key.revoked",
    "api_keys.revoked",
    "user.left",
    "user.password_changed",
    "user.password_reset",
    "user.sessions_ended",
    "user.verified",
)
"""Acts on oneself."""

_log = AuditEntry.__table__  # type: ignore[attr-defined]
_SAID = text(f"source <> '{ERASED}'")  # the very text of the partial index, else SQLite would not use it


def erase(connection: Connection, user_id: UUID, *, limit: int = 1000) -> None:
    """Takes the source out of at most `limit` entries that a user made, who is deleted; the entries stay."""
    some = said(user_id).limit(limit).with_for_update(skip_locked=True).cte("some")
    these = update(_log).where(_log.c.id.in_(select(some.c.id))).values(source=ERASED)
    connection.execute(these.execution_options(query="audit_log.to_erase"))


def left(user_id: ColumnElement[Any]) -> ColumnElement[bool]:
    """That there is such an entry of the user whose id is in that column."""
    return said(user_id).correlate(user_id.table).exists()


def said(user_id: UUID | ColumnElement[Any]) -> Select[tuple[UUID]]:
    """The entries of a user about themselves that say where they were. Rides ix_audit_log_actor_id."""
    return select(_log.c.id).where(_log.c.actor_id == user_id, _SAID, _log.c.action.in_(OWN))
