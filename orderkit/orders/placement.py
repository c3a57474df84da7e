"""Placing orders: keys are claimed, lines priced, stock taken and orders written, for a whole list in one transaction.

Nothing here talks to a payment provider. After the commit an order is `pending` and its payment `created`; whoever placed it
charges and settles, and if they die, the worker's sweep does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from orderkit import idempotency
from orderkit.auth import sessions
from orderkit.auth.sessions import Holder
from orderkit.batches import in_one_transaction
from orderkit.catalog import prices
from orderkit.clock import now
from orderkit.db import Database
from orderkit.errors import KeyExpired, OrderkitError
from orderkit.events import outbox
from orderkit.idempotency import Abandoned, Answer, KeyId, Replay
from orderkit.ids import new_id
from orderkit.inventory import low_stock, stock
from orderkit.orders import changes, pricing, snapshot
from orderkit.orders.models import Order, OrderHistory, OrderItem
from orderkit.orders.numbers import Numbers, Reserved
from orderkit.orders.pricing import Line
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.orders.states import OrderStatus
from orderkit.payments.models import Payment, PaymentStatus
from orderkit.rows import Writes, insert_rows, pairs_of
from orderkit.settings import Settings

_orders = Order.__table__  # type: ignore[attr-defined]

Outcome = OrderSnapshot | Replay | Abandoned
"""Placed just now; or placed before, and answered; or placed before by a request that died."""


@dataclass(frozen=True, slots=True)
class PlaceOrder:
    """A request to place an order. `order_id`, made by the caller, is also the token of its claim on the key.

    `traceparent` is the request's place in its trace, where the work for the order goes on.

    `session_id` is whose login it came in; None for an API key's, which was asked for just before.

    With a `currency` all lines are priced in that, and without one each in its product's own.

    With `answer_at_once` the order is answered as it is placed, and the worker charges it.
    """

    order_id: UUID
    user_id: UUID
    idempotency_key: str
    fingerprint: str
    items: tuple[Line, ...]
    payment_method: str
    currency: str | None = None
    expected_total: int | None = None
    shipping_address: dict[str, Any] | None = None
    note: str | None = None
    metadata: dict[str, str] | None = None
    request_id: str | None = None
    traceparent: str | None = None
    session_id: UUID | None = None
    answer_at_once: Callable[[OrderSnapshot], Answer] | None = None

    @property
    def key(self) -> KeyId:
        return KeyId(self.user_id, self.idempotency_key)

    @property
    def holder(self) -> Holder:
        return Holder(self.user_id, self.session_id)


def location(order_id: UUID) -> str:
    return f"/orders/{order_id}"


class Placement:
    """Places lists of orders. Thread-safe."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._numbers = Numbers(database)
        self._lease = timedelta(seconds=settings.lease)
        self._ttl = timedelta(days=settings.idempotency_ttl_days)

    def place(self, members: Sequence[PlaceOrder]) -> list[Outcome | Exception]:
        """One outcome for each member, in order; errors of a member (OutOfStock, KeyReused, …) are outcomes too."""
        with self._numbers.reserved(len(members)) as numbers:
            act = partial(self._place, numbers)
            outcomes: list[Outcome | Exception] = in_one_transaction(self._database, members, act)
        return [
            self._explained(member, outcome) if isinstance(outcome, IntegrityError) else outcome
            for member, outcome in zip(members, outcomes, strict=True)
        ]

    def _place(
        self, numbers: Reserved, connection: Connection, members: Sequence[PlaceOrder], rerun: bool
    ) -> list[Outcome | Exception]:
        at = now()
        outcomes: dict[UUID, Outcome | Exception] = {}
        claimed = self._claim(connection, members, at, outcomes)
        if rerun:
            # The COMMIT that failed may have happened, or been under way until the claim had waited for it: not before.
            outcomes.update(snapshot.load(connection, [one.order_id for one in claimed]))
            claimed = [one for one in claimed if one.order_id not in outcomes]
        self._place_claimed(numbers, connection, claimed, at, outcomes)
        lost = [one for one in claimed if isinstance(outcomes[one.order_id], Exception)]
        idempotency.release(connection, [one.key for one in lost])
        old = [one for one in members if isinstance(outcomes[one.order_id], KeyExpired)]
        outcomes.update(_expired(connection, [*lost, *old]))
        return [outcomes[one.order_id] for one in members]

    def _claim(
        self,
        connection: Connection,
        members: Sequence[PlaceOrder],
        at: datetime,
        outcomes: dict[UUID, Outcome | Exception],
    ) -> list[PlaceOrder]:
        """Those members whose keys are theirs now; the others get their outcomes."""
        firsts: dict[KeyId, PlaceOrder] = {}
        for one in members:
            firsts.setdefault(one.key, one)
        rows = idempotency.claim(
            connection,
            (
                idempotency.Claim(key, one.fingerprint, one.order_id, {"session_id": one.session_id})
                for key, one in firsts.items()
            ),
            at=at,
            lease=self._lease,
            provided=sessions.ADMITTED,
        )
        if all(row.resource_id == firsts[key].order_id for key, row in rows.items()) and len(rows) == len(members):
            return list(members)
        # Some keys did not go in: they were claimed before, or whoever sends them may not. Only now is it asked which.
        admitted = sessions.admitted(connection, {one.holder for one in members}, at)
        mine: list[PlaceOrder] = []
        for one in members:
            row = rows.get(one.key)
            if row is not None and row.resource_id == one.order_id:
                mine.append(one)
            elif one.holder not in admitted:
                outcomes[one.order_id] = sessions.over()
            elif row is None:  # whoever held the key gave it up between the two statements
                outcomes[one.order_id] = idempotency.in_use()
            else:
                try:
                    outcomes[one.order_id] = idempotency.judge(row, one.fingerprint, at=at, ttl=self._ttl)
                except OrderkitError as error:
                    outcomes[one.order_id] = error
        return mine

    def _place_claimed(
        self,
        numbers: Reserved,
        connection: Connection,
        members: Sequence[PlaceOrder],
        at: datetime,
        outcomes: dict[UUID, Outcome | Exception],
    ) -> None:
        """Prices and places those whose keys are theirs, giving stock out in the order of arrival."""
        if not members:
            return
        products = stock.lock(connection, (line.sku for one in members for line in one.items))
        elsewhere = {line.sku for one in members if one.currency is not None for line in one.items}
        asked = (
            prices.of(connection, elsewhere) if elsewhere else pricing.NO_PRICES
        )  # few ask, and the rest do not wait
        left = {sku: product.stock for sku, product in products.items()}
        placed: list[tuple[PlaceOrder, OrderSnapshot]] = []
        for one in members:
            try:
                quote = pricing.price(one.items, products, one.currency, asked)
                pricing.check_expected(quote, one.expected_total)
                needed = pricing.needs(one.items)
                pricing.check_stock(needed, left)
            except OrderkitError as error:
                outcomes[one.order_id] = error
                continue
            for sku, quantity in needed.items():
                left[sku] -= quantity
            order = _pending(one, quote, numbers.of(one.order_id), at)
            outcomes[one.order_id] = order
            placed.append((one, order))
        writes = Writes(connection, "orders.place")
        _write(writes, placed, at, self._lease)
        stock.change(writes, {sku: left[sku] - product.stock for sku, product in products.items()})
        outbox.record(writes, low_stock.crossed(products, left), at=at)
        idempotency.store(
            writes, {one.key: one.answer_at_once(order) for one, order in placed if one.answer_at_once is not None}
        )
        writes.send()

    def _explained(self, member: PlaceOrder, error: IntegrityError) -> Exception:
        """What a broken constraint means: the key's row was forgotten but its order is there."""
        try:
            with self._database.reading() as session:
                expired = _expired(session.connection(), [member])
        except SQLAlchemyError as failed:  # this member's bad luck only
            return failed
        if expired:
            return expired[member.order_id]
        return error


def _expired(connection: Connection, refused: Sequence[PlaceOrder]) -> dict[UUID, KeyExpired]:
    """Those refused whose key made an order once: that is what they must hear of, not of stock. It may be forgotten itself,
    and one that is merely too old may have made a refund."""
    if not refused:
        return {}
    of_keys = pairs_of(connection, (_orders.c.user_id, _orders.c.idempotency_key), [one.key for one in refused])
    rows = connection.execute(select(_orders.c.id, _orders.c.user_id, _orders.c.idempotency_key).where(of_keys))
    made = {KeyId(row.user_id, row.idempotency_key): row.id for row in rows}
    return {one.order_id: idempotency.expired(location(made[one.key])) for one in refused if one.key in made}


def _pending(one: PlaceOrder, quote: pricing.Quote, number: int, at: datetime) -> OrderSnapshot:
    return OrderSnapshot(
        id=one.order_id,
        user_id=one.user_id,
        idempotency_key=one.idempotency_key,
        status=OrderStatus.PENDING.value,
        currency=quote.currency,
        total=quote.total,
        shipping_address=one.shipping_address,
        note=one.note,
        version=1,
        created_at=at,
        updated_at=at,
        payment_id=new_id(),
        payment_status=PaymentStatus.CREATED.value,
        payment_method=one.payment_method,
        provider_reference=None,
        payment_attempts=0,
        refunded=0,
        number=number,
        metadata=one.metadata,
        country=one.shipping_address.get("country") if one.shipping_address else None,
        traceparent=one.traceparent,
        items=quote.lines,
    )


def _write(to: Writes, placed: Sequence[tuple[PlaceOrder, OrderSnapshot]], at: datetime, lease: timedelta) -> None:
    write_orders(to, [order for _, order in placed])
    first = [
        changes.Change(order, OrderStatus.PENDING, "placed", actor_id=one.user_id, request_id=one.request_id)
        for one, order in placed
    ]
    insert_rows(to, OrderHistory, [changes.history_row(change, None, 1, at) for change in first])
    # The request charges at once and needs less than its lease; only then may the sweep take it for dead.
    write_payments(to, [order for _, order in placed], [at if one.answer_at_once else at + lease for one, _ in placed])


def write_orders(to: Connection | Writes, orders: Sequence[OrderSnapshot]) -> None:
    """Inserts orders and their lines."""
    insert_rows(
        to,
        Order,
        [
            {
                "id": order.id,
                "user_id": order.user_id,
                "idempotency_key": order.idempotency_key,
                "status": order.status,
                "currency": order.currency,
                "total": order.total,
                "shipping_address": order.shipping_address,
                "country": order.country,
                "note": order.note,
                "number": order.number,
                "staff_note": order.staff_note,
                "metadata": order.metadata,
                "version": order.version,
                "traceparent": order.traceparent,
                "created_at": order.created_at,
                "updated_at": order.updated_at,
            }
            for order in orders
        ],
    )
    insert_rows(
        to,
        OrderItem,
        [
            {
                "order_id": order.id,
                "line": number,
                "sku": line.sku,
                "name": line.name,
                "quantity": line.quantity,
                "unit_price": line.unit_price,
                "line_total": line.line_total,
            }
            for order in orders
            for number, line in enumerate(order.lines, start=1)
        ],
    )


def write_payments(to: Connection | Writes, orders: Sequence[OrderSnapshot], run_at: Sequence[datetime]) -> None:
    """Inserts the one payment of each order, to be looked at by the sweep from its `run_at` on."""
    insert_rows(
        to,
        Payment,
        [
            {
                "id": order.payment_id,
                "order_id": order.id,
                "status": order.payment_status,
                "method": order.payment_method,
                "amount": order.total,
                "currency": order.currency,
                "refunded": order.refunded,
                "attempts": order.payment_attempts,
                "run_at": due,
                "created_at": order.created_at,
                "updated_at": order.updated_at,
            }
            for order, due in zip(orders, run_at, strict=True)
        ],
    )
