"""Getting paid orders out of the door, and what happens to those that will not go."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Integer, Text, text
from sqlmodel import Field

from orderkit.clock import now
from orderkit.db import Table, UtcDateTime
from orderkit.ids import new_id


class FulfillmentStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    DISCARDED = "discarded"
    CANCELLED = "cancelled"


F = FulfillmentStatus
TRANSITIONS: dict[FulfillmentStatus, frozenset[FulfillmentStatus]] = {
    F.QUEUED: frozenset({F.RUNNING, F.CANCELLED}),
    F.RUNNING: frozenset({F.SUCCEEDED, F.RETRYING, F.DEAD, F.CANCELLED}),
    F.RETRYING: frozenset({F.RUNNING, F.CANCELLED}),
    F.DEAD: frozenset({F.QUEUED, F.DISCARDED}),
    F.SUCCEEDED: frozenset(),
    F.DISCARDED: frozenset(),
    F.CANCELLED: frozenset(),
}

_DUE = text("status IN ('queued', 'running', 'retrying')")
_OPEN = text("resolved_at IS NULL")
_RECALL_DUE = text("recall_at IS NOT NULL")


class Fulfillment(Table, table=True):
    """The one shipment of a paid order. Its id is the idempotency key at the carrier.

    `run_at` is when something is next due: the first booking, a retry, or, while it is running, the end of the lease.
    `token` is the fencing token: each claim raises it, and a write that carries an older one changes nothing.
    `attempts` counts bookings since it was last queued. `recall_at` is set while the carrier must be told to forget a
    booking that may exist, because the order was cancelled in the middle of it. `delivered_at` is the carrier's word, which
    may come before ours that it shipped.
    """

    __tablename__ = "fulfillments"
    __table_args__ = (
        CheckConstraint(f"status IN ({', '.join(repr(s.value) for s in FulfillmentStatus)})", name="status_known"),
        CheckConstraint("(status = 'succeeded') = (tracking_number IS NOT NULL)", name="succeeded_has_tracking_number"),
        CheckConstraint("token >= 0", name="token_not_negative"),
        Index("ix_fulfillments_due", "run_at", postgresql_where=_DUE, sqlite_where=_DUE),  # the loop: due or expired
        Index(
            "ix_fulfillments_recall", "recall_at", postgresql_where=_RECALL_DUE, sqlite_where=_RECALL_DUE
        ),  # the loop
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    order_id: UUID = Field(foreign_key="orders.id", unique=True)
    status: str = Field(default=FulfillmentStatus.QUEUED, sa_type=Text)
    run_at: datetime = Field(sa_type=UtcDateTime)
    woken_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    token: int = Field(default=0, sa_type=Integer)
    attempts: int = Field(default=0, sa_type=Integer)
    tracking_number: str | None = Field(default=None, sa_type=Text)
    recall_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    delivered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    updated_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class FulfillmentAttempt(Table, table=True):
    """One booking that was tried, under the fencing token of its claim."""

    __tablename__ = "fulfillment_attempts"

    fulfillment_id: UUID = Field(foreign_key="fulfillments.id", primary_key=True)
    token: int = Field(sa_type=Integer, primary_key=True)
    outcome: str = Field(sa_type=Text)
    detail: str | None = Field(default=None, sa_type=Text)
    started_at: datetime = Field(sa_type=UtcDateTime)
    duration_ms: int = Field(sa_type=Integer)


class DeadLetter(Table, table=True):
    """A fulfillment that was given up, waiting for somebody to retry or discard it. At most one is open for each."""

    __tablename__ = "dead_letters"
    __table_args__ = (
        CheckConstraint("resolution IN ('retried', 'discarded')", name="resolution_known"),
        CheckConstraint("(resolution IS NULL) = (resolved_at IS NULL)", name="resolved_has_time"),
        Index(
            "uq_dead_letters_open",
            "fulfillment_id",
            unique=True,
            postgresql_where=_OPEN,
            sqlite_where=_OPEN,
        ),
        Index("ix_dead_letters_order_id", "order_id"),  # the story of an order
        Index("ix_dead_letters_created_at", "created_at", "id"),  # all letters, newest first
        Index(
            "ix_dead_letters_open", "created_at", "id", postgresql_where=_OPEN, sqlite_where=_OPEN
        ),  # open letters, newest first
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    fulfillment_id: UUID = Field(foreign_key="fulfillments.id")
    order_id: UUID = Field(foreign_key="orders.id")
    reason: str = Field(sa_type=Text)
    attempts: int = Field(sa_type=Integer)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    resolved_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    resolution: str | None = Field(default=None, sa_type=Text)
