"""Low stock is told of once each time a product falls to its threshold, whatever takes it there and however many at once."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import select

from orderkit.auth.models import User
from orderkit.db import Database
from orderkit.errors import Conflict, OutOfStock
from orderkit.events.models import OutboxEvent
from orderkit.inventory import low_stock, stock
from orderkit.orders import cancellation
from orderkit.orders.placement import Placement
from orderkit.orders.pricing import Line
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.settings import Settings
from tests.factories import make_product, make_user, place_order, to_place
from tests.threads import at_once


@pytest.fixture
def user(database: Database) -> User:
    return make_user(database)


def told(database: Database) -> list[dict[str, Any]]:
    """What was told of products, in the order in which it was."""
    of_products = select(OutboxEvent).where(OutboxEvent.order_id == None).order_by("created_at", "id")  # noqa: E711
    with database.reading() as session:
        events = session.scalars(of_products).all()
    assert all((one.type, one.sequence, one.sent_at) == ("product.low_stock", None, None) for one in events)
    return [one.payload for one in events]


def move(database: Database, sku: str, delta: int) -> None:
    with database.transaction() as session:
        stock.move(session, sku, delta, "counted", None)


@pytest.mark.parametrize(
    ("before", "quantity", "threshold", "is_told"),
    [
        (10, 5, 5, True),
        (10, 6, 5, True),
        (10, 4, 5, False),
        (5, 1, 5, False),  # it was low before
        (1, 1, 0, True),
        (10, 10, None, False),
    ],
)
@pytest.mark.parametrize("by", ["placement", "movement"])
def test_stock_that_falls_to_its_threshold_or_below_is_told_of(
    database: Database,
    settings: Settings,
    user: User,
    by: str,
    before: int,
    quantity: int,
    threshold: int | None,
    is_told: bool,
) -> None:
    make_product(database, sku="TEA", stock=before, low_stock_at=threshold)
    if by == "placement":
        place_order(database, settings, user, "TEA", quantity)
    else:
        move(database, "TEA", -quantity)
    expected = [{"sku": "TEA", "stock": before - quantity, "threshold": threshold}] if is_told else []
    assert told(database) == expected


def test_a_batch_of_orders_that_crosses_tells_once_of_each_product(
    database: Database, settings: Settings, user: User
) -> None:
    for sku in ("TEA", "POT", "CUP"):
        make_product(database, sku=sku, stock=10, low_stock_at=7)
    both = (Line("TEA", 1), Line("POT", 1))
    Placement(database, settings).place([to_place(user, "", items=both) for _ in range(6)])
    Placement(database, settings).place([to_place(user, "CUP", 2)])
    assert sorted(told(database), key=str) == [
        {"sku": "POT", "stock": 4, "threshold": 7},
        {"sku": "TEA", "stock": 4, "threshold": 7},
    ]


def test_what_lifts_it_above_lets_it_cross_again(database: Database, settings: Settings, user: User) -> None:
    make_product(database, sku="TEA", stock=10, low_stock_at=8)
    order = place_order(database, settings, user, "TEA", 3)
    place_order(database, settings, user, "TEA", 1)
    with database.transaction() as session:
        cancellation.cancel(session.connection(), order.id, reason="changed my mind")  # a release: 9 are left
    place_order(database, settings, user, "TEA", 1)
    move(database, "TEA", 5)
    move(database, "TEA", -5)
    assert [one["stock"] for one in told(database)] == [7, 8, 8]


def test_a_release_that_does_not_lift_it_above_does_not(database: Database, settings: Settings, user: User) -> None:
    make_product(database, sku="TEA", stock=10, low_stock_at=8)
    place_order(database, settings, user, "TEA", 4)
    order = place_order(database, settings, user, "TEA", 2)
    with database.transaction() as session:
        cancellation.cancel(session.connection(), order.id, reason="changed my mind")
    place_order(database, settings, user, "TEA", 1)
    assert [one["stock"] for one in told(database)] == [6]


def test_what_is_refused_tells_nothing(database: Database, settings: Settings, user: User) -> None:
    make_product(database, sku="TEA", stock=10, low_stock_at=8)
    with pytest.raises(OutOfStock):
        place_order(database, settings, user, "TEA", 11)
    with pytest.raises(Conflict):
        move(database, "TEA", -11)
    assert told(database) == []


def test_of_twenty_orders_at_once_one_crosses(database: Database, settings: Settings, user: User) -> None:
    make_product(database, sku="TEA", stock=30, low_stock_at=20)
    placement = Placement(database, settings)
    outcomes = at_once(*[lambda: placement.place([to_place(user, "TEA")])] * 20)
    assert all(isinstance(outcome, OrderSnapshot) for [outcome] in outcomes)
    assert told(database) == [{"sku": "TEA", "stock": 20, "threshold": 20}]


def test_of_movements_and_orders_at_once_one_crosses(database: Database, settings: Settings, user: User) -> None:
    make_product(database, sku="TEA", stock=30, low_stock_at=20)
    placement = Placement(database, settings)
    at_once(
        *[lambda: move(database, "TEA", -3)] * 4,
        *[lambda: placement.place([to_place(user, "TEA", 3)]) and None] * 4,
    )
    assert [one["sku"] for one in told(database)] == ["TEA"]


amounts = st.integers(0, 50)


@given(st.lists(amounts, min_size=1), st.none() | amounts)
def test_it_is_told_of_as_often_as_stock_crosses(levels: list[int], threshold: int | None) -> None:
    said = 0
    for before, after in pairwise(levels):
        said += len(low_stock.crossed({"A": SimpleNamespace(stock=before, low_stock_at=threshold)}, {"A": after}))
    low = [threshold is not None and level <= threshold for level in levels]
    assert said == sum(now and not earlier for earlier, now in pairwise(low))
