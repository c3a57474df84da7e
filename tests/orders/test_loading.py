"""Past orders in bulk: the same to the last column as one after the other, and the long way where the short one does not lead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from orderkit import db
from orderkit.db import Database
from orderkit.ids import UUID, new_id
from orderkit.inventory.models import StockMovement
from orderkit.orders import seeding
from orderkit.orders.loading import PastLoad
from orderkit.orders.models import Order, OrderHistory, OrderItem
from orderkit.orders.past import AfterWriting, Brought, Differs, Outcome, PastOrder, PastOrders, PastRefund, Written
from orderkit.orders.pricing import PricedLine
from orderkit.orders.seeding import History
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.payments.models import Payment, Refund
from tests.engines import on_postgresql
from tests.factories import make_product, make_user

AT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
ODD = 'tab\t, line\n, return\r, "quotes", {braces}, \\N, back\\slash, 100 %s, ünïcode 茶'

BringIn = Callable[[Sequence[PastOrder]], list[Outcome]]


def long_way(database: Database, after: AfterWriting | None = None) -> BringIn:
    return PastOrders(database, reason=ODD, announce=False, after=after).bring_in


def load(database: Database, after: AfterWriting | None = None) -> BringIn:
    return PastLoad(database, reason=ODD, after=after).bring_in


def past_order(user: UUID, key: str, *refunds: tuple[int, timedelta], **changed: Any) -> PastOrder:
    lines = (PricedLine("TEA", ODD, 2, 300, 600), PricedLine("M\\UG", "mug", 1, 900, 900))
    given = tuple(PastRefund(new_id(), amount, AT + after, ODD) for amount, after in refunds)
    order = PastOrder(new_id(), user, key, lines, "GBP", 1500, AT, "imported", country="GB", refunds=given)
    return replace(order, **changed)


def every_kind(user: UUID) -> list[PastOrder]:
    day = timedelta(days=1)
    return [
        past_order(user, "plain"),
        past_order(user, ODD, country=ODD, note=ODD, method=ODD),
        past_order(user, "declined", declined=True),
        past_order(user, "nowhere", country=None, placed_at=AT.astimezone(timezone(timedelta(hours=5, minutes=45)))),
        past_order(user, "in part", (400, day)),
        past_order(user, "in parts, the later first", (400, 2 * day), (500, day)),
        past_order(user, "whole", (1500, day), placed_at=AT.replace(microsecond=0)),
        past_order(user, "whole, in parts", (1000, 3 * day), (500, day)),
        past_order(user, "more than there was", (1000, day), (1000, 2 * day), (5, 3 * day)),
        past_order(user, "before it was placed", (1, -day)),
    ]


def rows(database: Database, model: Any) -> list[Any]:
    with database.reading() as session:
        return list(session.connection().execute(select(model.__table__)))


def columns(row: Any, *without: str) -> dict[str, Any]:
    return {name: value for name, value in row._mapping.items() if name not in without}


def kept(database: Database, user: UUID) -> dict[str, Any]:
    """All that is kept of a user's orders, by key, but for the ids and numbers, which are new each time."""
    orders = {one.id: one for one in rows(database, Order) if one.user_id == user}
    payments = {one.id: one for one in rows(database, Payment) if one.order_id in orders}
    story: dict[str, Any] = {one.idempotency_key: [columns(one, "id", "user_id", "number")] for one in orders.values()}
    for model in (OrderItem, OrderHistory, Payment, Refund):
        is_refund = model is Refund
        found = [one for one in rows(database, model) if not is_refund or one.payment_id in payments]
        of = {id(one): payments[one.payment_id].order_id if is_refund else one.order_id for one in found}
        told = [(of[id(one)], columns(one, "id", "order_id", "payment_id")) for one in found if of[id(one)] in orders]
        for order_id, row in sorted(told, key=lambda pair: repr(sorted(pair[1].items(), key=lambda item: item[0]))):
            story[orders[order_id].idempotency_key].append((model.__name__, row))
    return story


def told(written: Sequence[Written]) -> Any:
    """What was written as those hear it who add it up, in no order."""
    nameless = {"id", "user_id", "payment_id", "number", "version", "updated_at"}

    def one(order: Any) -> Any:
        lines = tuple(order.items) if order.items else None
        return tuple((name, lines if name == "items" else getattr(order, name)) for name in _FIELDS - nameless)

    orders = [one(order) for batch in written for order in batch.orders]
    refunds = Counter(
        (order.idempotency_key, refund.at, refund.reason, amount)
        for batch in written
        for order, refund, amount in batch.refunds
    )
    return orders, refunds, {order.idempotency_key for batch in written for order in batch.ended}


_FIELDS = set(OrderSnapshot.__dataclass_fields__)


@pytest.fixture
def stocked(database: Database) -> Database:
    for sku in ("TEA", "M\\UG"):
        make_product(database, sku=sku, unit_price=300, stock=10)
    return database


# ── the same ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_loaded_is_what_the_long_way_writes(stocked: Database) -> None:
    one_way, other_way = make_user(stocked).id, make_user(stocked).id
    heard: list[Written] = []
    also_heard: list[Written] = []
    slow = long_way(stocked, lambda _connection, written: heard.append(written))(every_kind(one_way))
    movements = {one.id for one in rows(stocked, StockMovement)}
    fast = load(stocked, lambda _connection, written: also_heard.append(written))(every_kind(other_way))
    assert fast == slow
    assert kept(stocked, other_way) == kept(stocked, one_way)
    assert len(kept(stocked, one_way)) == 10
    assert told(also_heard) == told(heard)
    before = [columns(one, "id") for one in rows(stocked, StockMovement) if one.id in movements]
    after = [columns(one, "id") for one in rows(stocked, StockMovement) if one.id not in movements]
    assert [one for one in before if one["reason"] == ODD] == after
    numbers = [one.number for one in rows(stocked, Order)]
    assert len(set(numbers)) == len(numbers) == 20


@pytest.mark.unmeasured
def test_a_seeded_history_is_what_the_long_way_writes(database: Database) -> None:
    history = History(orders=600, days=90, users=10, seed=8)
    shop = seeding.open_shop(database, history)
    theirs = replace(shop, users=[make_user(database).id for _ in shop.users])
    load(database)(list(seeding.past_orders(history, shop)))
    renamed = [
        replace(one, refunds=tuple(replace(refund, id=new_id()) for refund in one.refunds))
        for one in seeding.past_orders(history, theirs)
    ]
    long_way(database)(renamed)
    for mine, other in zip(shop.users, theirs.users, strict=True):
        assert kept(database, mine) == kept(database, other)
    assert len(rows(database, Refund)) > 10


# ── the long way ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_there_already_is_left_and_the_rest_is_brought(stocked: Database) -> None:
    user = make_user(stocked).id
    orders = every_kind(user)
    load(stocked)(orders[:4])
    assert load(stocked)([replace(one, order_id=new_id()) for one in orders]) == [
        *[Brought(False, 0)] * 4,
        *(Brought(True, count) for count in (1, 2, 1, 2, 2, 1)),
    ]
    assert len(rows(stocked, Order)) == 10
    other = replace(orders[0], order_id=new_id(), total=600, lines=orders[0].lines[:1])
    assert load(stocked)([other]) == [Differs(1500, "GBP")]


def test_a_refund_that_came_after_the_order_is_added(stocked: Database) -> None:
    order = past_order(make_user(stocked).id, "later")
    load(stocked)([order])
    refund = PastRefund(new_id(), 1500, AT, "returned")
    again = replace(order, order_id=new_id(), refunds=(refund,))
    assert [load(stocked)([again]) for _ in range(2)] == [[Brought(False, 1)], [Brought(False, 0)]]
    assert [one.status for one in rows(stocked, Order)] == ["refunded"]


def test_one_that_the_database_refuses_does_not_keep_the_others_out(stocked: Database) -> None:
    user = make_user(stocked).id
    unknown = (PricedLine("UNKNOWN", "nothing", 1, 1500, 1500),)
    orders = [past_order(user, "a"), past_order(user, "b", lines=unknown), past_order(user, "c")]
    with pytest.raises(IntegrityError):
        load(stocked)(orders)
    assert {one.idempotency_key for one in rows(stocked, Order)} == {"a", "c"}
    assert len(rows(stocked, Payment)) == 2


@pytest.mark.parametrize(
    "wrong",
    [{"total": -1500}, {"currency": "POUND"}, {"lines": (PricedLine("TEA", "tea", 5, 300, 1),)}],
    ids=["total", "currency", "line"],
)
def test_every_rule_of_the_database_holds(stocked: Database, wrong: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        load(stocked)([past_order(make_user(stocked).id, "wrong", **wrong)])
    assert rows(stocked, Order) == rows(stocked, Payment) == rows(stocked, OrderHistory) == []


def test_those_who_load_the_same_at_once_bring_it_in_once(stocked: Database) -> None:
    user = make_user(stocked).id
    orders = every_kind(user)
    twice = [orders, [replace(one, order_id=new_id()) for one in orders]]
    with ThreadPoolExecutor(2) as threads:
        outcomes = list(threads.map(load(stocked), twice))
    created = [sum(isinstance(one, Brought) and one.created for one in told) for told in outcomes]
    assert sorted(created) == [0, 10]
    assert len(rows(stocked, Order)) == len(rows(stocked, Payment)) == 10
    assert len(rows(stocked, Refund)) == 9


def test_without_orders_nothing_is_done(stocked: Database) -> None:
    def never(_connection: Connection, _written: Written) -> None:
        raise AssertionError("nothing was written")

    assert load(stocked, never)([]) == []


def test_what_cannot_be_added_up_is_not_written(stocked: Database) -> None:
    def refuse(_connection: Connection, _written: Written) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(stocked, refuse)(every_kind(make_user(stocked).id))
    assert rows(stocked, Order) == rows(stocked, Refund) == []


@on_postgresql
def test_the_connection_plans_afterwards_as_it_did(stocked: Database) -> None:
    load(stocked)(list(islice(every_kind(make_user(stocked).id), 3)))
    with stocked.reading() as session:
        for name, value in db.PLANNED_EACH_TIME.items():
            assert session.connection().execute(text(f"SHOW {name}")).scalar_one() == value
        assert session.connection().execute(text("SHOW enable_seqscan")).scalar_one() == "on"
