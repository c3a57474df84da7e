"""Numbers by which people call orders."""

from __future__ import annotations

import pytest
from sqlmodel import col, select

from orderkit.auth.models import User
from orderkit.db import Database
from orderkit.orders import numbers
from orderkit.orders.models import Order
from orderkit.orders.placement import Placement
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.settings import Settings
from tests.factories import make_product, make_user, to_place
from tests.threads import at_once


@pytest.fixture
def user(database: Database) -> User:
    return make_user(database)


def stored(database: Database) -> list[int | None]:
    with database.reading() as session:
        return list(session.scalars(select(Order.number).order_by(col(Order.number))))


def test_orders_are_numbered_from_1001_in_the_order_they_are_placed(
    database: Database, settings: Settings, user: User
) -> None:
    sku, placement = make_product(database, stock=100).sku, Placement(database, settings)
    placed = placement.place([to_place(user, sku) for _ in range(3)])
    placed += placement.place([to_place(user, sku)])
    assert [one.number for one in placed if isinstance(one, OrderSnapshot)] == [1001, 1002, 1003, 1004]
    assert stored(database) == [1001, 1002, 1003, 1004]


def test_what_comes_to_nothing_uses_no_number_up(database: Database, settings: Settings, user: User) -> None:
    sku, placement = make_product(database, stock=2).sku, Placement(database, settings)
    again = to_place(user, sku, key="k")
    placement.place([again])
    placement.place([to_place(user, sku, key="k"), to_place(user, sku, quantity=5), to_place(user, sku)])
    assert stored(database) == [1001, 1002]


def test_processes_that_place_at_once_never_give_one_number_twice(
    database: Database, settings: Settings, user: User
) -> None:
    sku, each = make_product(database, stock=10_000).sku, numbers.BLOCK // 4 + 3
    placements = [Placement(database, settings) for _ in range(4)]

    def place(one: Placement) -> None:
        for _ in range(5):
            one.place([to_place(user, sku) for _ in range(each)])

    at_once(*(lambda one=one: place(one) for one in placements))
    found = stored(database)
    assert len(found) == len(set(found)) == 4 * 5 * each
    assert None not in found


def test_one_placement_may_be_used_by_several_threads(database: Database, settings: Settings, user: User) -> None:
    sku, placement = make_product(database, stock=10_000).sku, Placement(database, settings)
    at_once(*[lambda: placement.place([to_place(user, sku) for _ in range(30)])] * 6)
    assert stored(database) == list(range(1001, 1001 + 180))
