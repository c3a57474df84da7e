"""Callbacks that were taken, by the id that their sender gave them. Everything works within the caller's transaction."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, select

from orderkit.events.models import WebhookReceipt
from orderkit.rows import insert_rows

KEPT = timedelta(days=7)
"""A callback older than five minutes is refused whatever its id: this is for senders that sign their repeats anew."""

_receipts = WebhookReceipt.__table__  # type: ignore[attr-defined]


def take(connection: Connection, message_id: str, *, at: datetime) -> bool:
    """Whether a callback comes for the first time. Waits for whoever is just taking the same one."""
    row = {"id": message_id, "received_at": at}
    return insert_rows(connection, WebhookReceipt, [row], skip_existing=True) == 1


def forget(connection: Connection, *, before: datetime, limit: int = 1000) -> int:
    """Deletes at most `limit` receipts from before then, and waits for none."""
    old = select(_receipts.c.id).where(_receipts.c.received_at < before).order_by(_receipts.c.received_at)
    # A WITH, because PostgreSQL may run a plain subquery, and lock, more than once.
    free = old.limit(limit).with_for_update(skip_locked=True).cte("free")
    these = delete(_receipts).where(_receipts.c.id.in_(select(free.c.id)))
    return len(connection.execute(these.returning(_receipts.c.id).execution_options(query="receipts.forget")).all())
