"""A fulfillment's way to the carrier: queued, claimed under a lease, finished. Only the rows; `dispatch` makes the calls.

Everything works within the caller's transaction and locks the order before the fulfillment. A claim raises the fencing
token, and a finish under an older one changes nothing, so it does not matter how late a worker wakes up again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from loguru import logger
from sqlalchemy import Connection

from orderkit import retry
from orderkit.clock import now
from orderkit.fulfillment import booking, changes, delivery, recalling
from orderkit.fulfillment.carriers import Booked, BookResult, Failed, Rejected
from orderkit.fulfillment.models import DeadLetter, FulfillmentStatus
from orderkit.ids import new_id
from orderkit.orders import changes as order_changes
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.orders.states import OrderStatus
from orderkit.rows import insert_rows
from orderkit.settings import Settings

CLAIMABLE = (FulfillmentStatus.QUEUED, FulfillmentStatus.RUNNING, FulfillmentStatus.RETRYING)


@dataclass(frozen=True, slots=True)
class Claim:
    """A fulfillment that is the caller's for a lease. `attempts` counts the bookings tried before this one."""

    fulfillment_id: UUID
    order_id: UUID
    token: int
    attempts: int
    address: dict[str, Any] | None
    amount: int
    currency: str
    claimed_at: datetime
    traceparent: str | None


def enqueue(connection: Connection, order_ids: Sequence[UUID], *, at: datetime) -> None:
    """Queues the one fulfillment of each of those orders; an order that has one keeps it as it is."""
    changes.insert(connection, order_ids, FulfillmentStatus.QUEUED, at=at)


def claim(connection: Connection, fulfillment_id: UUID, *, settings: Settings) -> Claim | None:
    """Makes a fulfillment that is due the caller's for a lease; None when there is nothing to do.

    A lease that ran out is recorded as an attempt and counts as one, so that a parcel that kills its worker every time ends
    in the dead letters. A fulfillment whose order is no longer `paid` is stopped instead; one whose money is all promised
    back waits for what becomes of the refund.
    """
    locked = changes.lock(connection, fulfillment_id)
    if locked is None:
        return None
    at = now()  # once the lock is had, which may take 5 s: the lease is for the work
    order, row = locked
    if row.status not in CLAIMABLE or row.run_at > at:
        return None
    if order.status != OrderStatus.PAID:
        recalling.stop(connection, [row], at=at)
        return None
    if order.all_given_back:
        # Refused, and it is shipped after all; so it is not stopped, which would be for good.
        changes.update(connection, row, run_at=at + timedelta(seconds=settings.retry_cap))
        return None
    status, attempts, token = row.status, row.attempts, row.token + 1
    if status == FulfillmentStatus.RUNNING:
        attempts += 1
        lease_ms = int(settings.lease * 1000)
        logger.bind(order_id=str(order.id), fulfillment_id=str(row.id), attempt=attempts).warning("a lease ran out")
        changes.record_attempt(
            connection, row.id, row.token, changes.ABANDONED, started_at=row.updated_at, duration_ms=lease_ms
        )
        if attempts >= settings.carrier_attempts:
            _bury(connection, row, "no worker that took it came back", at, attempts=attempts, token=token)
            return None
        status = changes.moved(status, FulfillmentStatus.RETRYING)
    changes.update(
        connection,
        row,
        status=changes.moved(status, FulfillmentStatus.RUNNING),
        token=token,
        attempts=attempts,
        run_at=at + timedelta(seconds=settings.lease),
        updated_at=at,
    )
    return _claim(order, row.id, token, attempts, at)


def _claim(order: OrderSnapshot, fulfillment_id: UUID, token: int, attempts: int, at: datetime) -> Claim:
    return Claim(
        fulfillment_id,
        order.id,
        token,
        attempts,
        order.shipping_address,
        order.total,
        order.currency,
        at,
        order.traceparent,
    )


def postpone(connection: Connection, claim: Claim, until: datetime) -> None:
    """Gives an unused claim back, due again at `until`: no call was made, so no attempt is recorded."""
    locked = changes.lock(connection, claim.fulfillment_id)
    if locked is not None and _holds(locked[1], claim):
        row = locked[1]
        status = changes.moved(row.status, FulfillmentStatus.RETRYING)
        changes.update(connection, row, status=status, run_at=until, updated_at=now())


def finish(
    connection: Connection, claim: Claim, result: BookResult, *, duration_ms: int, settings: Settings
) -> FulfillmentStatus | None:
    """Records what the carrier said and draws the consequence; gives the new status, None if the claim was stale.

    Booked ships the order, and delivers it if the carrier has said so already. Failed is tried again later, until the attempts
    are used up. Rejected is dead at once. If the order was cancelled meanwhile, nothing is shipped, and the carrier is to be
    told.
    """
    locked = changes.lock(connection, claim.fulfillment_id)
    if locked is None:
        return None
    at = now()
    order, row = locked
    if _holds(row, claim) or (row.token == claim.token and row.status in recalling.STOPPED):
        told = booking.told(result)
        changes.record_attempt(
            connection, row.id, row.token, told, started_at=claim.claimed_at, duration_ms=duration_ms
        )
    if row.status in recalling.STOPPED:
        recalling.landed(connection, row, result, token=claim.token, at=at)
        return FulfillmentStatus(row.status)
    if not _holds(row, claim):
        return None
    if order.status != OrderStatus.PAID:
        status = changes.moved(row.status, FulfillmentStatus.CANCELLED)
        changes.update(connection, row, status=status, recall_at=at, attempts=claim.attempts + 1, updated_at=at)
        return FulfillmentStatus.CANCELLED
    return _decide(connection, order, row, result, at, attempts=claim.attempts + 1, settings=settings)


def _decide(
    connection: Connection,
    order: OrderSnapshot,
    row: Any,
    result: BookResult,
    at: datetime,
    *,
    attempts: int,
    settings: Settings,
) -> FulfillmentStatus:
    match result:
        case Booked(tracking_number):
            status = changes.moved(row.status, FulfillmentStatus.SUCCEEDED)
            changes.update(
                connection, row, status=status, tracking_number=tracking_number, attempts=attempts, updated_at=at
            )
            shipped = order_changes.Change(order, OrderStatus.SHIPPED, f"booked as {tracking_number}")
            order_changes.apply(connection, [shipped], at=at)
            delivery.catch_up(connection, order, row, at=at)
            return FulfillmentStatus.SUCCEEDED
        case Failed() if attempts < settings.carrier_attempts:
            status = changes.moved(row.status, FulfillmentStatus.RETRYING)
            run_at = at + retry.delay(attempts, base=settings.retry_base, cap=settings.retry_cap)
            changes.update(connection, row, status=status, run_at=run_at, attempts=attempts, updated_at=at)
            return FulfillmentStatus.RETRYING
        case Failed(reason) | Rejected(reason):
            _bury(connection, row, reason, at, attempts=attempts, token=row.token)
            return FulfillmentStatus.DEAD


def _bury(connection: Connection, row: Any, reason: str, at: datetime, *, attempts: int, token: int) -> None:
    status = changes.moved(row.status, FulfillmentStatus.DEAD)
    changes.update(connection, row, status=status, token=token, attempts=attempts, updated_at=at)
    letter = {
        "id": new_id(),
        "fulfillment_id": row.id,
        "order_id": row.order_id,
        "reason": reason,
        "attempts": attempts,
        "created_at": at,
    }
    insert_rows(connection, DeadLetter, [letter])
    logger.bind(
        order_id=str(row.order_id), fulfillment_id=str(row.id), dead_letter_id=str(letter["id"]), attempts=attempts
    ).warning("given up, a dead letter: {}", reason)


def _holds(row: Any, claim: Claim) -> bool:
    return bool(row.status == FulfillmentStatus.RUNNING and row.token == claim.token)
