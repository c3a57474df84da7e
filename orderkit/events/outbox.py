"""Recording events. A row written in the transaction of the change is sent if, and only if, the change is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from orderkit.events.models import OutboxEvent
from orderkit.ids import new_id
from orderkit.observability import context
from orderkit.rows import Writes, insert_rows


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to an order; `sequence` is the order's version that it led to. Of a product: neither.

    `traceparent` is where it belongs if whoever records it works for many at once, and so for nobody's trace.
    """

    order_id: UUID | None
    sequence: int | None
    type: str
    payload: dict[str, Any]
    traceparent: str | None = None


def record(to: Connection | Writes, events: Sequence[Event], *, at: datetime) -> None:
    """Writes the events; the relay sends them after the commit, those of one order in sequence."""
    traceparent = context.traceparent() or None
    insert_rows(
        to,
        OutboxEvent,
        [
            {
                "id": new_id(),
                "order_id": event.order_id,
                "sequence": event.sequence,
                "type": event.type,
                "payload": event.payload,
                "traceparent": traceparent or event.traceparent,
                "created_at": at,
            }
            for event in events
        ],
    )
