"""Deliveries, which the carrier reports. Nothing is delivered by itself.

A report may be late, come twice, or overtake ours that the parcel was booked. It is kept in `delivered_at`, and moves the order
as soon as that is shipped, and only if it still is. Everything works within the caller's transaction.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from loguru import logger
from sqlalchemy import Connection

from orderkit.clock import now
from orderkit.fulfillment import changes
from orderkit.fulfillment.models import Fulfillment, FulfillmentStatus
from orderkit.observability import context
from orderkit.orders import changes as order_changes
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.orders.states import OrderStatus
from orderkit.rows import update_rows

REASON = "delivered, as the carrier reports"


class Outcome(StrEnum):
    """What a report came to: the order moved; it is to move once it is shipped; it stays as it is, being cancelled, refunded or
    shipped otherwise; all this was known; there is no such fulfillment."""

    DELIVERED = "delivered"
    REMEMBERED = "remembered"
    RECORDED = "recorded"
    KNOWN = "known"
    UNKNOWN = "unknown"


def report(
    connection: Connection, fulfillment_id: UUID, delivered_at: datetime, *, request_id: str | None = None
) -> Outcome:
    """Takes the carrier's word that a parcel was delivered. The first word counts; repeating it is harmless.

    A time before there was a parcel, or to come, is taken for the nearest that can be.
    """
    locked = changes.lock(connection, fulfillment_id)
    if locked is None:
        logger.bind(fulfillment_id=str(fulfillment_id)).warning("a delivery was reported of a parcel that is not ours")
        return Outcome.UNKNOWN
    order, row = locked
    context.bind(order_id=order.id)  # nobody's request but the carrier's: this is where it is known whose parcel it is
    outcome = _take(connection, order, row, delivered_at, request_id)
    told = logger.bind(order_id=str(order.id), fulfillment_id=str(row.id), status=order.status)
    told.info("a delivery, {}", outcome)
    return outcome


def _take(
    connection: Connection, order: OrderSnapshot, row: Any, delivered_at: datetime, request_id: str | None
) -> Outcome:
    if row.delivered_at is not None:
        return Outcome.KNOWN
    at = now()
    delivered_at = min(max(delivered_at, row.created_at), at)
    # `updated_at` stays: it tells when a claim was made, and since when something is to be recalled.
    update_rows(connection, Fulfillment, [{"id": row.id, "delivered_at": delivered_at}], only_if={"delivered_at": None})
    if order.status == OrderStatus.PAID:
        return Outcome.REMEMBERED
    # An order that somebody shipped by other means has a fulfillment that was cancelled: that is another parcel.
    if order.status != OrderStatus.SHIPPED or row.status != FulfillmentStatus.SUCCEEDED:
        return Outcome.RECORDED
    _deliver(connection, order, at, request_id)
    return Outcome.DELIVERED


def catch_up(connection: Connection, order: OrderSnapshot, row: Any, *, at: datetime) -> None:
    """Delivers an order that was shipped in this transaction, if the carrier said so before we knew that it had the parcel."""
    if row.delivered_at is not None:
        _deliver(connection, order, at, None)


def _deliver(connection: Connection, order: OrderSnapshot, at: datetime, request_id: str | None) -> None:
    delivered = order_changes.Change(order, OrderStatus.DELIVERED, REASON, request_id=request_id)
    order_changes.apply(connection, [delivered], at=at)
