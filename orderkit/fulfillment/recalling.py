"""Stopping the fulfillments of cancelled or refunded orders, and having the carrier forget what it may have booked.

`recall_at` is the promise to tell the carrier: it is set in the transaction that stops a fulfillment, and cleared only when
the carrier has confirmed. Everything works within the caller's transaction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select

from orderkit import retry
from orderkit.clock import now
from orderkit.fulfillment import booking, changes
from orderkit.fulfillment.carriers import Booked, BookResult, Recalled, RecallResult
from orderkit.fulfillment.models import DeadLetter, Fulfillment, FulfillmentStatus
from orderkit.orders.models import Order
from orderkit.rows import any_of, update_rows
from orderkit.settings import Settings

_fulfillments = Fulfillment.__table__  # type: ignore[attr-defined]
_orders = Order.__table__  # type: ignore[attr-defined]

STOPPED = (FulfillmentStatus.CANCELLED, FulfillmentStatus.DISCARDED)
STOPPABLE = (FulfillmentStatus.QUEUED, FulfillmentStatus.RUNNING, FulfillmentStatus.RETRYING, FulfillmentStatus.DEAD)


@dataclass(frozen=True, slots=True)
class Recall:
    """A booking, made or not, that the carrier is to be told to forget. `stopped_at` is when its fulfillment was stopped."""

    fulfillment_id: UUID
    order_id: UUID
    token: int
    stopped_at: datetime
    claimed_at: datetime
    traceparent: str | None


def stop_orders(connection: Connection, order_ids: Sequence[UUID], *, at: datetime) -> None:
    """Stops whatever those locked orders, cancelled or refunded, have under way. Repeating it is harmless."""
    if not order_ids:
        return
    found = select(_fulfillments).where(any_of(connection, _fulfillments.c.order_id, order_ids))
    locked = found.order_by(_fulfillments.c.order_id).with_for_update(key_share=True)
    rows = connection.execute(locked.execution_options(query="fulfillments.stop")).all()
    stop(connection, [row for row in rows if row.status in STOPPABLE], at=at)


def stop(connection: Connection, rows: Sequence[Any], *, at: datetime) -> None:
    """Cancels locked fulfillments; one that is dead is discarded, and its letter with it.

    The carrier is to be told if any booking was ever tried; where one may be under way, after its lease, so that the call in
    flight lands first.
    """
    stopped, letters = [], []
    for row in rows:
        wanted = FulfillmentStatus.CANCELLED
        if row.status == FulfillmentStatus.DEAD:
            wanted = FulfillmentStatus.DISCARDED
            letters.append({"fulfillment_id": row.id, "resolved_at": at, "resolution": "discarded"})
        stopped.append(
            {
                "id": row.id,
                "status": changes.moved(row.status, wanted),
                "recall_at": _recall_at(row, at),
                "woken_at": None,
                "updated_at": at,
            }
        )
    update_rows(connection, Fulfillment, stopped, only_if={"status": tuple(status.value for status in STOPPABLE)})
    open_only = {"resolved_at": None}
    update_rows(connection, DeadLetter, letters, by=("fulfillment_id",), only_if=open_only, exact=False)


def _recall_at(row: Any, at: datetime) -> datetime | None:
    if row.token == 0:
        return None
    return max(row.run_at, at) if row.status == FulfillmentStatus.RUNNING else at


def landed(connection: Connection, row: Any, result: BookResult, *, token: int, at: datetime) -> None:
    """A booking came back whose fulfillment, `row`, was stopped meanwhile: the carrier is to be told at once.

    However old its claim: a booking is a booking. The token moves on, so that a recall which is just under way, and may
    have been before the booking, does not count as having taken it back.
    """
    if isinstance(result, Booked) or row.token == token:
        changes.update(connection, row, recall_at=at, token=row.token + 1)


def claim(connection: Connection, fulfillment_id: UUID, *, settings: Settings) -> Recall | None:
    """The recall of a fulfillment, if it is due, kept from others for a lease; raises the fencing token."""
    at = now()
    of_order = select(_orders.c.traceparent).where(_orders.c.id == _fulfillments.c.order_id).scalar_subquery()
    due = select(_fulfillments, of_order.label("traceparent")).where(
        _fulfillments.c.id == fulfillment_id, _fulfillments.c.recall_at <= at
    )
    locked = due.with_for_update(key_share=True, of=_fulfillments).execution_options(query="fulfillments.claim_recall")
    row = connection.execute(locked).first()
    if row is None:
        return None
    lease_until = at + timedelta(seconds=settings.lease)
    changes.update(connection, row, recall_at=lease_until, token=row.token + 1)
    return Recall(row.id, row.order_id, row.token + 1, row.updated_at, at, row.traceparent)


def postpone(connection: Connection, recall: Recall, until: datetime) -> None:
    """Puts a recall off that was not tried."""
    _answered(connection, recall, until)


def finish(
    connection: Connection, recall: Recall, result: RecallResult, *, duration_ms: int, settings: Settings
) -> bool:
    """Records what the carrier said, if the recall is still the caller's; whether it is over and done with.

    There is no giving up: until the carrier confirms, it is asked again, at most `retry_cap` seconds apart.
    """
    if isinstance(result, Recalled):
        if not _answered(connection, recall, None):
            return False
        changes.record_attempt(
            connection,
            recall.fulfillment_id,
            recall.token,
            booking.told(result),
            started_at=recall.claimed_at,
            duration_ms=duration_ms,
        )
        return True
    at = now()
    # Failed recalls are not counted anywhere; how long it has been going on tells how patient to be.
    elapsed = (at - recall.stopped_at).total_seconds()
    attempt = 1 + int(math.log2(max(1.0, elapsed / settings.retry_base)))
    _answered(connection, recall, at + retry.delay(attempt, base=settings.retry_base, cap=settings.retry_cap))
    return False


def _answered(connection: Connection, recall: Recall, recall_at: datetime | None) -> bool:
    mine = (_fulfillments.c.id == recall.fulfillment_id) & (_fulfillments.c.token == recall.token)
    row = connection.execute(select(_fulfillments).where(mine).with_for_update(key_share=True)).first()
    if row is None:
        return False
    changes.update(connection, row, recall_at=recall_at)
    return True
