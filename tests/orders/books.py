"""Everything that is written down about the orders of one customer, and what must hold of it whatever happened.

Written from the rules themselves and not with orderkit's own tables of them, so that a mistake there is one here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import UUID

from sqlalchemy import Select, bindparam, select

from orderkit.catalog.models import Product
from orderkit.db import Database
from orderkit.events.models import OutboxEvent
from orderkit.fulfillment.models import DeadLetter, Fulfillment
from orderkit.inventory.models import StockMovement
from orderkit.orders.models import Order, OrderHistory, OrderItem
from orderkit.payments.models import Payment, Refund
from tests.orders.outside import Carrier, Provider, reference

NEXT = {
    None: {"pending"},
    "pending": {"paid", "payment_failed", "cancelled"},
    "paid": {"shipped", "cancelled", "refunded"},
    "shipped": {"delivered", "refunded"},
    "delivered": {"refunded"},
    "payment_failed": set(),
    "cancelled": set(),
    "refunded": set(),
}
PAID_FOR = {"paid", "shipped", "delivered", "refunded"}
WITHOUT_GOODS = {"cancelled", "payment_failed"}
UNDER_WAY = {"queued", "running", "retrying"}
RESTOCK = "restock of refund "


@dataclass
class Story:
    """One order, with all that hangs on it. Rows as they are in the tables."""

    order: Any
    payment: Any
    lines: list[Any] = field(default_factory=list)
    history: list[Any] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    refunds: list[Any] = field(default_factory=list)
    fulfillments: list[Any] = field(default_factory=list)
    letters: list[Any] = field(default_factory=list)

    @property
    def status(self) -> str:
        return str(self.order.status)

    @property
    def version(self) -> int:
        return int(self.order.version)

    @property
    def fulfillment(self) -> Any:
        return self.fulfillments[0] if self.fulfillments else None

    @property
    def letter(self) -> Any:
        """The newest dead letter."""
        return self.letters[-1] if self.letters else None

    @property
    def ordered(self) -> Counter[str]:
        """Pieces by SKU."""
        pieces: Counter[str] = Counter()
        for line in self.lines:
            pieces[line.sku] += line.quantity
        return pieces

    @property
    def left(self) -> int:
        """What was captured and is not promised back, in minor units."""
        return self.payment.amount - self.promised if self.payment.status == "captured" else 0

    @property
    def promised(self) -> int:
        return sum(one.amount for one in self.refunds if one.status != "failed")

    @property
    def given_back(self) -> int:
        return sum(one.amount for one in self.refunds if one.status == "succeeded")


@dataclass
class Books:
    """The stories of a customer's orders by id, oldest first, and the stock of all products they are of."""

    stories: dict[UUID, Story]
    stock: dict[str, int]
    movements: list[Any]


def read(database: Database, user_id: UUID, skus: Sequence[str]) -> Books:
    """Reads it all in one go; nobody may be writing meanwhile."""
    with database.reading() as session:
        wanted = {"user_id": user_id, "skus": skus}
        found = {model: list(session.connection().execute(query, wanted)) for model, query in _QUERIES.items()}
    payment_of = {row.order_id: row for row in found[Payment]}
    stories = {row.id: Story(row, payment_of[row.id]) for row in found[Order]}
    for model, name in _PARTS.items():
        for row in found[model]:
            getattr(stories[row.order_id], name).append(row)
    order_of = {payment.id: order_id for order_id, payment in payment_of.items()}
    for row in found[Refund]:
        stories[order_of[row.payment_id]].refunds.append(row)
    return Books(stories, {row.sku: row.stock for row in found[Product]}, found[StockMovement])


_PARTS: dict[Any, str] = {
    OrderItem: "lines",
    OrderHistory: "history",
    OutboxEvent: "events",
    Fulfillment: "fulfillments",
    DeadLetter: "letters",
}


def _queries() -> Iterator[tuple[Any, Select[Any]]]:
    """Of each table what belongs to one user and some products, in order."""

    def columns(model: Any) -> Any:
        return model.__table__.c

    orders, payments, refunds = columns(Order), columns(Payment), columns(Refund)
    mine = orders.user_id == bindparam("user_id")
    ids = select(orders.id).where(mine).scalar_subquery()
    paid = select(payments.id).where(payments.order_id.in_(ids)).scalar_subquery()
    skus: Any = bindparam("skus", expanding=True)
    model: Any
    for model, condition, order in (
        (Order, mine, ("created_at", "idempotency_key")),
        (Payment, payments.order_id.in_(ids), ("id",)),
        (OrderItem, columns(OrderItem).order_id.in_(ids), ("line",)),
        (OrderHistory, columns(OrderHistory).order_id.in_(ids), ("version",)),
        (OutboxEvent, columns(OutboxEvent).order_id.in_(ids), ("sequence",)),
        (Fulfillment, columns(Fulfillment).order_id.in_(ids), ("created_at",)),
        (DeadLetter, columns(DeadLetter).order_id.in_(ids), ("created_at",)),
        (Refund, refunds.payment_id.in_(paid), ("created_at",)),
        (Product, columns(Product).sku.in_(skus), ("sku",)),
        (StockMovement, columns(StockMovement).sku.in_(skus), ("created_at",)),
    ):
        yield model, select(model.__table__).where(condition).order_by(*(columns(model)[name] for name in order))


_QUERIES = dict(_queries())


# ── What holds at any moment ─────────────────────────────────────────────────────────────────────────────────────────


def check(books: Books, provider: Provider, carrier: Carrier) -> None:
    for story in books.stories.values():
        history_tells_every_change(story)
        events_are_the_versions_without_gaps(story)
        money_is_within_the_capture(story, provider)
        status_fits_the_money(story)
        one_parcel_at_most(story, carrier)
    nobody_is_charged_who_did_not_order(books, provider)
    stock_is_conserved(books)
    goods_came_back_once_at_most(books)


def history_tells_every_change(story: Story) -> None:
    assert [row.version for row in story.history] == list(range(1, story.version + 1))
    assert story.history[0].from_status is None
    assert story.history[-1].to_status == story.status
    for before, after in pairwise(story.history):
        assert after.from_status == before.to_status
        assert after.at >= before.at
    for row in story.history:
        assert row.reason
        assert row.to_status == row.from_status or row.to_status in NEXT[row.from_status], (
            f"{row.from_status} → {row.to_status}"
        )


EDITS = ("order.updated", "order.refund_succeeded", "order.captured_late")
"""Events that leave the status as it is."""


def events_are_the_versions_without_gaps(story: Story) -> None:
    assert [event.sequence for event in story.events] == list(range(2, story.version + 1))
    for event, row in zip(story.events, story.history[1:], strict=True):
        told = EDITS if row.to_status == row.from_status else (f"order.{row.to_status}",)
        assert event.type in told
    types = Counter(event.type for event in story.events)
    paid_back = sum(refund.status == "succeeded" for refund in story.refunds)
    assert types["order.refund_succeeded"] == paid_back, "what is summed up is told of once"
    assert types["order.paid"] + types["order.captured_late"] == (story.payment.status == "captured")


def money_is_within_the_capture(story: Story, provider: Provider) -> None:
    payment, of = story.payment, reference(story.payment.id)
    captured, paid_back = provider.captured(of), provider.paid_back(of)
    assert payment.amount == story.order.total == sum(line.quantity * line.unit_price for line in story.lines)
    assert payment.refunded == story.promised <= payment.amount
    assert story.given_back <= paid_back <= captured <= payment.amount
    if payment.status == "captured":
        assert captured == payment.amount, "what orderkit takes for captured, the provider has"
        assert payment.provider_reference == of
    else:
        assert not story.refunds
        assert captured == 0 or payment.status in ("created", "unknown"), "it took money that orderkit does not know of"
    for refund in story.refunds:
        at_provider = provider.refunds.get(refund.id)
        if refund.status != "pending":
            assert at_provider is not None
            assert at_provider.done == (refund.status == "succeeded")
        if at_provider is not None:
            assert (at_provider.reference, at_provider.amount) == (of, refund.amount)


def status_fits_the_money(story: Story) -> None:
    status, paid = story.status, story.payment.status
    if status in PAID_FOR:
        assert paid == "captured"
    if status == "pending":
        assert paid in ("created", "unknown")
    if status == "payment_failed":
        assert paid in ("declined", "voided")
    if status == "cancelled" and paid == "captured" and all(one.status != "failed" for one in story.refunds):
        assert story.promised == story.payment.amount, "all of it goes back"
    if status in PAID_FOR:
        assert (status == "refunded") == (story.given_back == story.payment.amount)


def one_parcel_at_most(story: Story, carrier: Carrier) -> None:
    assert len(story.fulfillments) <= 1
    assert sum(of == story.order.id for of in carrier.orders.values()) <= 1
    parcel = story.fulfillment
    if parcel is None:
        return
    assert story.payment.status == "captured"
    if parcel.status == "succeeded":
        assert story.status in {"shipped", "delivered", "refunded"}
        assert parcel.tracking_number == f"TR{parcel.id.hex}"
        assert carrier.parcels[parcel.id] == "carried"
        assert story.status != "shipped" or parcel.delivered_at is None, "what the carrier delivered is delivered"
    assert sum(letter.resolved_at is None for letter in story.letters) == (parcel.status == "dead")


def nobody_is_charged_who_did_not_order(books: Books, provider: Provider) -> None:
    """Nor twice: one payment is one key."""
    assert set(provider.charges) <= {story.payment.id for story in books.stories.values()}
    assert set(provider.refunds) <= {refund.id for story in books.stories.values() for refund in story.refunds}


def stock_is_conserved(books: Books) -> None:
    """What came in is there, or with orders that were not called off."""
    held: Counter[str] = Counter()
    for story in books.stories.values():
        if story.status not in WITHOUT_GOODS:
            held.update(story.ordered)
    received: Counter[str] = Counter()
    for movement in books.movements:
        received[movement.sku] += movement.delta
    for sku, stock in books.stock.items():
        assert stock >= 0
        assert stock + held[sku] == received[sku]


def returned(books: Books) -> dict[UUID, Counter[str]]:
    """Pieces by SKU that came back with each refund."""
    back: dict[UUID, Counter[str]] = {}
    for movement in books.movements:
        if movement.reason.startswith(RESTOCK):
            refund_id = UUID(movement.reason.removeprefix(RESTOCK))
            back.setdefault(refund_id, Counter())[movement.sku] += movement.delta
    return back


def goods_came_back_once_at_most(books: Books) -> None:
    back = returned(books)
    for story in books.stories.values():
        came: Counter[str] = Counter()
        for refund in story.refunds:
            assert refund.id not in back or refund.status == "succeeded"
            came.update(back.get(refund.id, Counter()))
        assert came <= story.ordered
        if any(row.to_status == "shipped" for row in story.history):
            continue
        assert came == (story.ordered if story.status == "refunded" else Counter()), "what never left is there once"


# ── What holds once everything has run dry ───────────────────────────────────────────────────────────────────────────


def unsettled(books: Books) -> list[str]:
    """What somebody still has to do something about."""
    found: list[str] = []
    for story in books.stories.values():
        parcel = story.fulfillment
        found += [f"event {one.type}" for one in story.events if one.sent_at is None]
        found += ["payment"] * (story.payment.status in ("created", "unknown"))
        found += ["refund"] * sum(one.status == "pending" for one in story.refunds)
        found += ["parcel"] * (parcel is not None and parcel.status in UNDER_WAY)
        found += ["recall"] * (parcel is not None and parcel.recall_at is not None)
        found += ["dead letter"] * sum(one.resolved_at is None for one in story.letters)
        found += ["money of a cancelled order"] * (story.status == "cancelled" and story.left > 0)
    return found


def check_settled(books: Books, provider: Provider, carrier: Carrier) -> None:
    """Nothing is open, and provider and carrier have in their books what orderkit has."""
    check(books, provider, carrier)
    assert unsettled(books) == []
    for story in books.stories.values():
        of = reference(story.payment.id)
        captured = story.payment.amount if story.payment.status == "captured" else 0
        assert provider.captured(of) == captured
        assert provider.paid_back(of) == story.given_back
        assert story.status in {"payment_failed", "shipped", "delivered", "cancelled", "refunded"}
        if story.status in WITHOUT_GOODS:
            assert captured == story.given_back, "whoever gets nothing pays nothing"
    going = {key for key, state in carrier.parcels.items() if state == "carried"}
    sent = [story.fulfillment for story in books.stories.values() if story.fulfillment is not None]
    assert going == {one.id for one in sent if one.status == "succeeded"}, "the carrier was told of all that is off"
