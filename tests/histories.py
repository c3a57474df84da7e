"""Histories of orders written straight into the tables, with the events that tell of them, and what they add up to by hand.

The recomputation here knows nothing of rollups, buckets or covers: it looks at every order and every refund in turn.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlmodel import col, select

from orderkit.analytics import facts, rollups
from orderkit.analytics.facts import Fact, GivenBack, Moved, Sale, Sold
from orderkit.db import Database
from orderkit.events import types
from orderkit.events.models import OutboxEvent
from orderkit.ids import new_id
from orderkit.orders.models import Order, OrderHistory, OrderItem
from orderkit.payments.models import Payment, Refund
from orderkit.rows import insert_rows, update_rows
from tests.factories import make_product, make_user

CURRENCIES = ("EUR", "GBP", "JPY")
COUNTRIES = ("DE", "GB", "NP", None)


@dataclass(frozen=True)
class Back:
    """Money that went back, or, if it did not succeed, is still to."""

    at: datetime
    amount: int
    succeeded: bool = True


@dataclass(frozen=True)
class Past:
    """One order as it is in the end."""

    at: datetime
    user_id: UUID
    currency: str
    country: str | None
    status: str
    lines: tuple[Sold, ...]
    refunds: tuple[Back, ...] = ()
    imported: bool = False
    country_before: str | None = None
    id: UUID = field(default_factory=new_id)

    @property
    def total(self) -> int:
        return sum(line.revenue for line in self.lines)

    @property
    def is_sold(self) -> bool:
        return self.status not in ("pending", "payment_failed")


@dataclass
class History:
    """Orders, by customers of products; the worker has got round to some of their events."""

    database: Database
    users: Mapping[UUID, str]
    orders: list[Past]


def instants(rng: random.Random, start: datetime, days: int, count: int) -> list[datetime]:
    """Some anywhere, some on the very border of a quarter, an hour, a day or a month."""
    found = []
    for _ in range(count):
        at = start + timedelta(microseconds=rng.randrange(days * 86_400_000_000))
        match rng.randrange(4):
            case 0:
                at = at.replace(minute=rng.choice((0, 15, 30, 45)), second=0, microsecond=0)
            case 1:
                at = at.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(microseconds=rng.randrange(2))
            case 2:
                at = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        found.append(at)
    return found


def random_orders(
    rng: random.Random, users: Sequence[UUID], skus: Sequence[str], start: datetime, days: int, count: int
) -> Iterator[Past]:
    for at in instants(rng, start, days, count):
        status = rng.choice(
            ("pending", "payment_failed", "paid", "paid", "shipped", "delivered", "refunded", "cancelled")
        )
        lines = tuple(
            Sold(sku, pieces := rng.randint(1, 4), pieces * rng.choice((0, 1, 250, 99_999)))
            for sku in rng.sample(skus, rng.randint(1, 2))
        )
        country, total = rng.choice(COUNTRIES), sum(line.revenue for line in lines)
        backs: tuple[Back, ...] = ()
        if status not in ("pending", "payment_failed") and total > 3 and rng.random() < 0.5:
            days_later = (timedelta(minutes=rng.choice((0, 1, 15, 1_440, 50_000))) for _ in range(2))
            backs = tuple(Back(at + later, total // 3, rng.random() < 0.8) for later in days_later)
        yield Past(
            at=at,
            user_id=rng.choice(users),
            currency=rng.choice(CURRENCIES),
            country=country,
            status=status,
            lines=lines,
            refunds=backs,
            imported=status not in ("pending", "payment_failed") and rng.random() < 0.2,
            country_before=rng.choice(("GB", "DE")) if country and status == "paid" and rng.random() < 0.3 else None,
        )


def make(
    database: Database, rng: random.Random, *, start: datetime, days: int, orders: int = 60, sent: float = 0.5
) -> History:
    """A history in the tables; the events of each order are sent up to a random one, or with `sent` 1 all, with 0 none."""
    users = {one.id: one.email for one in (make_user(database) for _ in range(5))}
    skus = [make_product(database, sku=f"SKU-{number}", name=f"Product {number}").sku for number in range(4)]
    history = History(database, users, list(random_orders(rng, list(users), skus, start, days, orders)))
    write(database, history.orders, lambda events: events if sent == 1 else rng.randint(0, events) if sent else 0)
    return history


def write(database: Database, orders: Sequence[Past], sent_of: Callable[[int], int] = lambda _events: 0) -> None:
    """Puts orders into the tables with their events, of each of which so many are sent and added up as `sent_of` says."""
    with database.transaction() as session:
        connection = session.connection()
        insert_rows(connection, Order, [_order(one) for one in orders])
        insert_rows(connection, OrderItem, [line for one in orders for line in _lines(one)])
        payments = {one.id: new_id() for one in orders}
        insert_rows(connection, Payment, [_payment(one, payments[one.id]) for one in orders])
        insert_rows(
            connection, Refund, [_refund(one, back, payments[one.id]) for one in orders for back in one.refunds]
        )
        told = {one.id: list(_events(one)) for one in orders if not one.imported}
        insert_rows(connection, OrderHistory, [row for events in told.values() for row, _event in events])
        insert_rows(connection, OutboxEvent, [row for events in told.values() for _row, row in events if row])
        rollups.apply(connection, [fact for one in orders if one.imported for fact in _facts_of_import(one)])
    with database.transaction() as session:
        connection = session.connection()
        waiting = defaultdict(list)
        for event in connection.execute(facts.unsent_events()).all():
            if event.order_id in told:
                waiting[event.order_id].append(event)
        sending = [one for events in waiting.values() for one in events[: sent_of(len(events))]]
        rollups.apply(connection, facts.of_events(connection, sending))
        update_rows(connection, OutboxEvent, [{"id": one.id, "sent_at": orders[0].at} for one in sending])


def unsent(database: Database) -> int:
    with database.reading() as session:
        return len(session.exec(select(OutboxEvent.id).where(col(OutboxEvent.sent_at).is_(None))).all())


def _order(one: Past) -> dict[str, Any]:
    return {
        "id": one.id,
        "user_id": one.user_id,
        "idempotency_key": one.id.hex,
        "status": one.status,
        "currency": one.currency,
        "total": one.total,
        "country": one.country,
        "version": 1,
        "created_at": one.at,
        "updated_at": one.at,
    }


def _lines(one: Past) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(one.lines, 1):
        yield {
            "order_id": one.id,
            "line": number,
            "sku": line.sku,
            "name": line.sku,
            "quantity": line.pieces,
            "unit_price": line.revenue // line.pieces,
            "line_total": line.revenue,
        }


def _payment(one: Past, payment_id: UUID) -> dict[str, Any]:
    status = {"pending": "created", "payment_failed": "declined"}.get(one.status, "captured")
    return {
        "id": payment_id,
        "order_id": one.id,
        "status": "imported" if one.imported else status,
        "method": "m",
        "amount": one.total,
        "currency": one.currency,
        "refunded": sum(back.amount for back in one.refunds),
        "provider_reference": "r" if status == "captured" and not one.imported else None,
        "attempts": 0,
        "run_at": one.at,
        "created_at": one.at,
        "updated_at": one.at,
    }


def _refund(one: Past, back: Back, payment_id: UUID) -> dict[str, Any]:
    return {
        "id": new_id(),
        "payment_id": payment_id,
        "amount": back.amount,
        "currency": one.currency,
        "reason": "r",
        "restock": False,
        "status": "succeeded" if back.succeeded else "pending",
        "attempts": 0,
        "run_at": back.at,
        "created_at": back.at,
        "updated_at": back.at,
    }


WAYS = {
    "pending": [],
    "payment_failed": [("payment_failed", types.ORDER_PAYMENT_FAILED)],
    "paid": [("paid", types.ORDER_PAID)],
    "cancelled": [("paid", types.ORDER_PAID), ("cancelled", types.ORDER_CANCELLED)],
    "shipped": [("paid", types.ORDER_PAID), ("shipped", types.ORDER_SHIPPED)],
    "refunded": [("paid", types.ORDER_PAID), ("refunded", types.ORDER_REFUNDED)],
    "delivered": [("paid", types.ORDER_PAID), ("shipped", types.ORDER_SHIPPED), ("delivered", types.ORDER_DELIVERED)],
}
"""How an order came to be what it is: each status after `pending`, and the event that told of it."""


def _events(one: Past) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """The rows of its history, each with that of its event."""
    version, status = 1, "pending"
    country = one.country_before or one.country
    yield _change(one, 1, None, "pending"), None

    def said(type_: str, to: str, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        payload = types.order_payload(
            user_id=one.user_id, currency=one.currency, total=one.total, country=country, reason="r"
        )
        row = {"id": new_id(), "order_id": one.id, "sequence": version, "type": type_, "payload": payload | more}
        return _change(one, version, status, to), row | {"created_at": one.at}

    for to, event in WAYS[one.status]:
        version += 1
        yield said(event, to)
        status = to
    succeeded = [back for back in one.refunds if back.succeeded]
    for number, back in enumerate(succeeded):
        if one.country_before and number == len(succeeded) // 2:  # moves after some of its money went back
            version, country = version + 1, one.country
            was = types.sent_elsewhere_part(one.country_before, [(gone.at, gone.amount) for gone in succeeded[:number]])
            yield said(types.ORDER_UPDATED, status, **was)
        version += 1
        yield said(types.ORDER_REFUND_SUCCEEDED, status, **types.refund_part(new_id(), back.amount, back.at))
    if one.country_before and not succeeded:
        version, country = version + 1, one.country
        yield said(types.ORDER_UPDATED, status, **types.sent_elsewhere_part(one.country_before, []))


def _change(one: Past, version: int, before: str | None, after: str) -> dict[str, Any]:
    return {
        "order_id": one.id,
        "version": version,
        "from_status": before,
        "to_status": after,
        "reason": "r",
        "at": one.at,
    }


def _facts_of_import(one: Past) -> Iterator[Fact]:
    yield Sale(one.at, one.currency, one.user_id, one.country, one.total, one.lines)
    yield Moved(one.at, one.currency, None, one.status)
    for back in one.refunds:
        if back.succeeded:
            yield GivenBack(back.at, one.currency, one.user_id, one.country, back.amount)


# ── by hand ──────────────────────────────────────────────────────────────────────────────────────────────────────────

Within = Callable[[datetime], bool]


def within(start: date | datetime | None, end: date | datetime | None, zone: ZoneInfo) -> Within:
    """Whether an instant is in the range: by its local date where the bound is a day."""

    def fits(at: datetime) -> bool:
        local = at.astimezone(zone).date()
        here = [at if isinstance(bound, datetime) else local for bound in (start, end)]
        return (start is None or here[0] >= start) and (end is None or here[1] < end)

    return fits


Sums = dict[Any, dict[str, Any]]


def by_hand(
    orders: Sequence[Past],
    fits: Within,
    currency: str | None,
    group: Callable[[Past, datetime], Any],
) -> Sums:
    """Sums by what `group` makes of an order and the instant that counts, and by currency."""
    found: Sums = defaultdict(lambda: {"orders": 0, "gross": 0, "refunded": 0, "refunds": 0})
    for one in orders:
        if not one.is_sold or currency not in (None, one.currency):
            continue
        if fits(one.at):
            sums = found[group(one, one.at), one.currency]
            sums["orders"] += 1
            sums["gross"] += one.total
        for back in one.refunds:
            if back.succeeded and fits(back.at):
                sums = found[group(one, back.at), one.currency]
                sums["refunded"] += back.amount
                sums["refunds"] += 1
    for sums in found.values():
        del sums["refunds"]
        count, gross = sums["orders"], sums["gross"]
        sums["net"] = gross - sums["refunded"]
        sums["average"] = (2 * gross + count) // (2 * count) if count else None
    return dict(found)
