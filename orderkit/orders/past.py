"""Past orders: placed, paid and delivered elsewhere, and written here as they ended, in bulk.

They go through the functions that every order goes through, in transactions of many, but bring what placement would decide:
prices, dates and the outcome. No gateway or carrier hears of them. Their goods came and went before, so each batch records
the receipt of exactly the pieces that it ships; what is left of a product stays as it is and no product is locked.

(user, key) is what makes it safe to bring the same orders again: those that are there are left alone, and get only refunds
that they do not have yet. Keys in `idempotency_keys` would add nothing, as they expire and nobody waits for an answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from orderkit.batches import in_one_transaction
from orderkit.clock import now
from orderkit.db import Database
from orderkit.events import outbox, types
from orderkit.idempotency import KeyId
from orderkit.ids import new_id
from orderkit.inventory import stock
from orderkit.orders import changes, numbers, placement, snapshot, states
from orderkit.orders.changes import Change
from orderkit.orders.models import Order, OrderHistory
from orderkit.orders.pricing import PricedLine
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.orders.states import OrderStatus
from orderkit.payments.models import Payment, PaymentStatus, Refund, RefundStatus
from orderkit.rows import any_of, insert_rows, pairs_of, update_rows

_orders = Order.__table__  # type: ignore[attr-defined]
_refunds = Refund.__table__  # type: ignore[attr-defined]

DECLINED = "payment declined"
"""What the history of a declined order says."""


@dataclass(frozen=True, slots=True)
class PastRefund:
    """Money that was given back, in minor units, more than 0. `id` is made from the source, so that it is given back once."""

    id: UUID
    amount: int
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class PastOrder:
    """An order that is over. `total` is the sum of its lines in minor units; `method` is how it was paid.

    If it was `declined`, its payment failed: it holds no goods and has no refunds.
    """

    order_id: UUID
    user_id: UUID
    idempotency_key: str
    lines: tuple[PricedLine, ...]
    currency: str
    total: int
    placed_at: datetime
    method: str
    note: str | None = None
    country: str | None = None
    refunds: tuple[PastRefund, ...] = ()
    declined: bool = False

    @property
    def key(self) -> KeyId:
        return KeyId(self.user_id, self.idempotency_key)


@dataclass(frozen=True, slots=True)
class Brought:
    """What became of a past order: whether it is new, and how many refunds are."""

    created: bool
    refunds: int


@dataclass(frozen=True, slots=True)
class Differs:
    """(user, key) is an order already, of another total; it was left alone."""

    total: int
    currency: str


Outcome = Brought | Differs


@dataclass(frozen=True, slots=True)
class Written:
    """What one transaction added to the past: `orders` as they were before their `refunds`, each refund with its order and
    its amount in minor units, and those orders that the refunds `ended`."""

    orders: Sequence[OrderSnapshot]
    refunds: Sequence[tuple[OrderSnapshot, PastRefund, int]]
    ended: Sequence[OrderSnapshot]


AfterWriting = Callable[[Connection, Written], None]
"""Called last in the transaction, to have what is derived from orders written along with them."""


class PastOrders:
    """Brings in lists of past orders. `reason` goes into their histories; with `announce` each sends `order.imported`."""

    def __init__(self, database: Database, *, reason: str, announce: bool, after: AfterWriting | None = None) -> None:
        self._database = database
        self._reason = reason
        self._announce = announce
        self._after = after

    def bring_in(self, members: Sequence[PastOrder]) -> list[Outcome]:
        """One outcome for each member, in order; all in one transaction. No key may be among `members` twice.

        Raises what the database answers when it refuses a member (the others are kept).
        """
        outcomes = in_one_transaction(self._database, members, self._bring_in)
        settled: list[Outcome] = []
        for member, outcome in zip(members, outcomes, strict=True):
            if isinstance(outcome, IntegrityError):  # another import may have brought it since it was looked for
                [outcome] = in_one_transaction(self._database, [member], self._bring_in)
            if isinstance(outcome, Exception):
                raise outcome
            settled.append(outcome)
        return settled

    def _bring_in(self, connection: Connection, members: Sequence[PastOrder], _rerun: bool) -> list[Outcome]:
        at = now()
        there = known(connection, [one.key for one in members])
        fresh = [one for one in members if one.key not in there]
        written = self._write(connection, fresh, at)
        ids = {one.key: there[one.key].id if one.key in there else one.order_id for one in members}
        same = [one for one in members if one.key not in there or _same(one, there[one.key])]
        given, ended = _refund(connection, {ids[one.key]: one.refunds for one in same if one.refunds})
        if self._after is not None and (written or given):
            self._after(connection, Written(written, given, ended))
        refunded = Counter(order.id for order, _refund, _amount in given)
        outcomes: list[Outcome] = []
        for one in members:
            row = there.get(one.key)
            if row is not None and not _same(one, row):
                outcomes.append(Differs(row.total, row.currency))
            else:  # after a lost COMMIT a rerun finds its own id
                outcomes.append(Brought(row is None or row.id == one.order_id, refunded[ids[one.key]]))
        return outcomes

    def _write(self, connection: Connection, members: Sequence[PastOrder], at: datetime) -> Sequence[OrderSnapshot]:
        if not members:
            return ()
        taken = numbers.take(connection, len(members))
        orders = [as_it_ended(one, number) for one, number in zip(members, taken, strict=True)]
        placement.write_orders(connection, orders)
        history = [row for one, order in zip(members, orders, strict=True) for row in self._history(one, order)]
        insert_rows(connection, OrderHistory, history)
        placement.write_payments(connection, orders, [order.updated_at for order in orders])
        pass_goods_through(connection, members, self._reason)
        if self._announce:
            outbox.record(connection, [self._event(order) for order in orders], at=at)
        return orders

    def _history(self, one: PastOrder, order: OrderSnapshot) -> list[dict[str, Any]]:
        if not one.declined:
            return [changes.history_row(Change(order, OrderStatus.DELIVERED, self._reason), None, 1, one.placed_at)]
        placed = Change(order, OrderStatus.PENDING, self._reason)
        failed = Change(order, OrderStatus.PAYMENT_FAILED, DECLINED)
        return [
            changes.history_row(placed, None, 1, one.placed_at),
            changes.history_row(failed, OrderStatus.PENDING.value, 2, one.placed_at),
        ]

    def _event(self, order: OrderSnapshot) -> outbox.Event:
        payload = types.order_payload(
            user_id=order.user_id,
            currency=order.currency,
            total=order.total,
            country=order.country,
            reason=self._reason,
        )
        return outbox.Event(order.id, order.version, types.ORDER_IMPORTED, payload)


def pass_goods_through(connection: Connection, members: Sequence[PastOrder], reason: str) -> None:
    """Records the receipt of exactly the pieces that those orders ship, as of the first of them."""
    shipped: Counter[str] = Counter()
    for one in members:
        if not one.declined:
            for line in one.lines:
                shipped[line.sku] += line.quantity
    if shipped:
        first = min(one.placed_at for one in members if not one.declined)
        stock.pass_through(connection, shipped, reason, at=first)


def known(connection: Connection, keys: Sequence[KeyId]) -> dict[KeyId, Any]:
    """Rows of id, total and currency of those keys that are orders already."""
    columns = (_orders.c.id, _orders.c.user_id, _orders.c.idempotency_key, _orders.c.total, _orders.c.currency)
    found = pairs_of(connection, (_orders.c.user_id, _orders.c.idempotency_key), keys)
    return {KeyId(row.user_id, row.idempotency_key): row for row in connection.execute(select(*columns).where(found))}


def _same(one: PastOrder, row: Any) -> bool:
    return bool(row.total == one.total and row.currency == one.currency)


def as_it_ended(one: PastOrder, number: int) -> OrderSnapshot:
    """The order before any refund."""
    return OrderSnapshot(
        id=one.order_id,
        user_id=one.user_id,
        idempotency_key=one.idempotency_key,
        status=(OrderStatus.PAYMENT_FAILED if one.declined else OrderStatus.DELIVERED).value,
        currency=one.currency,
        total=one.total,
        shipping_address=None,
        note=one.note,
        version=2 if one.declined else 1,
        created_at=one.placed_at,
        updated_at=one.placed_at,
        payment_id=new_id(),
        payment_status=(PaymentStatus.DECLINED if one.declined else PaymentStatus.IMPORTED).value,
        payment_method=one.method,
        provider_reference=None,
        payment_attempts=0,
        refunded=0,
        number=number,
        country=one.country,
        items=one.lines,
    )


def _refund(
    connection: Connection, wanted: dict[UUID, tuple[PastRefund, ...]]
) -> tuple[list[tuple[OrderSnapshot, PastRefund, int]], list[OrderSnapshot]]:
    """Writes those refunds that are not there yet; the new ones, and the orders that ended with them.

    No more is given back than is left, since others may have refunded an order after it came in. An order of which nothing
    is left is `refunded`.
    """
    new: list[tuple[OrderSnapshot, PastRefund, int]] = []
    refund_ids = [refund.id for refunds in wanted.values() for refund in refunds]
    if not refund_ids:
        return new, []
    found = connection.execute(select(_refunds.c.id).where(any_of(connection, _refunds.c.id, refund_ids)))
    there = {row.id for row in found}
    missing = {order_id: [one for one in refunds if one.id not in there] for order_id, refunds in wanted.items()}
    orders = snapshot.lock(connection, [order_id for order_id, refunds in missing.items() if refunds])
    rows: list[dict[str, Any]] = []
    payments: list[dict[str, Any]] = []
    ended: list[tuple[OrderSnapshot, PastRefund]] = []
    for order in orders.values():
        given = up_to_what_is_left(order, missing[order.id])
        if not given:
            continue
        rows += [_refund_row(order, refund, amount) for refund, amount in given]
        total, last = sum(amount for _, amount in given), given[-1][0]
        payments.append({"id": order.payment_id, "refunded": total, "updated_at": max(last.at, order.updated_at)})
        new += [(order, refund, amount) for refund, amount in given]
        if order.refunded + total == order.total:
            ended.append((order, last))
    insert_rows(connection, Refund, rows)
    update_rows(connection, Payment, payments, add=("refunded",), only_if={"status": (PaymentStatus.IMPORTED.value,)})
    _end(connection, ended)
    return new, [order for order, _last in ended]


def up_to_what_is_left(order: OrderSnapshot, refunds: Sequence[PastRefund]) -> list[tuple[PastRefund, int]]:
    left = order.total - order.refunded
    given: list[tuple[PastRefund, int]] = []
    for refund in sorted(refunds, key=lambda one: one.at):
        amount = min(refund.amount, left)
        if amount:
            given.append((refund, amount))
            left -= amount
    return given


def _refund_row(order: OrderSnapshot, refund: PastRefund, amount: int) -> dict[str, Any]:
    return {
        "id": refund.id,
        "payment_id": order.payment_id,
        "amount": amount,
        "currency": order.currency,
        "reason": refund.reason,
        "status": RefundStatus.SUCCEEDED.value,
        "attempts": 0,
        "run_at": refund.at,
        "created_at": refund.at,
        "updated_at": refund.at,
    }


def _end(connection: Connection, ended: Sequence[tuple[OrderSnapshot, PastRefund]]) -> None:
    """Delivered orders of which all was given back become `refunded`, as of their last refund."""
    for order, _ in ended:
        states.check(order.status, OrderStatus.REFUNDED)
    insert_rows(
        connection,
        OrderHistory,
        [
            changes.history_row(
                Change(order, OrderStatus.REFUNDED, last.reason), order.status, order.version + 1, last.at
            )
            for order, last in ended
        ],
    )
    rows = [
        {"id": order.id, "status": OrderStatus.REFUNDED.value, "version": order.version + 1, "updated_at": last.at}
        for order, last in ended
    ]
    update_rows(connection, Order, rows)
