"""Settling payments: whoever comes first decides, whoever comes later changes nothing."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select

from orderkit import clock
from orderkit.auth.models import User
from orderkit.catalog.models import Product
from orderkit.db import Database
from orderkit.errors import NotFound
from orderkit.events.models import OutboxEvent
from orderkit.idempotency import Answer, Replay
from orderkit.ids import new_id
from orderkit.orders import cancellation
from orderkit.orders.models import OrderHistory
from orderkit.orders.placement import Placement, PlaceOrder
from orderkit.orders.pricing import Line
from orderkit.orders.settlement import Settle, Settled, Settlement
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.payments.charging import Attempt, Operation, Outcome
from orderkit.payments.gateways import Captured, Declined, Unknown, Voided
from orderkit.payments.models import Payment, PaymentAttempt, Refund
from orderkit.settings import Settings
from tests.factories import make_product, make_user

CAPTURED = Captured("ch_1")


@pytest.fixture
def settlement(database: Database, settings: Settings) -> Settlement:
    return Settlement(database, settings)


@pytest.fixture
def placement(database: Database, settings: Settings) -> Placement:
    return Placement(database, settings)


@pytest.fixture
def user(database: Database) -> User:
    make_product(database, sku="TEA", stock=10, unit_price=500)
    return make_user(database)


def place(placement: Placement, user: User, quantity: int = 2, key: str = "k") -> OrderSnapshot:
    (placed,) = placement.place([PlaceOrder(new_id(), user.id, key, "same", (Line("TEA", quantity),), "pm_card_visa")])
    assert isinstance(placed, OrderSnapshot)
    return placed


def attempt(operation: Operation = "charge", outcome: Outcome = "captured") -> Attempt:
    return Attempt(1, operation, outcome, None, clock.now(), 12)


def settle(settlement: Settlement, order: OrderSnapshot, result: Any, *attempts: Attempt) -> OrderSnapshot:
    (settled,) = settlement.settle([Settle(order.id, result, attempts or (attempt(),))])
    assert isinstance(settled, Settled)
    return settled.order


def stock(database: Database) -> int:
    with database.reading() as session:
        return session.get_one(Product, "TEA").stock


def rows(database: Database, table: type[Any]) -> list[Any]:
    with database.reading() as session:
        return list(session.exec(select(table)))


def test_a_capture_makes_the_order_paid_and_says_so_once(
    database: Database, placement: Placement, settlement: Settlement, user: User
) -> None:
    order = settle(settlement, place(placement, user), CAPTURED)
    assert (order.status, order.payment_status, order.provider_reference, order.version) == (
        "paid",
        "captured",
        "ch_1",
        2,
    )
    assert [(e.type, e.sequence) for e in rows(database, OutboxEvent)] == [("order.paid", 2)]
    history = sorted(rows(database, OrderHistory), key=lambda row: row.version)
    assert [(row.from_status, row.to_status) for row in history] == [(None, "pending"), ("pending", "paid")]
    assert [a.outcome for a in rows(database, PaymentAttempt)] == ["captured"]
    assert stock(database) == 8


def test_a_decline_fails_the_order_and_gives_its_stock_back(
    database: Database, placement: Placement, settlement: Settlement, user: User
) -> None:
    order = settle(settlement, place(placement, user), Declined("card_declined"), attempt(outcome="declined"))
    assert (order.status, order.payment_status, stock(database)) == ("payment_failed", "declined", 10)


def test_an_unknown_answer_leaves_the_order_pending_and_due_again(
    database: Database, placement: Placement, settlement: Settlement, user: User
) -> None:
    order = settle(settlement, place(placement, user), Unknown("timeout"), attempt(outcome="unknown"))
    assert (order.status, order.payment_status, stock(database)) == ("pending", "unknown", 8)
    (payment,) = rows(database, Payment)
    assert payment.attempts == 1
    assert payment.run_at <= clock.now() + timedelta(seconds=1), "the sweep comes soon, no longer after the lease"


def test_unknown_then_captured_is_paid(placement: Placement, settlement: Settlement, user: User) -> None:
    placed = place(placement, user)
    settle(settlement, placed, Unknown("timeout"), attempt(outcome="unknown"))
    assert settle(settlement, placed, CAPTURED).status == "paid"


@pytest.mark.parametrize("later", [CAPTURED, Declined("no"), Unknown("timeout"), Voided()])
def test_a_settled_payment_stays_as_it_is(
    database: Database, placement: Placement, settlement: Settlement, user: User, later: Any
) -> None:
    placed = place(placement, user)
    settle(settlement, placed, CAPTURED)
    order = settle(settlement, placed, later)
    assert (order.status, order.payment_status, order.version) == ("paid", "captured", 2)
    assert len(rows(database, OutboxEvent)) == 1


def test_a_payment_that_was_voided_fails_the_order_and_gives_its_stock_back(
    database: Database, placement: Placement, settlement: Settlement, user: User
) -> None:
    order = settle(settlement, place(placement, user), Voided(), attempt("void", "voided"))
    assert (order.status, order.payment_status, stock(database)) == ("payment_failed", "voided", 10)


def test_a_capture_found_by_the_void_is_refunded_and_the_order_cancelled(
    database: Database, placement: Placement, settlement: Settlement, user: User
) -> None:
    order = settle(settlement, place(placement, user), CAPTURED, attempt("void", "captured"))
    assert (order.status, order.payment_status, stock(database)) == ("cancelled", "captured", 10)
    assert [(r.amount, r.status) for r in rows(database, Refund)] == [(1000, "pending")]


def test_an_order_cancelled_in_mid_charge_is_refunded_by_itself(
    database: Database, placement: Placement, settlement: Settlement, user: User
) -> None:
    placed = place(placement, user)
    with database.transaction() as session:
        cancellation.cancel(session.connection(), placed.id, reason="changed my mind")
    assert stock(database) == 10
    order = settle(settlement, placed, CAPTURED)
    assert (order.status, order.payment_status, order.refunded, stock(database)) == ("cancelled", "captured", 1000, 10)
    assert [(r.amount, r.status) for r in rows(database, Refund)] == [(1000, "pending")]


@pytest.mark.parametrize("result", [Declined("no"), Voided()])
def test_stock_of_an_order_cancelled_in_mid_charge_comes_back_once(
    database: Database, placement: Placement, settlement: Settlement, user: User, result: Any
) -> None:
    placed = place(placement, user)
    with database.transaction() as session:
        cancellation.cancel(session.connection(), placed.id, reason="changed my mind")
    assert settle(settlement, placed, result).status == "cancelled"
    assert stock(database) == 10
    assert rows(database, Refund) == []


def test_cancelling_a_paid_order_refunds_all_and_gives_its_stock_back(
    database: Database, placement: Placement, settlement: Settlement, user: User
) -> None:
    placed = place(placement, user)
    settle(settlement, placed, CAPTURED)
    with database.transaction() as session:
        order = cancellation.cancel(session.connection(), placed.id, reason="changed my mind", actor_id=user.id)
    assert (order.status, order.refunded, stock(database)) == ("cancelled", 1000, 10)
    assert [e.type for e in sorted(rows(database, OutboxEvent), key=lambda e: e.sequence)] == [
        "order.paid",
        "order.cancelled",
    ]


def test_cancelling_twice_changes_nothing_the_second_time(
    database: Database, placement: Placement, settlement: Settlement, user: User
) -> None:
    placed = place(placement, user)
    settle(settlement, placed, CAPTURED)
    with database.transaction() as session:
        once = cancellation.cancel(session.connection(), placed.id, reason="once")
    with database.transaction() as session:
        twice = cancellation.cancel(session.connection(), placed.id, reason="twice")
    assert twice == once
    assert len(rows(database, Refund)) == 1
    assert stock(database) == 10


def test_only_the_first_answer_is_stored_and_everyone_gives_it(
    placement: Placement, settlement: Settlement, user: User
) -> None:
    placed = place(placement, user)
    first, _ = settlement.settle(
        [Settle(placed.id, CAPTURED, (attempt(),), answer=lambda order: Answer(201, "first")), Settle(placed.id)]
    )
    (third,) = settlement.settle([Settle(placed.id, answer=lambda order: Answer(201, "third"))])
    assert isinstance(first, Settled)
    assert isinstance(third, Settled)
    assert first.answer == third.answer == Answer(201, "first")
    assert placement.place([PlaceOrder(new_id(), user.id, "k", "same", (Line("TEA", 2),), "pm_card_visa")]) == [
        Replay(placed.id, Answer(201, "first"))
    ]


def test_an_order_that_does_not_exist_fails_alone(placement: Placement, settlement: Settlement, user: User) -> None:
    placed = place(placement, user)
    missing, settled = settlement.settle([Settle(new_id(), CAPTURED), Settle(placed.id, CAPTURED, (attempt(),))])
    assert isinstance(missing, NotFound)
    assert isinstance(settled, Settled)


def test_settling_and_cancelling_at_once_end_in_money_and_stock_that_match(
    database: Database, placement: Placement, settlement: Settlement, user: User
) -> None:
    for n in range(20):
        placed = place(placement, user, quantity=1, key=f"race-{n}")
        start = threading.Barrier(2)

        def cancel(order: OrderSnapshot = placed, start: threading.Barrier = start) -> None:
            start.wait()
            with database.transaction() as session:
                cancellation.cancel(session.connection(), order.id, reason="race")

        thread = threading.Thread(target=cancel)
        thread.start()
        start.wait()
        settle(settlement, placed, CAPTURED)
        thread.join()
    assert stock(database) == 10
    assert {(p.status, p.refunded) for p in rows(database, Payment)} == {("captured", 500)}
    assert len(rows(database, Refund)) == 20


def test_many_who_settle_one_payment_at_once_settle_it_once(
    database: Database, placement: Placement, settlement: Settlement, user: User
) -> None:
    placed = place(placement, user)
    threads = [threading.Thread(target=settle, args=(settlement, placed, CAPTURED)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [e.type for e in rows(database, OutboxEvent)] == ["order.paid"]
    assert len(rows(database, OrderHistory)) == 2
