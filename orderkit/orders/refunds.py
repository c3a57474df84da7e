"""Giving money back. A refund is a row first; the worker takes it to the provider under the refund's id as key.

What is promised counts at once (`payments.refunded`), under the order's lock, so that all refunds together are never more
than was captured. Goods come back, and the order becomes `refunded`, when the provider has confirmed and not before: a
refund that is refused takes its promise back and leaves the rest as it was.

A full refund of an order that is paid and not shipped keeps it from being shipped: no booking is begun while all its
money is promised back (`fulfillment.shipping`). Once the refund succeeded the relay stops the fulfillment, as it does
for a cancel, and the goods, which never left, are put back, whether or not that was asked for. If it is refused, shipping
goes on. A booking that is under way already may still ship the order meanwhile; then it is refunded as a shipped one.

Goods are restocked only of an order that has left, and an order that has left never holds goods again: so what a refund
restocks is what its own lines say, allocated under the order's lock, and no piece comes back twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from loguru import logger
from sqlalchemy import Connection, func, select

from orderkit import money, retry
from orderkit.clock import now
from orderkit.errors import Conflict, Invalid, NotFound
from orderkit.events import types
from orderkit.ids import new_id
from orderkit.inventory import stock
from orderkit.observability import context
from orderkit.orders import changes, pricing, refund_lines, snapshot
from orderkit.orders.changes import Change
from orderkit.orders.models import OrderHistory
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
_history = OrderHistory.__table__  # type: ignore[attr-defined]

GONE = (OrderStatus.SHIPPED, OrderStatus.DELIVERED)
"""The goods of these left the house, so that they can come back."""


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
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class OrderRefund:
    """A refund of an order. `amount` in minor units; `lines` are the pieces it is for, none if it is for money alone."""

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

    With `restock` the goods come back when it succeeded: those of its lines, or, where all that is left is refunded, the
    pieces that no refund was for yet, which become its lines. Raises NotFound; Invalid for lines that the order does not
    have, or goods that nobody named; Conflict, which tells what is `left`, for more than that, where no money was taken, or
    for goods that never left.
    """
    order = snapshot.lock(connection, [order_id]).get(order_id)
    if order is None:
        raise NotFound(f"there is no order {order_id}")
    at = now()  # once the lock is had: whoever had it before wrote an earlier time
    amount, pieces = _measure(connection, order, amount, lines, restock=restock)
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


def _measure(
    connection: Connection,
    order: OrderSnapshot,
    amount: int | None,
    lines: Sequence[AskedLine] | None,
    *,
    restock: bool,
) -> tuple[int, tuple[Pieces, ...]]:
    """What a refund of a locked order comes to, in minor units, and the pieces it is for. Raises like `request`."""
    left = _left(order)
    pieces: tuple[Pieces, ...] = ()
    if lines is not None or restock:
        snapshot.load_lines(connection, [order])
        taken = refund_lines.taken(connection, order.payment_id)
        ordered = order.lines
        pieces = (
            refund_lines.free(ordered, taken)
            if lines is None
            else refund_lines.allocate(lines, ordered, taken, left=left)
        )
    if lines is not None:
        amount = sum(one.quantity * order.lines[one.line - 1].unit_price for one in pieces)
        if amount == 0:
            raise Invalid("these lines cost nothing", pointers=[("#/lines", "come to nothing")])
    elif amount is None:
        amount = left
    if left == 0 or amount > left:
        raise Conflict(
            "all that was paid is refunded, or on its way"
            if left == 0
            else f"only {money.to_text(left, order.currency)} is left to be refunded",
            facts={"left": left, "currency": order.currency},
        )
    if restock and lines is None and amount < left:
        raise Invalid(
            "say which goods come back: refund by lines, or all that is left",
            pointers=[("#/restock", "needs lines, unless all that is left is refunded")],
        )
    if restock and order.status not in GONE:
        raise Conflict(
            "the goods came back when the order was cancelled"
            if order.status == OrderStatus.CANCELLED
            else "the goods have not left; cancel the order, or refund all of it",
            facts={"left": left},
        )
    return amount, pieces


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
    _count(connection, order, amount, at)
    row = {
        "id": refund_id,
        "payment_id": order.payment_id,
        "amount": amount,
        "currency": order.currency,
        "reason": reason,
        "actor_id": actor_id,
        "idempotency_key": idempotency_key,
        "restock": restock,
        # Of whoever asks; a settlement that gives back what came too late may be one of many in a batch.
        "traceparent": context.traceparent() or order.traceparent,
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
    return DueRefund(
        row.id, row.payment_id, row.order_id, row.capture, row.amount, row.currency, row.attempts, row.traceparent
    )


def settle(
    connection: Connection, refund: DueRefund, result: RefundResult, attempts: Sequence[Attempt], *, settings: Settings
) -> RefundStatus | None:
    """Records what the provider said and draws the consequence. Refused: the promise is taken back. Unknown: asked again
    later, under the same key. What this made the refund; None where it changed nothing.

    Locks the order before the refund, as everyone does. An answer to a refund that is settled changes nothing; but that one
    which was refused was paid all the same, as another worker heard, counts, if it fits into what is left.
    """
    order = snapshot.lock(connection, [refund.order_id])[refund.order_id]
    found = select(_refunds).where(_refunds.c.id == refund.id).with_for_update(key_share=True)
    row = connection.execute(found).one()
    at = now()
    made = attempts[-1].number if attempts else refund.attempts
    became: RefundStatus | None = None
    late = row.status == RefundStatus.FAILED and isinstance(result, Refunded)
    if late and not _fits_still(connection, order, row, at):
        told = logger.bind(order_id=str(order.id), refund_id=str(refund.id))
        told.error("refund {} failed but the provider gave it back, and it is more than is left", refund.id)
    elif late or row.status == RefundStatus.PENDING:
        became = _decide(connection, order, row, result, at, made=made, settings=settings)
    record_attempts(connection, [(refund.payment_id, attempt) for attempt in attempts])
    return became


def _fits_still(connection: Connection, order: OrderSnapshot, row: Any, at: datetime) -> bool:
    """Promises a failed refund of a locked order anew, if that much is left; pieces that another took since are not its own."""
    if row.amount > order.total - order.refunded:
        return False
    _count(connection, order, row.amount, at)
    snapshot.load_lines(connection, [order])
    refund_lines.keep_free(connection, row.id, order.lines, refund_lines.taken(connection, order.payment_id))
    what = f"refund of {money.to_text(row.amount, row.currency)} was paid by the provider after all"
    changes.edit(connection, order, {}, what, at=at)
    return True


def _count(connection: Connection, order: OrderSnapshot, amount: int, at: datetime) -> None:
    """Counts `amount` (minor units) of a locked order as given back, or, below 0, as not given back after all."""
    update_rows(
        connection, Payment, [{"id": order.payment_id, "refunded": amount, "updated_at": at}], add=("refunded",)
    )
    order.refunded += amount


def _decide(
    connection: Connection,
    order: OrderSnapshot,
    row: Any,
    result: RefundResult,
    at: datetime,
    *,
    made: int,
    settings: Settings,
) -> RefundStatus:
    written = {
        "id": row.id,
        "status": RefundStatus.PENDING.value,
        "provider_reference": None,
        "attempts": made,
        "run_at": at + retry.delay(max(made, 1), base=settings.retry_base, cap=settings.retry_cap),
        "woken_at": None,
        "updated_at": at,
    }
    as_read = {"status": (row.status,)}
    if isinstance(result, Refunded):
        written |= {"status": RefundStatus.SUCCEEDED.value, "provider_reference": result.reference}
        update_rows(connection, Refund, [written], only_if=as_read)
        _succeeded(connection, order, row, at)
        return RefundStatus.SUCCEEDED
    if isinstance(result, RefundRefused):
        written |= {"status": RefundStatus.FAILED.value}
        _refused(connection, order, row, result.code, at)
    update_rows(connection, Refund, [written], only_if=as_read)
    return RefundStatus(str(written["status"]))


def _refused(connection: Connection, order: OrderSnapshot, row: Any, code: str, at: datetime) -> None:
    """Takes the promise back. What a cancel left to a refund that was under way is promised once more, by a new refund.

    Only by one: of a refund that was asked for since the cancel, the refusal is final, and people have to see to the rest.
    """
    _count(connection, order, -row.amount, at)
    what = f"refund of {money.to_text(row.amount, row.currency)} refused by the provider: {code}"
    changes.edit(connection, order, {}, what, at=at)
    if order.status != OrderStatus.CANCELLED:
        return
    if row.created_at < cancelled_at(connection, order.id):
        queue_rest(connection, order, "the order was cancelled", at=at)
        return
    owed = money.to_text(order.owed, order.currency)
    logger.bind(order_id=str(order.id), refund_id=str(row.id)).error(
        "order {} is cancelled and {} of its money is owed: no refund of it is under way", order.id, owed
    )


def cancelled_at(connection: Connection, order_id: UUID) -> datetime:
    """When an order that is cancelled was."""
    when = select(func.min(_history.c.at)).where(
        _history.c.order_id == order_id, _history.c.to_status == OrderStatus.CANCELLED.value
    )
    found: datetime = connection.execute(when.execution_options(query="orders.cancelled_at")).scalar_one()
    return found


def _succeeded(connection: Connection, order: OrderSnapshot, row: Any, at: datetime) -> None:
    """Tells of the money, puts goods back, and ends an order whose money has all gone back.

    A cancelled order stays so, and its goods came back with the cancel. Goods of an order that never left, because it ends
    while it is merely paid, all come back; otherwise, with `restock`, those that the refund's lines say.
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
    goods: Counter[str] = Counter()
    snapshot.load_lines(connection, [order])
    if whole and before == OrderStatus.PAID:
        goods = pricing.needs(order.lines)
    elif row.restock:
        for line, quantity in refund_lines.of_refunds(connection, [row.id])[row.id]:
            goods[order.lines[line - 1].sku] += quantity
    if goods:
        stock.receive(connection, goods, f"restock of refund {row.id}", at=at, author_id=row.actor_id)


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
