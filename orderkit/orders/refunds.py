"""Giving money back. A refund is a row first; the worker takes it to the provider under the refund's id as key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, select

from orderkit import retry
from orderkit.clock import now
from orderkit.ids import new_id
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.payments.charging import Attempt
from orderkit.payments.gateways import Refunded, RefundRefused, RefundResult
from orderkit.payments.models import Payment, PaymentAttempt, Refund, RefundStatus
from orderkit.rows import Writes, insert_rows, update_rows
from orderkit.settings import Settings

_refunds = Refund.__table__  # type: ignore[attr-defined]
_payments = Payment.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class DueRefund:
    """What the provider needs to give money back: `reference` is the capture's."""

    id: UUID
    payment_id: UUID
    reference: str
    amount: int
    currency: str
    attempts: int


def queue_rest(connection: Connection, order: OrderSnapshot, reason: str, *, at: datetime) -> None:
    """Queues a refund of all that is left of a locked order's captured payment; nothing when nothing is left."""
    left = order.total - order.refunded
    if left == 0:
        return
    update_rows(connection, Payment, [{"id": order.payment_id, "refunded": left, "updated_at": at}], add=("refunded",))
    order.refunded += left
    insert_rows(
        connection,
        Refund,
        [
            {
                "id": new_id(),
                "payment_id": order.payment_id,
                "amount": left,
                "currency": order.currency,
                "reason": reason,
                "status": RefundStatus.PENDING.value,
                "attempts": 0,
                "run_at": at,
                "created_at": at,
                "updated_at": at,
            }
        ],
    )


def claim(connection: Connection, refund_id: UUID, *, settings: Settings) -> DueRefund | None:
    """The refund, if it is due, kept from others for a lease. Two callers would do no harm: the provider knows the key."""
    at = now()
    row = connection.execute(
        select(_refunds, _payments.c.provider_reference.label("capture"))
        .join_from(_refunds, _payments, _payments.c.id == _refunds.c.payment_id)
        .where(_refunds.c.id == refund_id, _refunds.c.status == RefundStatus.PENDING.value, _refunds.c.run_at <= at)
        .with_for_update(key_share=True, of=_refunds)
    ).first()
    if row is None:
        return None
    lease = at + timedelta(seconds=settings.lease)
    update_rows(connection, Refund, [{"id": refund_id, "run_at": lease, "woken_at": None}])
    return DueRefund(row.id, row.payment_id, row.capture, row.amount, row.currency, row.attempts)


def settle(
    connection: Connection, refund: DueRefund, result: RefundResult, attempts: Sequence[Attempt], *, settings: Settings
) -> None:
    """Records what the provider said. Refused: the promise is taken back. Unknown: asked again later, under the same key.

    Locks the payment before the refund, as everyone does.
    """
    at = now()
    connection.execute(
        select(_payments.c.id).where(_payments.c.id == refund.payment_id).with_for_update(key_share=True)
    )
    made = attempts[-1].number if attempts else refund.attempts
    row = {
        "id": refund.id,
        "status": RefundStatus.PENDING.value,
        "provider_reference": None,
        "attempts": made,
        "run_at": at + retry.delay(max(made, 1), base=settings.retry_base, cap=settings.retry_cap),
        "woken_at": None,
        "updated_at": at,
    }
    if isinstance(result, Refunded):
        row |= {"status": RefundStatus.SUCCEEDED.value, "provider_reference": result.reference}
    elif isinstance(result, RefundRefused):
        row |= {"status": RefundStatus.FAILED.value}
    open_still = {"status": (RefundStatus.PENDING.value,)}
    if update_rows(connection, Refund, [row], only_if=open_still, exact=False) and isinstance(result, RefundRefused):
        taken_back = {"id": refund.payment_id, "refunded": -refund.amount, "updated_at": at}
        update_rows(connection, Payment, [taken_back], add=("refunded",))
    record_attempts(connection, [(refund.payment_id, attempt) for attempt in attempts])


def record_attempts(to: Connection | Writes, attempts: Sequence[tuple[UUID, Attempt]]) -> None:
    """Keeps what was asked of the provider about payments, for the timeline."""
    insert_rows(
        to,
        PaymentAttempt,
        [
            {
                "id": one.id,
                "payment_id": payment_id,
                "number": one.number,
                "operation": one.operation,
                "outcome": one.outcome,
                "detail": one.detail,
                "started_at": one.started_at,
                "duration_ms": one.duration_ms,
            }
            for payment_id, one in attempts
        ],
        skip_existing=True,
    )
