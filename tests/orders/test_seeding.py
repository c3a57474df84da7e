"""A seeded past: believable, the same for the same arguments, and no trouble to anything that checks the books."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import func, select

from orderkit import clock
from orderkit.auth.models import User
from orderkit.catalog.models import Product
from orderkit.db import Database
from orderkit.errors import Conflict
from orderkit.events.models import OutboxEvent
from orderkit.ids import UUID, new_id
from orderkit.inventory.models import StockMovement
from orderkit.money import MAX_AMOUNT
from orderkit.orders import seeding
from orderkit.orders.models import Order, OrderHistory, OrderItem
from orderkit.orders.past import PastOrder
from orderkit.orders.seeding import History, Seeded, Shop
from orderkit.payments.models import Payment, Refund
from tests.factories import logs_in, make_product

SMALL = History(orders=400, days=60, users=30, seed=5)


def seed(database: Database, history: History = SMALL) -> tuple[Shop, Seeded]:
    shop = seeding.open_shop(database, history)
    return shop, seeding.write(database, history, shop)


def rows(database: Database, model: type[Any]) -> list[Any]:
    with database.reading() as session:
        return list(session.exec(select(model)))


def count(database: Database, model: type[Any]) -> int:
    with database.reading() as session:
        return session.exec(select(func.count()).select_from(model)).one()


def assert_books_agree(database: Database) -> None:
    """Refunds are what payments say, stock adds up, and every order's last step is its status."""
    given_back: Counter[UUID] = Counter()
    for refund in rows(database, Refund):
        given_back[refund.payment_id] += refund.amount
    assert all(p.refunded == given_back[p.id] <= p.amount for p in rows(database, Payment))
    holding = {order.id for order in rows(database, Order) if order.status != "payment_failed"}
    balance = {product.sku: product.stock for product in rows(database, Product)}
    for item in rows(database, OrderItem):
        balance[item.sku] += item.quantity if item.order_id in holding else 0
    for movement in rows(database, StockMovement):
        balance[movement.sku] -= movement.delta
    assert set(balance.values()) == {0}
    last = {step.order_id: step for step in sorted(rows(database, OrderHistory), key=lambda step: step.version)}
    assert all((last[o.id].to_status, last[o.id].version) == (o.status, o.version) for o in rows(database, Order))


def made(history: History) -> list[PastOrder]:
    """The orders of a shop that no database knows, without their ids, which are new each time."""
    products = list(seeding.invented_products(history.seed))
    shop = Shop([UUID(int=n) for n in range(history.users)], 0, None, products, 0)
    anonymous = UUID(int=0)
    return [replace(order, order_id=anonymous) for order in seeding.past_orders(history, shop)]


# ── without a database ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_arguments_make_the_same_history_and_other_ones_another() -> None:
    assert made(SMALL) == made(SMALL)
    keys = {order.idempotency_key for order in made(SMALL)}
    for other in ({"seed": 6}, {"orders": 401}, {"days": 61}, {"users": 31}):
        assert keys.isdisjoint(order.idempotency_key for order in made(replace(SMALL, **other)))


@pytest.mark.parametrize("orders", [0, 1, 7, 1_234])
def test_as_many_orders_as_asked_for_by_date_and_all_before_today(orders: int) -> None:
    history = made(History(orders=orders, days=30, users=5))
    assert len({order.idempotency_key for order in history}) == len(history) == orders
    dates = [order.placed_at for order in history]
    assert dates == sorted(dates)
    today = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    assert all(today - timedelta(days=30) <= date < today for date in dates)


def test_refunds_come_after_their_orders_and_not_after_yesterday_and_declined_orders_have_none() -> None:
    today = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    history = made(History(orders=5_000, days=40, users=100))
    refunds = [(order, refund) for order in history for refund in order.refunds]
    assert all(order.placed_at <= refund.at < today and 0 < refund.amount <= order.total for order, refund in refunds)
    assert not any(order.declined for order, _ in refunds)
    assert 0.01 < len(refunds) / len(history) < 0.05
    assert 0.01 < sum(order.declined for order in history) / len(history) < 0.03


def test_the_rhythm_is_that_of_a_shop() -> None:
    history = made(History(orders=20_000, days=730, users=500))
    by_weekday = Counter(order.placed_at.weekday() for order in history)
    assert by_weekday[5] > 1.2 * by_weekday[1]
    by_month = Counter(order.placed_at.month for order in history)
    assert by_month[12] > 1.5 * by_month[6]
    by_hour = Counter(order.placed_at.hour for order in history)
    assert by_hour[20] > 5 * by_hour[3]
    by_product = Counter(line.sku for order in history for line in order.lines).most_common()
    assert len(by_product) == 120
    assert sum(times for _, times in by_product[:12]) > 0.35 * sum(times for _, times in by_product)
    by_user = Counter(order.user_id for order in history)
    assert max(by_user.values()) > 5 * len(history) / 500


# ── in a database ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_seeded_database_has_users_products_and_orders_whose_books_agree(database: Database) -> None:
    shop, seeded = seed(database)
    assert (shop.users_created, shop.products_created, seeded.orders_created) == (30, 120, 400)
    assert (count(database, User), count(database, Order), count(database, Payment)) == (30, 400, 400)
    assert {product.stock for product in rows(database, Product)} == {seeding.OPENING_STOCK}
    assert {payment.status for payment in rows(database, Payment)} == {"imported", "declined"}
    assert {order.status for order in rows(database, Order)} == {"delivered", "payment_failed", "refunded"}
    assert count(database, OutboxEvent) == 0
    assert_books_agree(database)


def test_seeded_users_can_log_in_with_the_one_password_that_is_shown_once(database: Database) -> None:
    shop, _ = seed(database)
    assert shop.password
    user = logs_in(database, seeding.email(30), shop.password)
    assert user is not None
    assert user.id == shop.users[29]
    again, _ = seed(database)
    assert (again.users, again.users_created, again.password) == (shop.users, 0, None)
    assert logs_in(database, seeding.email(1), shop.password) is not None


def test_a_second_run_adds_nothing(database: Database) -> None:
    seed(database)
    counts = [count(database, model) for model in (User, Product, Order, OrderItem, Payment, Refund, StockMovement)]
    _, again = seed(database)
    assert again == Seeded(0, 0)
    assert counts == [
        count(database, model) for model in (User, Product, Order, OrderItem, Payment, Refund, StockMovement)
    ]


@pytest.mark.parametrize("days", [1, 3, 200])
def test_a_second_run_on_another_day_adds_nothing_either(database: Database, days: int) -> None:
    seed(database)
    with clock.moved(timedelta(days=days)):
        assert seed(database)[1] == Seeded(0, 0)
    assert count(database, Order) == 400


def test_a_second_run_adds_nothing_to_a_shop_that_sells_more_by_now(database: Database) -> None:
    seed(database)
    make_product(database, sku="NEW", unit_price=100)
    assert seed(database)[1] == Seeded(0, 0)
    assert count(database, Order) == 400


def test_a_run_that_stopped_is_completed_by_the_next(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeding, "BATCH_ORDERS", 100)
    shop = seeding.open_shop(database, SMALL)

    def stop(_orders: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        seeding.write(database, SMALL, shop, progress=stop)
    there = count(database, Order)
    assert there in (100, 200, 300)  # the other writers end what they have begun
    _, rest = seed(database)
    assert rest.orders_created == 400 - there
    assert count(database, Order) == 400
    assert_books_agree(database)


def test_another_seed_adds_another_history_of_the_same_users(database: Database) -> None:
    seed(database)
    shop, more = seed(database, replace(SMALL, seed=6))
    assert (shop.users_created, shop.password, more.orders_created) == (0, None, 400)
    assert_books_agree(database)


def test_more_users_get_a_password_of_their_own(database: Database) -> None:
    first, _ = seed(database)
    second, _ = seed(database, replace(SMALL, users=40))
    assert second.users_created == 10
    assert second.password
    assert logs_in(database, seeding.email(35), second.password) is not None
    assert logs_in(database, seeding.email(5), first.password or "") is not None


def test_what_is_in_the_catalog_is_sold_and_its_stock_is_not_touched(database: Database) -> None:
    make_product(database, sku="FREE", unit_price=0)
    make_product(database, sku="DOLLARS", unit_price=100, currency="USD", stock=3)
    for sku in ("A", "B"):
        make_product(database, sku=sku, unit_price=250, currency="EUR", stock=3)
    shop, _ = seed(database)
    assert shop.products_created == 0
    assert {item.sku for item in rows(database, OrderItem)} == {"A", "B"}
    assert {order.currency for order in rows(database, Order)} == {"EUR"}
    assert {product.stock for product in rows(database, Product) if product.sku in "AB"} == {3}
    assert_books_agree(database)


def test_a_catalog_of_gifts_has_nothing_to_sell(database: Database) -> None:
    make_product(database, unit_price=0)
    with pytest.raises(Conflict, match="give one a price"):
        seed(database)


def test_what_is_too_dear_to_be_counted_in_the_largest_order_is_not_seeded_with(database: Database) -> None:
    make_product(database, sku="DEAREST", unit_price=seeding.DEAREST)
    make_product(database, sku="DEARER", unit_price=seeding.DEAREST + 1)
    make_product(database, sku="DEAR", unit_price=MAX_AMOUNT)
    seed(database)
    assert {item.sku for item in rows(database, OrderItem)} == {"DEAREST"}
    assert max(order.total for order in rows(database, Order)) <= MAX_AMOUNT
    assert_books_agree(database)


def test_orders_are_made_as_they_are_written_and_not_all_at_once() -> None:
    products = list(seeding.invented_products(1))
    endless = History(orders=100_000_000, days=3_650, users=1)
    first = next(seeding.past_orders(endless, Shop([new_id()], 0, None, products, 0)))
    assert first.idempotency_key == f"{endless.name}:0"
