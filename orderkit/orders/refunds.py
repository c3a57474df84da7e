"""Giving money back. A refund is a row first; the worker takes it to the provider under the refund's id as key.

What is promised counts at once (`payments.refunded`), under the order's lock, so that all refunds together are never more
than was captured. Goods come back, and the order becomes `refunded`, when the provider has confirmed and not before: a
refund that is refused takes its promise back and leaves the rest as it was.

A full refund of an order that is paid and not shipped keeps it from being shipped: no booking is begun while all its
money is promised back (`fulfillment.shipping`). Once the refund succeeded the relay stops the fulfillment, as it does
for a cancel, and the goods, which never left, are put back, whether or not that was asked for. If it is refused, shipping
goes on. A booking that is under way already may still ship the order meanwhile; then it is refunded as a shipped one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from loguru import logger
from sqlalchemy import Connection, select

from orderkit import money, retry
from orderkit.clock import now
from orderkit.errors import Conflict, Invalid, NotFound
from orderkit.events import types
from orderkit.ids import new_id
from orderkit.orders import changes, refund_lines, snapshot
from orderkit.orders.changes import Change
from orderkit.orders.refund_lines import AskedLine, Pieces
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.orders.states import TRANSITIONS, OrderStatus
from orderkit.payments.charging import Attempt
from orderkit.payments.gateways import Refunded, RefundRefused, RefundResult
from orderkit.payments.models import Payment, PaymentAttempt, PaymentStatus, Refund, RefundLine, RefundStatus
from orderkit.rows import Writes, insert_rows, update_rows
from orderkit.settings import Settings

_refunds = Refund.__table__  # type: ignore[attr-defined]
_payments = Payment.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class DueRefund:
    """What the provider needs to give money back: `reference` is the capture's."""

    id: UUID
    payment_id: UUID
    order_id: UUID
    reference: str
    amount: int
    currency: str
    attempts: int


@dataclass(frozen=True, slots=True)
class OrderRefund:
    """A refund of an order. `amount` in minor units; `lines` are the pieces it is for, none if it was asked for by amount."""

    id: UUID
    order_id: UUID
    amount: int
    currency: str
    status: str
    reason: str
    restock: bool
    lines: tuple[Pieces, ...]
    created_at: datetime
    updated_at: datetime


def request(
    connection: Connection,
    order_id: UUID,
    *,
    amount: int | None = None,
    lines: Sequence[AskedLine] | None = None,
    reason: str,
    restock: bool = False,
    actor_id: UUID | None = None,
    request_id: str | None = None,
    refund_id: UUID | None = None,
    idempotency_key: str | None = None,
) -> OrderRefund:
    """Promises `amount` back, or the price of `lines`, or, without either, all that is left; the worker pays it.

    With `restock` the goods come back when it succeeded: those of its lines, or, where all that is left is refunded, all
    that did not come back before. Raises NotFound; Invalid for lines that the order does not have, or goods that nobody
    named; Conflict, which tells what is `left`, for more than that or where no money was taken.
    """
    at = now()
    order = snapshot.lock(connection, [order_id]).get(order_id)
    if order is None:
        raise NotFound(f"there is no order {order_id}")
    left = _left(order)
    if restock and order.status == OrderStatus.CANCELLED:
        raise Conflict("the goods came back when the order was cancelled", facts={"left": left})
    snapshot.load_lines(connection, [order])
    pieces: tuple[Pieces, ...] = ()
    if lines is not None:
        taken = refund_lines.taken(connection, order.payment_id)
        pieces = refund_lines.allocate(lines, order.lines, taken, left=left)
        amount = sum(one.quantity * order.lines[one.line - 1].unit_price for one in pieces)
        if amount == 0:
            raise Invalid("these lines cost nothing", pointers=[("#/lines", "come to nothing")])
    elif amount is None:
        amount = left
    if left == 0 or amount > left:
        raise Conflict(
            "all that was paid is refunded, or on its way" if left == 0 else f"only {left} is left to be refunded",
            facts={"left": left, "currency": order.currency},
        )
    if restock and lines is None and amount < left:
        raise Invalid(
            "say which goods come back: refund by lines, or all that is left",
            pointers=[("#/restock", "needs lines, unless all that is left is refunded")],
        )
    row = _promise(
        connection,
        order,
        amount,
        reason,
        at=at,
        refund_id=refund_id or new_id(),
        actor_id=actor_id,
        restock=restock,
        idempotency_key=idempotency_key,
    )
    insert_rows(
        connection,
        RefundLine,
        [{"refund_id": row["id"], "line": one.line, "quantity": one.quantity} for one in pieces],
    )
    why = f"refund of {money.to_text(amount, order.currency)} asked for: {reason}"
    changes.edit(connection, order, {}, why, actor_id=actor_id, request_id=request_id, at=at)
    status = RefundStatus.PENDING.value
    return OrderRefund(row["id"], order.id, amount, order.currency, status, reason, restock, pieces, at, at)


def _left(order: OrderSnapshot) -> int:
    """What can still be promised back, in minor units. Raises Conflict where orderkit took no money."""
    match order.payment_status:
        case PaymentStatus.CAPTURED:
            return order.total - order.refunded
        case PaymentStatus.IMPORTED:
            raise Conflict(
                "the order was imported and paid elsewhere; its money has to go back where it was paid",
                facts={"left": 0},
            )
        case status:
            raise Conflict(f"the payment is {status}; there is nothing to give back", facts={"left": 0})


def queue_rest(connection: Connection, order: OrderSnapshot, reason: str, *, at: datetime) -> None:
    """Queues a refund of all that is left of a locked order's captured payment; nothing when nothing is left."""
    left = order.total - order.refunded
    if left:
        _promise(connection, order, left, reason, at=at, refund_id=new_id())


def _promise(
    connection: Connection,
    order: OrderSnapshot,
    amount: int,
    reason: str,
    *,
    at: datetime,
    refund_id: UUID,
    actor_id: UUID | None = None,
    restock: bool = False,
    idempotency_key: str | None = None,
) -> dict[str, Any]:
    """Writes a pending refund of a locked order, due at once, and counts it as given back."""
    given = {"id": order.payment_id, "refunded": amount, "updated_at": at}
    update_rows(connection, Payment, [given], add=("refunded",))
    order.refunded += amount
    row = {
        "id": refund_id,
        "payment_id": order.payment_id,
        "amount": amount,
        "currency": order.currency,
        "reason": reason,
        "actor_id": actor_id,
        "idempotency_key": idempotency_key,
        "restock": restock,
        "status": RefundStatus.PENDING.value,
        "attempts": 0,
        "run_at": at,
        "created_at": at,
        "updated_at": at,
    }
    insert_rows(connection, Refund, [row])
    return row


def claim(connection: Connection, refund_id: UUID, *, settings: Settings) -> DueRefund | None:
    """The refund, if it is due, kept from others for a lease. Two callers would do no harm: the provider knows the key."""
    at = now()
    row = connection.execute(
        select(_refunds, _payments.c.order_id, _payments.c.provider_reference.label("capture"))
        .join_from(_refunds, _payments, _payments.c.id == _refunds.c.payment_id)
        .where(_refunds.c.id == refund_id, _refunds.c.status == RefundStatus.PENDING.value, _refunds.c.run_at <= at)
        .with_for_update(key_share=True, of=_refunds)
        .execution_options(query="refunds.claim")
    ).first()
    if row is None:
        return None
    lease = at + timedelta(seconds=settings.lease)
    update_rows(connection, Refund, [{"id": refund_id, "run_at": lease, "woken_at": None}])
    return DueRefund(row.id, row.payment_id, row.order_id, row.capture, row.amount, row.currency, row.attempts)


def settle(
    connection: Connection, refund: DueRefund, result: RefundResult, attempts: Sequence[Attempt], *, settings: Settings
) -> None:
    """Records what the provider said and draws the consequence. Refused: the promise is taken back. Unknown: asked again
    later, under the same key.

    Locks the order before the refund, as everyone does. An answer to a refund that is settled changes nothing.
    """
    at = now()
    order = snapshot.lock(connection, [refund.order_id])[refund.order_id]
    found = select(_refunds).where(_refunds.c.id == refund.id).with_for_update(key_share=True)
    row = connection.execute(found).one()
    made = attempts[-1].number if attempts else refund.attempts
    if row.status == RefundStatus.PENDING:
        _decide(connection, order, row, result, at, made=made, settings=settings)
    elif isinstance(result, Refunded) and row.status != RefundStatus.SUCCEEDED:
        logger.bind(refund_id=str(refund.id)).error("refund {} failed but the provider gave it back", refund.id)
    record_attempts(connection, [(refund.payment_id, attempt) for attempt in attempts])


def _decide(
    connection: Connection,
    order: OrderSnapshot,
    row: Any,
    result: RefundResult,
    at: datetime,
    *,
    made: int,
    settings: Settings,
) -> None:
    written = {
        "id": row.id,
        "status": RefundStatus.PENDING.value,
        "provider_reference": None,
        "attempts": made,
        "run_at": at + retry.delay(max(made, 1), base=settings.retry_base, cap=settings.retry_cap),
        "woken_at": None,
        "updated_at": at,
    }
    open_still = {"status": (RefundStatus.PENDING.value,)}
    if isinstance(result, Refunded):
        snapshot.load_lines(connection, [order])
        already = refund_lines.restocked(connection, order)  # before this one counts
        written |= {"status": RefundStatus.SUCCEEDED.value, "provider_reference": result.reference}
        update_rows(connection, Refund, [written], only_if=open_still)
        _succeeded(connection, order, row, already, at)
        return
    if isinstance(result, RefundRefused):
        written |= {"status": RefundStatus.FAILED.value}
        taken_back = {"id": order.payment_id, "refunded": -row.amount, "updated_at": at}
        update_rows(connection, Payment, [taken_back], add=("refunded",))
        order.refunded -= row.amount
        what = f"refund of {money.to_text(row.amount, row.currency)} refused by the provider: {result.code}"
        changes.edit(connection, order, {}, what, at=at)
    update_rows(connection, Refund, [written], only_if=open_still)


def _succeeded(connection: Connection, order: OrderSnapshot, row: Any, already: dict[int, int], at: datetime) -> None:
    """Tells of the money, puts goods back, and ends an order whose money has all gone back.

    A cancelled order stays so, and its goods came back with the cancel. Goods of an order that never left, because it ends
    while it is merely paid, all come back.
    """
    what = f"refund of {money.to_text(row.amount, row.currency)} paid back"
    told = types.refund_part(row.id, row.amount, row.created_at)
    changes.edit(connection, order, {}, what, at=at, event=types.ORDER_REFUND_SUCCEEDED, more=told)
    if order.status == OrderStatus.CANCELLED:
        return
    before = order.status
    whole = sum(amount for _at, amount in succeeded(connection, order)) == order.total
    if whole and OrderStatus.REFUNDED in TRANSITIONS[OrderStatus(before)]:
        changes.apply(connection, [Change(order, OrderStatus.REFUNDED, row.reason, row.actor_id)], at=at)
    if whole and before == OrderStatus.PAID:
        goods = None
    elif row.restock:
        goods = refund_lines.of_refunds(connection, [row.id])[row.id] or None
    else:
        return
    refund_lines.put_back(connection, order, goods, already, refund_id=row.id, author_id=row.actor_id, at=at)


def succeeded(connection: Connection, order: OrderSnapshot) -> list[tuple[datetime, int]]:
    """The refunds of an order that went back: when each was asked for, and its amount in minor units."""
    of_order = select(_refunds.c.created_at, _refunds.c.amount).where(
        _refunds.c.payment_id == order.payment_id, _refunds.c.status == RefundStatus.SUCCEEDED.value
    )
    return [(row.created_at, row.amount) for row in connection.execute(of_order.order_by(_refunds.c.created_at))]


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
