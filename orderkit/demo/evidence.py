"""What is left behind when all is over, read where it is kept: the database's rows and the provider's ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select
from sqlmodel import SQLModel

from orderkit.db import Database
from orderkit.events.models import OutboxEvent
from orderkit.fulfillment.models import DeadLetter, Fulfillment
from orderkit.inventory.models import StockMovement
from orderkit.orders.models import Order, OrderItem
from orderkit.payments.models import UNRESOLVED, Payment, PaymentStatus, Refund, RefundStatus

UNDER_WAY = ("queued", "running", "retrying")
GAVE_BACK = ("payment_failed", "cancelled")
"""Orders in these states hold no goods."""


class Kept(NamedTuple):
    """An order, as it stands at the end. `left` is what of its money was not paid back, in minor units."""

    id: str
    key: str
    status: str
    left: int = 0


class Money(NamedTuple):
    """A capture or a refund, as both sides know it. `amount` in minor units."""

    key: str
    reference: str
    amount: int
    currency: str


class Parcel(NamedTuple):
    key: str
    tracking_number: str
    delivered: bool = False


class Stock(NamedTuple):
    """Pieces of a product: what came in, what is left, and what orders hold."""

    sku: str
    received: int
    left: int
    held: int


@dataclass(frozen=True, slots=True)
class Facts:
    """The database, in one snapshot: all orders, the money and the parcels that went, and what is left to be done."""

    orders: tuple[Kept, ...]
    captures: tuple[Money, ...]
    refunds: tuple[Money, ...]
    parcels: tuple[Parcel, ...]
    stock: tuple[Stock, ...]
    payments_unresolved: int
    parcels_under_way: int
    refunds_pending: int
    events_unsent: int
    dead_letters_open: int
    dead_letters: int

    @property
    def under_way(self) -> int:
        """How much is still to be done by somebody; a dead letter waits for a person and is not counted."""
        return self.payments_unresolved + self.parcels_under_way + self.refunds_pending + self.events_unsent


@dataclass(frozen=True, slots=True)
class Ledger:
    """The provider and the carrier, in their own words. Parcels that were cancelled are left out."""

    captures: tuple[Money, ...]
    refunds: tuple[Money, ...]
    parcels: tuple[Parcel, ...]


def read_ledger(ledger: Mapping[str, Any]) -> Ledger:
    """From what the simulator answers under GET /ledger."""
    return Ledger(
        captures=tuple(_money(entry) for entry in ledger["captures"]),
        refunds=tuple(_money(entry) for entry in ledger["refunds"]),
        parcels=tuple(
            Parcel(entry["key"], entry["reference"], entry["status"] == "delivered")
            for entry in ledger["bookings"]
            if entry["status"] != "cancelled"
        ),
    )


def _money(entry: Mapping[str, Any]) -> Money:
    return Money(entry["key"], entry["reference"], entry["amount"], entry["currency"])


def read_facts(database: Database) -> Facts:
    with database.reading() as session:
        connection = session.connection()
        orders, payments = _columns(Order), _columns(Payment)
        refunds, parcels, letters = _columns(Refund), _columns(Fulfillment), _columns(DeadLetter)
        kept = select(orders.id, orders.idempotency_key, orders.status, payments.amount - payments.refunded).where(
            payments.order_id == orders.id
        )
        captured = select(payments.id, payments.provider_reference, payments.amount, payments.currency)
        returned = select(refunds.id, refunds.provider_reference, refunds.amount, refunds.currency)
        went = select(parcels.id, parcels.tracking_number, parcels.delivered_at.is_not(None))
        return Facts(
            orders=tuple(Kept(str(one), *rest) for one, *rest in connection.execute(kept)),
            captures=tuple(
                Money(str(key), *rest)
                for key, *rest in connection.execute(captured.where(payments.status == PaymentStatus.CAPTURED))
            ),
            refunds=tuple(
                Money(str(key), *rest)
                for key, *rest in connection.execute(returned.where(refunds.status == RefundStatus.SUCCEEDED))
            ),
            parcels=tuple(
                Parcel(str(key), *rest) for key, *rest in connection.execute(went.where(parcels.status == "succeeded"))
            ),
            stock=_stock(connection),
            payments_unresolved=_count(connection, payments.status.in_(UNRESOLVED)),
            parcels_under_way=_count(connection, parcels.status.in_(UNDER_WAY) | parcels.recall_at.is_not(None)),
            refunds_pending=_count(connection, refunds.status == RefundStatus.PENDING),
            events_unsent=_count(connection, _columns(OutboxEvent).sent_at.is_(None)),
            dead_letters_open=_count(connection, letters.resolved_at.is_(None)),
            dead_letters=_count(connection, letters.id.is_not(None)),
        )


def _columns(model: type[SQLModel]) -> Any:
    return model.__table__.c  # type: ignore[attr-defined]


def _count(connection: Connection, condition: Any) -> int:
    return connection.execute(select(func.count()).where(condition)).scalar_one()


def _stock(connection: Connection) -> tuple[Stock, ...]:
    from orderkit.catalog.models import Product

    movements, items, orders, products = (_columns(one) for one in (StockMovement, OrderItem, Order, Product))
    received: Counter[str] = Counter()
    held: Counter[str] = Counter()
    received.update(
        dict(connection.execute(select(movements.sku, func.sum(movements.delta)).group_by(movements.sku)).all())
    )
    holding = (
        select(items.sku, func.sum(items.quantity))
        .where(items.order_id == orders.id, orders.status.not_in(GAVE_BACK))
        .group_by(items.sku)
    )
    held.update(dict(connection.execute(holding).all()))
    rows = connection.execute(select(products.sku, products.stock).order_by(products.sku))
    return tuple(Stock(sku, received[sku], left, held[sku]) for sku, left in rows)
