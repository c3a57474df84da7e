"""Money asked for, taken and given back. A payment holds a bare `order_id`: payments know nothing of orders."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Index, Integer, Text, text
from sqlmodel import Field

from orderkit.clock import now
from orderkit.db import Table, UtcDateTime
from orderkit.ids import new_id
from orderkit.money import MAX_AMOUNT


class PaymentStatus(StrEnum):
    CREATED = "created"
    UNKNOWN = "unknown"
    CAPTURED = "captured"
    DECLINED = "declined"
    VOIDED = "voided"
    IMPORTED = "imported"


P = PaymentStatus
PAYMENT_TRANSITIONS: dict[PaymentStatus, frozenset[PaymentStatus]] = {
    P.CREATED: frozenset({P.CAPTURED, P.DECLINED, P.UNKNOWN, P.VOIDED}),
    P.UNKNOWN: frozenset({P.CAPTURED, P.DECLINED, P.VOIDED}),
    P.CAPTURED: frozenset(),
    P.DECLINED: frozenset(),
    P.VOIDED: frozenset(),
    P.IMPORTED: frozenset(),
}

UNRESOLVED = tuple(status for status, reached in PAYMENT_TRANSITIONS.items() if reached)
_UNRESOLVED_SQL = text("status IN ('created', 'unknown')")


class RefundStatus(StrEnum):
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


R = RefundStatus
REFUND_TRANSITIONS: dict[RefundStatus, frozenset[RefundStatus]] = {
    R.PENDING: frozenset({R.SUCCEEDED, R.FAILED}),
    R.FAILED: frozenset({R.SUCCEEDED}),  # as another worker heard, the provider paid after all
    R.SUCCEEDED: frozenset(),
}


class Payment(Table, table=True):
    """The one payment of an order. Its id is the idempotency key at the provider.

    `run_at` is when the sweep may next act on it while it is unresolved; `woken_at` when the loop last woke a task for it.
    `refunded` is what has been promised back in refunds that have not failed, kept here so that the database itself
    refuses more than was taken.
    """

    __tablename__ = "payments"
    __table_args__ = (
        CheckConstraint(f"status IN ({', '.join(repr(s.value) for s in PaymentStatus)})", name="status_known"),
        CheckConstraint(f"amount BETWEEN 0 AND {MAX_AMOUNT}", name="amount_in_bounds"),
        CheckConstraint("refunded BETWEEN 0 AND amount", name="refunded_at_most_amount"),
        CheckConstraint("refunded = 0 OR status IN ('captured', 'imported')", name="refunded_only_if_taken"),
        CheckConstraint("(status = 'captured') = (provider_reference IS NOT NULL)", name="captured_has_reference"),
        Index("ix_payments_due", "run_at", postgresql_where=_UNRESOLVED_SQL, sqlite_where=_UNRESOLVED_SQL),  # the sweep
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    order_id: UUID = Field(foreign_key="orders.id", unique=True)
    status: str = Field(default=PaymentStatus.CREATED, sa_type=Text)
    method: str = Field(sa_type=Text)
    amount: int = Field(sa_type=BigInteger)
    currency: str = Field(sa_type=Text)
    refunded: int = Field(default=0, sa_type=BigInteger)
    provider_reference: str | None = Field(default=None, sa_type=Text)
    attempts: int = Field(default=0, sa_type=Integer)
    run_at: datetime = Field(sa_type=UtcDateTime)
    woken_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    updated_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class PaymentAttempt(Table, table=True):
    """One call to the provider about a payment: what was asked, what came back, how long it took."""

    __tablename__ = "payment_attempts"
    __table_args__ = (
        Index("ix_payment_attempts_payment_id", "payment_id", "started_at", "id"),  # the story of an order
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    payment_id: UUID = Field(foreign_key="payments.id")
    number: int = Field(sa_type=Integer)
    operation: str = Field(sa_type=Text)
    outcome: str = Field(sa_type=Text)
    detail: str | None = Field(default=None, sa_type=Text)
    started_at: datetime = Field(sa_type=UtcDateTime)
    duration_ms: int = Field(sa_type=Integer)


_SUCCEEDED_SQL = text("status = 'succeeded'")
_KEYED = text("idempotency_key IS NOT NULL")


class Refund(Table, table=True):
    """Money on its way back. Its id is the idempotency key at the provider; an imported one never goes there.

    With `restock` the goods of its lines come back into stock when it has succeeded. (actor, idempotency key) stays unique
    for ever, also after the key itself has been forgotten. `traceparent` is the trace of whoever asked for it.
    """

    __tablename__ = "refunds"
    __table_args__ = (
        CheckConstraint(f"status IN ({', '.join(repr(s.value) for s in RefundStatus)})", name="status_known"),
        CheckConstraint("amount > 0", name="amount_positive"),
        Index(
            "ix_refunds_due",
            "run_at",
            postgresql_where=text("status = 'pending'"),
            sqlite_where=text("status = 'pending'"),
        ),  # the sweep
        Index(
            "ix_refunds_succeeded",
            "created_at",
            postgresql_where=_SUCCEEDED_SQL,
            sqlite_where=_SUCCEEDED_SQL,
        ),  # analytics: money given back by time
        Index("ix_refunds_payment_id", "payment_id", "created_at", "id"),  # the refunds of a payment
        Index(
            "uq_refunds_actor_id_idempotency_key",
            "actor_id",
            "idempotency_key",
            unique=True,
            postgresql_where=_KEYED,
            sqlite_where=_KEYED,
        ),  # a key is its refund's for ever
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    payment_id: UUID = Field(foreign_key="payments.id")
    amount: int = Field(sa_type=BigInteger)
    currency: str = Field(sa_type=Text)
    reason: str = Field(sa_type=Text)
    actor_id: UUID | None = Field(default=None)
    idempotency_key: str | None = Field(default=None, sa_type=Text)
    restock: bool = Field(default=False, sa_type=Boolean, sa_column_kwargs={"server_default": text("false")})
    traceparent: str | None = Field(default=None, sa_type=Text)
    status: str = Field(default=RefundStatus.PENDING, sa_type=Text)
    provider_reference: str | None = Field(default=None, sa_type=Text)
    attempts: int = Field(default=0, sa_type=Integer)
    run_at: datetime = Field(sa_type=UtcDateTime)
    woken_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    updated_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class RefundLine(Table, table=True):
    """So many pieces of a line of the order are paid back. `line` is the line's number, from 1."""

    __tablename__ = "refund_lines"
    __table_args__ = (CheckConstraint("quantity > 0", name="quantity_positive"),)

    refund_id: UUID = Field(foreign_key="refunds.id", primary_key=True)
    line: int = Field(sa_type=Integer, primary_key=True)
    quantity: int = Field(sa_type=BigInteger)
