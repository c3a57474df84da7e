"""Settling payments: what the provider said becomes what the order is. One compare-and-set under the order's lock, used
alike by the request that charged, by the worker and by the sweep, so that it does not matter who comes first or twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from loguru import logger
from sqlalchemy import Connection

from orderkit import idempotency, retry
from orderkit.batches import in_one_transaction
from orderkit.clock import now
from orderkit.db import Database
from orderkit.errors import NotFound
from orderkit.events import types
from orderkit.idempotency import Answer, IdempotencyKey
from orderkit.inventory import stock
from orderkit.observability import metrics
from orderkit.orders import changes, pricing, refunds, snapshot
from orderkit.orders.changes import Change
from orderkit.orders.pricing import PricedLine
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.orders.states import OrderStatus
from orderkit.payments.charging import Attempt
from orderkit.payments.gateways import Captured, ChargeResult, Declined, Unknown, Voided, VoidResult
from orderkit.payments.models import UNRESOLVED, Payment, PaymentStatus
from orderkit.rows import Writes, update_rows
from orderkit.settings import Settings

CAPTURED_LATE = "payment captured after the order was cancelled"
"""What the history says of money that came and is not wanted any more; its refund is queued."""


@dataclass(frozen=True, slots=True)
class Settle:
    """What became of an order's payment. Without a `result` nothing changes and the order is answered as it stands.

    Only requests pass `answer`: it makes the answer that is stored for the key if none is there yet. `items` spares a query
    where the caller has the lines at hand.
    """

    order_id: UUID
    result: ChargeResult | VoidResult | None = None
    attempts: Sequence[Attempt] = ()
    answer: Callable[[OrderSnapshot], Answer] | None = None
    items: tuple[PricedLine, ...] | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """The order as it stands after settling and, for requests, the stored answer."""

    order: OrderSnapshot
    answer: Answer | None
    decided: str | None = None
    """The payment's status, if it was this settling that made it so."""


class Settlement:
    """Settles lists of payments. Thread-safe."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    def settle(self, members: Sequence[Settle]) -> list[Settled | Exception]:
        """One outcome for each member, in order."""
        outcomes = in_one_transaction(self._database, members, self._settle)
        _measure(outcomes)
        return outcomes

    def _settle(self, connection: Connection, members: Sequence[Settle], _rerun: bool) -> list[Settled | Exception]:
        orders = snapshot.lock(connection, [one.order_id for one in members])
        at = now()  # once the locks are had: whoever had one before wrote an earlier time
        for one in members:
            if one.order_id in orders and one.items is not None:
                orders[one.order_id].items = one.items
        work = _Work()
        for one in members:
            if one.order_id in orders:
                self._decide(work, orders[one.order_id], one, at)
        snapshot.load_lines(
            connection, [orders[one.order_id] for one in members if one.answer and one.order_id in orders]
        )
        writes = Writes(connection, "orders.settle")
        work.gather(writes, at)
        if work.refund:  # before the answers, which tell of it
            writes.send()
            work.undo(connection, at)
        answers = {
            order.key: one.answer(order) for one in members if one.answer and (order := orders.get(one.order_id))
        }
        idempotency.store(writes, answers)
        met = writes.send()
        if met[IdempotencyKey.__tablename__] < len(answers):
            answers = idempotency.stored(connection, answers)
        if not work.refund:
            work.undo(connection, at)
        return [
            Settled(order, answers.get(order.key), work.decided(order))
            if (order := orders.get(one.order_id))
            else NotFound(f"there is no order {one.order_id}")
            for one in members
        ]

    def _decide(self, work: _Work, order: OrderSnapshot, one: Settle, at: datetime) -> None:
        work.attempts += [(order.payment_id, attempt) for attempt in one.attempts]
        if order.payment_status not in UNRESOLVED:
            if isinstance(one.result, Captured) and order.payment_status != PaymentStatus.CAPTURED:
                logger.error("payment {} is {} but the provider captured it", order.payment_id, order.payment_status)
            return
        if one.result is None:
            return
        order.payment_attempts = max([order.payment_attempts, *(attempt.number for attempt in one.attempts)])
        due = at
        match one.result:
            case Captured(reference):
                order.payment_status, order.provider_reference = PaymentStatus.CAPTURED.value, reference
                self._captured(work, order, one, at)
            case Declined(code):
                order.payment_status = PaymentStatus.DECLINED.value
                work.fail(order, one, f"payment declined: {code}")
            case Voided():
                order.payment_status = PaymentStatus.VOIDED.value
                work.fail(order, one, "payment voided: the provider never confirmed it")
            case Unknown():
                order.payment_status = PaymentStatus.UNKNOWN.value
                settings = self._settings
                due += retry.delay(max(order.payment_attempts, 1), base=settings.retry_base, cap=settings.retry_cap)
        work.payments[order.id] = {
            "id": order.payment_id,
            "status": order.payment_status,
            "provider_reference": order.provider_reference,
            "attempts": order.payment_attempts,
            "run_at": due,
            "woken_at": None,
            "updated_at": at,
        }

    def _captured(self, work: _Work, order: OrderSnapshot, one: Settle, at: datetime) -> None:
        """Paid; unless the order was cancelled meanwhile, or the capture was found only when it was to be voided."""
        late = any(attempt.operation == "void" for attempt in one.attempts)
        if order.status == OrderStatus.PENDING and late:
            work.changes.append(Change(order, OrderStatus.CANCELLED, "payment confirmed too late; refunded"))
            work.give_back.append(order)
        elif order.status == OrderStatus.PENDING:
            work.changes.append(Change(order, OrderStatus.PAID, "payment captured", request_id=one.request_id))
            return
        work.refund.append(order)


class _Work:
    """What one settlement will write, gathered first so that each table is written once."""

    def __init__(self) -> None:
        self.payments: dict[UUID, dict[str, Any]] = {}
        self.attempts: list[tuple[UUID, Attempt]] = []
        self.changes: list[Change] = []
        self.give_back: list[OrderSnapshot] = []
        self.refund: list[OrderSnapshot] = []

    def decided(self, order: OrderSnapshot) -> str | None:
        written = self.payments.get(order.id)
        return None if written is None else str(written["status"])

    def fail(self, order: OrderSnapshot, one: Settle, reason: str) -> None:
        """No money came. A cancelled order stays so, and gave its stock back when it was cancelled."""
        if order.status == OrderStatus.PENDING:
            self.changes.append(Change(order, OrderStatus.PAYMENT_FAILED, reason, request_id=one.request_id))
            self.give_back.append(order)

    def gather(self, writes: Writes, at: datetime) -> None:
        unresolved = {"status": tuple(status.value for status in UNRESOLVED)}
        update_rows(writes, Payment, list(self.payments.values()), only_if=unresolved)
        refunds.record_attempts(writes, self.attempts)
        changes.apply(writes, self.changes, at=at)
        moved = {change.order.id for change in self.changes}
        for order in self.refund:
            if order.id not in moved:  # so that the stored answer has the version that the order has then
                _tell_of_late_money(writes, order, at)

    def undo(self, connection: Connection, at: datetime) -> None:
        """Gives back stock, and money that is not wanted: seldom, and after the payment is what it is now."""
        moved = {change.order.id for change in self.changes}
        for order in self.refund:
            if order.id in moved:  # one statement writes no row twice
                _tell_of_late_money(connection, order, at)
            refunds.queue_rest(connection, order, "the order was cancelled", at=at)
        snapshot.load_lines(connection, self.give_back)
        returned: Counter[str] = Counter()
        for order in self.give_back:
            returned.update(pricing.needs(order.lines))
        stock.give_back(connection, returned)


def _measure(outcomes: Sequence[Settled | Exception]) -> None:
    """Counts what was settled, after the commit: never twice. What a rerun finds done by a COMMIT that seemed lost is missed."""
    statuses: Counter[str] = Counter()
    captured: Counter[str] = Counter()
    # By order, for two members may be about one.
    for one in {one.order.id: one for one in outcomes if isinstance(one, Settled) and one.decided}.values():
        statuses[str(one.decided)] += 1
        if one.decided == PaymentStatus.CAPTURED:
            captured[one.order.currency] += one.order.total
    for status, number in statuses.items():
        metrics.payments_settled.labels(status).inc(number)
    for currency, amount in captured.items():
        metrics.money_captured.labels(currency).inc(amount)


def _tell_of_late_money(to: Connection | Writes, order: OrderSnapshot, at: datetime) -> None:
    changes.edit(to, order, {}, CAPTURED_LATE, at=at, event=types.ORDER_CAPTURED_LATE)
