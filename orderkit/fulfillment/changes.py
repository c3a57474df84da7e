"""Writing fulfillments: locked in order, moved only as the transition table says, with every call to the carrier kept.

Everything works within the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select

from orderkit.errors import IllegalTransition
from orderkit.fulfillment.models import TRANSITIONS, Fulfillment, FulfillmentAttempt, FulfillmentStatus
from orderkit.ids import new_id
from orderkit.orders import snapshot
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.rows import insert_rows, update_rows

_fulfillments = Fulfillment.__table__  # type: ignore[attr-defined]


Told = tuple[str, str | None]
"""What became of a call to the carrier, as `booking.told` puts it: outcome and detail."""

ABANDONED: Told = ("abandoned", "the lease ran out")
"""The worker did not come back within its lease; what the carrier did is not known."""


def insert(connection: Connection, order_ids: Sequence[UUID], status: FulfillmentStatus, *, at: datetime) -> int:
    """Makes the one fulfillment of each of those orders; how many. An order that has one keeps it as it is."""
    rows = [
        {
            "id": new_id(),
            "order_id": order_id,
            "status": status.value,
            "run_at": at,
            "token": 0,
            "attempts": 0,
            "created_at": at,
            "updated_at": at,
        }
        for order_id in order_ids
    ]
    return insert_rows(connection, Fulfillment, rows, skip_existing=True)


def lock(connection: Connection, fulfillment_id: UUID) -> tuple[OrderSnapshot, Any] | None:
    """Locks the order, then its fulfillment: the order without lines, and the fulfillment's row. None if there is no such."""
    with_id = _fulfillments.c.id == fulfillment_id
    query = select(_fulfillments.c.order_id).where(with_id).execution_options(query="fulfillments.claim")
    order_id = connection.execute(query).scalar()
    if order_id is None:
        return None
    order = snapshot.lock(connection, [order_id])[order_id]
    return order, connection.execute(select(_fulfillments).where(with_id).with_for_update(key_share=True)).one()


def moved(current: str, wanted: FulfillmentStatus) -> str:
    """`wanted`, if a fulfillment that is `current` may go there; raises IllegalTransition."""
    if wanted not in TRANSITIONS[FulfillmentStatus(current)]:
        raise IllegalTransition(
            f"a fulfillment that is {current} cannot become {wanted}", facts={"status_now": current}
        )
    return wanted.value


def update(connection: Connection, row: Any, **values: Any) -> None:
    """Writes a locked row whose status must still be the one that was read. What was due is due anew: nobody was woken for it."""
    update_rows(
        connection, Fulfillment, [{"id": row.id, "woken_at": None, **values}], only_if={"status": (row.status,)}
    )


def record_attempt(
    connection: Connection, fulfillment_id: UUID, token: int, told: Told, *, started_at: datetime, duration_ms: int
) -> None:
    """Keeps what was asked of the carrier under a token; what is already kept for it stays."""
    outcome, detail = told
    row = {
        "fulfillment_id": fulfillment_id,
        "token": token,
        "outcome": outcome,
        "detail": detail,
        "started_at": started_at,
        "duration_ms": duration_ms,
    }
    insert_rows(connection, FulfillmentAttempt, [row], skip_existing=True)
