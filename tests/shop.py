"""A small shop to test against: places and pays orders without HTTP, and looks into the tables."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

from sqlmodel import col, select

from orderkit import clock
from orderkit.catalog.models import Product
from orderkit.db import Database
from orderkit.events.models import OutboxEvent
from orderkit.fulfillment import shipping
from orderkit.fulfillment.carriers import Booked, BookResult, Recalled, RecallResult, Rejected
from orderkit.fulfillment.models import DeadLetter, Fulfillment, FulfillmentAttempt
from orderkit.ids import new_id
from orderkit.orders.models import Order, OrderHistory
from orderkit.orders.placement import Placement, PlaceOrder
from orderkit.orders.pricing import Line
from orderkit.orders.settlement import Settle, Settled, Settlement
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.payments.gateways import Captured
from orderkit.payments.models import Payment, Refund
from orderkit.settings import Settings
from orderkit.worker.relay import Relay
from tests.factories import make_product, make_user

SKU = "TEA"
STOCK = 100
PRICE = 500


class Shop:
    """One customer, one product of PRICE minor units with STOCK pieces."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings
        self.relay = Relay(database)
        self._keys = itertools.count()
        make_product(database, sku=SKU, stock=STOCK, unit_price=PRICE)
        self.user_id = make_user(database).id

    def place(
        self, *, quantity: int = 1, postal_code: str | None = None, method: str = "pm_card_visa"
    ) -> OrderSnapshot:
        """A pending order whose payment nobody has asked for yet, and which the sweep may take up at once."""
        address = {"name": "A", "line1": "1 Road", "city": "C", "country": "GB", "postal_code": postal_code or "AB1"}
        request = PlaceOrder(
            new_id(),
            self.user_id,
            f"key-{next(self._keys)}",
            "fingerprint",
            (Line(SKU, quantity),),
            method,
            shipping_address=address,
        )
        (placed,) = Placement(self.database, self.settings).place([request])
        assert isinstance(placed, OrderSnapshot)
        with self.database.transaction() as session:
            payment = session.get_one(Payment, placed.payment_id)
            payment.run_at = clock.now()
            session.add(payment)
        return placed

    def paid(self, *, quantity: int = 1, postal_code: str | None = None) -> OrderSnapshot:
        """A paid order; its event waits in the outbox."""
        placed = self.place(quantity=quantity, postal_code=postal_code)
        captured = Captured(f"ch_{placed.payment_id.hex}")
        (settled,) = Settlement(self.database, self.settings).settle([Settle(placed.id, captured)])
        assert isinstance(settled, Settled)
        return settled.order

    def queued(self, *, quantity: int = 1, postal_code: str | None = None) -> Fulfillment:
        """The fulfillment of an order that has just been paid."""
        order = self.paid(quantity=quantity, postal_code=postal_code)
        while self.relay.turn():
            pass
        return self.fulfillment(order.id)

    def dead(self, *, quantity: int = 1, reason: str = "address_not_served") -> DeadLetter:
        """The letter of a parcel that the carrier rejected just now."""
        queued = self.queued(quantity=quantity)
        with self.database.transaction() as session:
            claim = shipping.claim(session.connection(), queued.id, settings=self.settings)
        assert claim is not None
        with self.database.transaction() as session:
            rejected = Rejected(reason)
            shipping.finish(session.connection(), claim, rejected, duration_ms=7, settings=self.settings)
        with self.database.reading() as session:
            of_one = select(DeadLetter).where(DeadLetter.fulfillment_id == queued.id)
            return session.exec(of_one).one()

    def order(self, order_id: UUID) -> Order:
        with self.database.reading() as session:
            return session.get_one(Order, order_id)

    def payment(self, order_id: UUID) -> Payment:
        with self.database.reading() as session:
            return session.exec(select(Payment).where(Payment.order_id == order_id)).one()

    def fulfillments(self, order_id: UUID) -> list[Fulfillment]:
        with self.database.reading() as session:
            return list(session.exec(select(Fulfillment).where(Fulfillment.order_id == order_id)))

    def fulfillment(self, order_id: UUID) -> Fulfillment:
        [one] = self.fulfillments(order_id)
        return one

    def attempts(self, fulfillment_id: UUID) -> list[FulfillmentAttempt]:
        of_one = select(FulfillmentAttempt).where(FulfillmentAttempt.fulfillment_id == fulfillment_id)
        with self.database.reading() as session:
            return list(session.exec(of_one.order_by(col(FulfillmentAttempt.token))))

    def outcomes(self, fulfillment_id: UUID) -> list[str]:
        return [attempt.outcome for attempt in self.attempts(fulfillment_id)]

    def history(self, order_id: UUID) -> list[str]:
        of_one = select(OrderHistory).where(OrderHistory.order_id == order_id).order_by(col(OrderHistory.version))
        with self.database.reading() as session:
            return [row.to_status for row in session.exec(of_one)]

    def events(self, order_id: UUID) -> list[str]:
        of_one = select(OutboxEvent).where(OutboxEvent.order_id == order_id).order_by(col(OutboxEvent.sequence))
        with self.database.reading() as session:
            return [row.type for row in session.exec(of_one)]

    def all(self, model: type[Any]) -> list[Any]:
        with self.database.reading() as session:
            return list(session.exec(select(model)))

    def letter(self) -> DeadLetter:
        with self.database.reading() as session:
            return session.exec(select(DeadLetter)).one()

    def refunds(self) -> Sequence[Refund]:
        return self.all(Refund)

    def stock(self) -> int:
        with self.database.reading() as session:
            return session.get_one(Product, SKU).stock


Step = BookResult | Callable[[], Awaitable[BookResult]]


class ScriptedCarrier:
    """Answers as told, in turn, then books everything. Keeps every call that it got."""

    name = "scripted"

    def __init__(self, *bookings: Step, recalls: Sequence[RecallResult] = ()) -> None:
        self.booked: list[UUID] = []
        self.attempts: list[int] = []
        self.recalled: list[UUID] = []
        self._bookings = deque(bookings)
        self._recalls = deque(recalls)

    async def book(
        self, *, key: UUID, order_id: UUID, address: dict[str, str] | None, amount: int, currency: str, attempt: int
    ) -> BookResult:
        self.booked.append(key)
        self.attempts.append(attempt)
        step = self._bookings.popleft() if self._bookings else Booked(f"TR{key.hex}")
        return await step() if callable(step) else step

    async def cancel(self, *, key: UUID) -> RecallResult:
        self.recalled.append(key)
        return self._recalls.popleft() if self._recalls else Recalled()
