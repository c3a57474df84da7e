"""Placing lists of orders: keys, prices and stock, in one transaction."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, func, select

from orderkit import clock, idempotency
from orderkit.auth.models import User
from orderkit.catalog.models import Product
from orderkit.db import Database
from orderkit.errors import Invalid, InvalidToken, KeyExpired, KeyInUse, KeyReused, OutOfStock, PriceChanged
from orderkit.idempotency import Abandoned, Answer, IdempotencyKey, Replay
from orderkit.ids import new_id
from orderkit.orders.models import Order, OrderItem
from orderkit.orders.placement import Placement, PlaceOrder
from orderkit.orders.pricing import Line
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.payments.models import Payment
from orderkit.settings import Settings
from tests.factories import make_product, make_user


@pytest.fixture
def user(database: Database) -> User:
    return make_user(database)


@pytest.fixture
def placement(database: Database, settings: Settings) -> Placement:
    return Placement(database, settings)


def wanted(user: User, sku: str = "TEA", quantity: int = 1, *, key: str | None = None, **more: Any) -> PlaceOrder:
    more.setdefault("items", (Line(sku, quantity),))
    return PlaceOrder(
        new_id(), user.id, key or str(new_id()), more.pop("fingerprint", "same"), **more, payment_method="pm_card_visa"
    )


def count(database: Database, table: type[Any]) -> int:
    with database.reading() as session:
        return session.exec(select(func.count()).select_from(table)).one()


def stock(database: Database, sku: str) -> int:
    with database.reading() as session:
        return session.get_one(Product, sku).stock


def test_an_order_is_written_with_its_lines_its_payment_and_less_stock(
    database: Database, placement: Placement, user: User
) -> None:
    make_product(database, sku="TEA", stock=10, unit_price=250)
    make_product(database, sku="POT", stock=10, unit_price=1999)
    (placed,) = placement.place([wanted(user, items=(Line("TEA", 3), Line("POT", 1)))])
    assert isinstance(placed, OrderSnapshot)
    assert (placed.status, placed.payment_status, placed.total) == ("pending", "created", 3 * 250 + 1999)
    assert [(line.sku, line.quantity, line.line_total) for line in placed.lines] == [("TEA", 3, 750), ("POT", 1, 1999)]
    assert (count(database, Order), count(database, OrderItem), count(database, Payment)) == (1, 2, 1)
    assert (stock(database, "TEA"), stock(database, "POT")) == (7, 9)


def test_stock_is_given_out_in_the_order_of_arrival(database: Database, placement: Placement, user: User) -> None:
    make_product(database, sku="TEA", stock=5)
    outcomes = placement.place([wanted(user, quantity=3), wanted(user, quantity=3), wanted(user, quantity=2)])
    assert [type(one) for one in outcomes] == [OrderSnapshot, OutOfStock, OrderSnapshot]
    assert stock(database, "TEA") == 0


def test_a_sku_on_several_lines_is_one_need(database: Database, placement: Placement, user: User) -> None:
    make_product(database, sku="TEA", stock=5)
    (refused,) = placement.place([wanted(user, items=(Line("TEA", 3), Line("TEA", 3)))])
    assert isinstance(refused, OutOfStock)
    assert refused.facts == {"skus": ["TEA"]}


def test_what_is_refused_keeps_nothing_and_does_not_use_up_its_key(
    database: Database, placement: Placement, user: User
) -> None:
    make_product(database, sku="TEA", stock=5, unit_price=100)
    make_product(database, sku="THE", stock=5, currency="EUR")
    outcomes = placement.place(
        [
            wanted(user, quantity=6, key="stock"),
            wanted(user, sku="NONE", key="sku"),
            wanted(user, expected_total=99, key="price"),
            wanted(user, items=(Line("TEA", 1), Line("THE", 1)), key="currency"),
        ]
    )
    assert [type(one) for one in outcomes] == [OutOfStock, Invalid, PriceChanged, Invalid]
    assert (count(database, Order), count(database, IdempotencyKey), stock(database, "TEA")) == (0, 0, 5)
    again = placement.place([wanted(user, key=key) for key in ("stock", "sku", "price", "currency")])
    assert [type(one) for one in again] == [OrderSnapshot] * 4


def test_a_wrong_expectation_is_told_before_a_lack_of_stock(
    database: Database, placement: Placement, user: User
) -> None:
    make_product(database, sku="TEA", stock=0, unit_price=100)
    (refused,) = placement.place([wanted(user, expected_total=99)])
    assert isinstance(refused, PriceChanged)
    assert refused.facts["total"] == 100


def test_errors_point_at_the_lines_that_are_wrong(database: Database, placement: Placement, user: User) -> None:
    make_product(database, sku="TEA")
    (refused,) = placement.place([wanted(user, items=(Line("TEA", 1), Line("NONE", 1)))])
    assert isinstance(refused, Invalid)
    assert refused.pointers == [("#/items/1/sku", "there is no NONE")]


def test_one_key_twice_in_a_batch_places_one_order(database: Database, placement: Placement, user: User) -> None:
    make_product(database, sku="TEA", stock=5)
    outcomes = placement.place(
        [wanted(user, key="k"), wanted(user, key="k"), wanted(user, key="k", fingerprint="other")]
    )
    assert [type(one) for one in outcomes] == [OrderSnapshot, KeyInUse, KeyReused]
    assert (count(database, Order), stock(database, "TEA")) == (1, 4)


def test_the_same_key_of_another_user_is_another_key(database: Database, placement: Placement, user: User) -> None:
    make_product(database, sku="TEA", stock=5)
    outcomes = placement.place([wanted(user, key="k"), wanted(make_user(database), key="k")])
    assert [type(one) for one in outcomes] == [OrderSnapshot, OrderSnapshot]


def test_a_finished_key_replays_its_answer(database: Database, placement: Placement, user: User) -> None:
    make_product(database, sku="TEA", stock=5)
    answer = Answer(202, '{"as": "stored"}')
    (placed,) = placement.place([wanted(user, key="k", answer_at_once=lambda order: answer)])
    assert isinstance(placed, OrderSnapshot)
    (again,) = placement.place([wanted(user, key="k", answer_at_once=lambda order: Answer(202, "another"))])
    assert again == Replay(placed.id, answer)


def test_a_key_whose_request_died_is_answered_from_its_order(
    database: Database, placement: Placement, user: User
) -> None:
    make_product(database, sku="TEA", stock=5)
    (placed,) = placement.place([wanted(user, key="k")])
    assert isinstance(placed, OrderSnapshot)
    with clock.moved(timedelta(seconds=11)):
        (again,) = placement.place([wanted(user, key="k")])
        (other,) = placement.place([wanted(user, key="k", fingerprint="other")])
    assert again == Abandoned(placed.id)
    assert isinstance(other, KeyReused)


@pytest.mark.parametrize("forgotten", [False, True])
def test_an_old_key_is_expired_even_when_its_row_was_forgotten(
    database: Database, placement: Placement, user: User, forgotten: bool
) -> None:
    make_product(database, sku="TEA", stock=5)
    (placed,) = placement.place([wanted(user, key="k")])
    assert isinstance(placed, OrderSnapshot)
    with clock.moved(timedelta(days=31)):
        if forgotten:
            with database.transaction() as session:
                assert idempotency.forget(session.connection(), before=clock.now() - timedelta(days=30)) == 1
        refused, innocent = placement.place([wanted(user, key="k"), wanted(user)])
    assert isinstance(refused, KeyExpired)
    assert refused.headers["Location"] == f"/orders/{placed.id}"
    assert isinstance(innocent, OrderSnapshot), "only the guilty member of a batch fails"
    assert (count(database, Order), stock(database, "TEA")) == (2, 3)


@pytest.mark.parametrize("refused", [{"quantity": 6}, {"sku": "NONE"}, {"expected_total": 1}], ids=str)
def test_a_forgotten_key_is_expired_also_where_the_order_would_be_refused(
    database: Database, placement: Placement, user: User, refused: dict[str, Any]
) -> None:
    make_product(database, sku="TEA", stock=5)
    (placed,) = placement.place([wanted(user, key="k")])
    assert isinstance(placed, OrderSnapshot)
    with database.transaction() as session:
        idempotency.forget(session.connection(), before=clock.now() + timedelta(seconds=1))
    (told,) = placement.place([wanted(user, key="k", **refused)])
    assert isinstance(told, KeyExpired), "out of stock would say that nothing was kept"
    assert told.headers["Location"] == f"/orders/{placed.id}"


def test_only_the_order_of_a_vanished_account_fails(database: Database, placement: Placement, user: User) -> None:
    make_product(database, sku="TEA", stock=5)
    ghost = User(email="gone@example.com", name="gone")
    outcomes = placement.place([wanted(user), wanted(ghost), wanted(user)])
    assert [type(one) for one in outcomes] == [OrderSnapshot, InvalidToken, OrderSnapshot]
    assert (count(database, Order), stock(database, "TEA")) == (2, 3)


def test_a_batch_whose_commit_was_lost_after_it_happened_finds_its_own_orders(
    database: Database, placement: Placement, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_product(database, sku="TEA", stock=5)
    member = wanted(user, key="k", items=(Line("TEA", 2),))
    _lose_the_first_commit(monkeypatch, placement, after=True)
    (placed,) = placement.place([member])
    assert isinstance(placed, OrderSnapshot)
    assert placed.id == member.order_id
    assert placed.lines[0].quantity == 2
    assert (count(database, Order), stock(database, "TEA")) == (1, 3)


def test_a_batch_whose_connection_was_lost_before_the_commit_is_done_again(
    database: Database, placement: Placement, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_product(database, sku="TEA", stock=5)
    _lose_the_first_commit(monkeypatch, placement, after=False)
    (placed,) = placement.place([wanted(user)])
    assert isinstance(placed, OrderSnapshot)
    assert (count(database, Order), stock(database, "TEA")) == (1, 4)


def _lose_the_first_commit(monkeypatch: pytest.MonkeyPatch, placement: Placement, *, after: bool) -> None:
    """The connection breaks around the first COMMIT: after it was done, or before."""
    database = placement._database
    transaction = database.transaction
    first = iter([True])

    @contextmanager
    def breaking() -> Iterator[Session]:
        lost = OperationalError("COMMIT", {}, Exception("server closed the connection"), connection_invalidated=True)
        breaks = next(first, False)
        with transaction() as session:
            yield session
            if breaks and not after:
                raise lost
        if breaks:
            raise lost

    monkeypatch.setattr(database, "transaction", breaking)


def test_a_hundred_buyers_of_the_last_piece_get_it_once(database: Database, placement: Placement, user: User) -> None:
    make_product(database, sku="TEA", stock=1)
    outcomes: list[Any] = []

    def buy() -> None:
        outcomes.extend(placement.place([wanted(user) for _ in range(10)]))

    buyers = [threading.Thread(target=buy) for _ in range(10)]
    for buyer in buyers:
        buyer.start()
    for buyer in buyers:
        buyer.join()
    assert Counter(type(one) for one in outcomes) == {OrderSnapshot: 1, OutOfStock: 99}
    assert stock(database, "TEA") == 0


def test_orders_of_a_b_and_b_a_at_once_never_deadlock(database: Database, placement: Placement, user: User) -> None:
    for sku in ("A", "B"):
        make_product(database, sku=sku, stock=10_000)
    failures: list[Any] = []

    def buy(lines: tuple[Line, ...]) -> None:
        for _ in range(40):
            failures.extend(
                one for one in placement.place([wanted(user, items=lines)] * 1) if not isinstance(one, OrderSnapshot)
            )

    buyers = [
        threading.Thread(target=buy, args=(lines,))
        for lines in ((Line("A", 1), Line("B", 1)), (Line("B", 1), Line("A", 1))) * 2
    ]
    for buyer in buyers:
        buyer.start()
    for buyer in buyers:
        buyer.join()
    assert failures == []
    assert stock(database, "A") == stock(database, "B") == 10_000 - 160


def test_many_processes_worth_of_one_key_place_one_order(database: Database, settings: Settings, user: User) -> None:
    make_product(database, sku="TEA", stock=100)
    outcomes: list[Any] = []

    def order() -> None:
        outcomes.extend(Placement(database, settings).place([wanted(user, key="k")]))

    threads = [threading.Thread(target=order) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(type(one) for one in outcomes) == {OrderSnapshot: 1, KeyInUse: 19}
    assert (count(database, Order), stock(database, "TEA")) == (1, 99)
