"""What each event says of an order, and what whoever brings past orders in says of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlmodel import Session, select

from orderkit import clock
from orderkit.analytics import facts
from orderkit.analytics.facts import Fact, GivenBack, Moved, Sale, Sold
from orderkit.auth.models import User
from orderkit.catalog.models import Product
from orderkit.db import Database
from orderkit.events import types
from orderkit.events.models import OutboxEvent
from orderkit.ids import new_id
from orderkit.orders import changes
from orderkit.orders.models import Order, OrderItem
from orderkit.orders.states import TRANSITIONS, OrderStatus
from orderkit.payments.models import Payment, Refund
from orderkit.rows import insert_rows
from orderkit.settings import Settings
from tests.analytics.trade import Trade
from tests.factories.orders import insert_orders
from tests.plans import analyze, is_postgresql, plan

pytestmark = pytest.mark.integration


@pytest.fixture
def trade(database: Database, settings: Settings) -> Trade:
    return Trade(database, settings)


def told(trade: Trade) -> list[Fact]:
    with trade.database.snapshot() as session:
        return facts.unsent(session.connection())


def order(trade: Trade, order_id: UUID) -> Order:
    with trade.database.reading() as session:
        return session.get_one(Order, order_id)


def sale(trade: Trade, order_id: UUID, country: str | None = "GB", sign: int = 1) -> Sale:
    """Of one cup of tea."""
    of = order(trade, order_id)
    return Sale(of.created_at, "GBP", of.user_id, country, 500, (Sold("TEA", 1, 500),), sign)


def given_back(trade: Trade, order_id: UUID, amount: int, country: str = "GB", sign: int = 1) -> GivenBack:
    of = order(trade, order_id)
    with trade.database.reading() as session:
        at = session.execute(text("SELECT created_at FROM refunds")).scalar_one()
    asked = at if isinstance(at, datetime) else datetime.fromisoformat(at).replace(tzinfo=UTC)
    return GivenBack(asked, "GBP", of.user_id, country, amount, sign)


def moved(trade: Trade, order_id: UUID, before: str | None, after: str) -> Moved:
    return Moved(order(trade, order_id).created_at, "GBP", before, after)


def test_a_pending_order_says_nothing(trade: Trade) -> None:
    trade.place()
    assert told(trade) == []


def test_a_paid_order_is_a_sale_of_when_it_was_placed(trade: Trade) -> None:
    with clock.moved(timedelta(hours=-5)):
        one = trade.place()
    trade.settle(one, "capture")
    assert told(trade) == [sale(trade, one), moved(trade, one, None, "paid")]


def test_a_failed_payment_is_no_sale(trade: Trade) -> None:
    one = trade.place()
    trade.settle(one, "decline")
    assert told(trade) == [moved(trade, one, None, "payment_failed")]


@pytest.mark.parametrize("late", [True, False], ids=["found when it was to be voided", "cancelled in mid-charge"])
def test_money_that_came_for_a_cancelled_order_is_a_sale(trade: Trade, late: bool) -> None:
    one = trade.place()
    if not late:
        trade.cancel(one)
    trade.settle(one, "capture when it is to be voided" if late else "capture")
    assert told(trade) == [moved(trade, one, None, "cancelled"), sale(trade, one)]


@pytest.mark.parametrize("amount", [200, 500])
def test_a_refund_counts_when_it_succeeded_with_when_it_was_asked_for(trade: Trade, amount: int) -> None:
    one = trade.paid()
    trade.relay_all()
    trade.ask_refund(one, amount)
    assert told(trade) == []
    with clock.moved(timedelta(hours=3)):
        trade.pay_back(one)
    whole = [moved(trade, one, "paid", "refunded")] if amount == 500 else []
    assert told(trade) == [given_back(trade, one, amount), *whole]


def test_a_refund_of_a_cancelled_order_counts_too(trade: Trade) -> None:
    one = trade.paid()
    trade.cancel(one)
    trade.relay_all()
    trade.pay_back(one)
    assert told(trade) == [given_back(trade, one, 500)]


def test_a_refused_refund_says_nothing(trade: Trade) -> None:
    one = trade.paid()
    trade.relay_all()
    trade.ask_refund(one, 200)
    trade.pay_back(one, refused=True)
    assert told(trade) == []


def test_a_paid_order_that_goes_to_another_country_is_counted_there_with_its_refunds(trade: Trade) -> None:
    one = trade.paid()
    trade.ask_refund(one, 200)
    trade.pay_back(one)
    trade.relay_all()
    trade.send_to(one, "FR")
    assert told(trade) == [
        sale(trade, one, "GB", -1),
        given_back(trade, one, 200, "GB", -1),
        sale(trade, one, "FR"),
        given_back(trade, one, 200, "FR"),
    ]


def test_a_sale_is_told_for_the_country_of_its_time(trade: Trade) -> None:
    one = trade.paid()
    trade.send_to(one, "FR")
    first, _moved, *then = told(trade)
    assert [first, *then] == [sale(trade, one, "GB"), sale(trade, one, "GB", -1), sale(trade, one, "FR")]


def test_a_pending_order_that_goes_to_another_country_is_counted_there_only(trade: Trade) -> None:
    one = trade.place()
    trade.send_to(one, "FR")
    trade.settle(one, "capture")
    assert told(trade) == [sale(trade, one, "FR"), moved(trade, one, None, "paid")]


def test_edits_of_anything_else_say_nothing(trade: Trade) -> None:
    one = trade.paid()
    trade.relay_all()
    trade.send_to(one, "GB")  # another road
    assert told(trade) == []


def test_an_event_of_a_version_before_is_told_with_the_country_of_the_order(trade: Trade) -> None:
    one = trade.paid()
    with trade.database.transaction() as session:
        event = session.exec(select(OutboxEvent)).one()
        event.payload = {name: value for name, value in event.payload.items() if name != "country"}
        session.add(event)
    assert told(trade)[0] == sale(trade, one, "GB")


def test_an_imported_order_says_nothing_because_whoever_imports_counts_it(trade: Trade) -> None:
    trade.bring_in("a", at=clock.now() - timedelta(days=3), refunded=3500)
    assert told(trade) == []


def test_events_name_the_only_move_that_they_can_mean() -> None:
    for status, event in changes.EVENTS.items():
        sources = {one.value for one, to in TRANSITIONS.items() if status in to}
        if event in facts._MOVES:
            before, after = facts._MOVES[event]
            assert (sources, after) == ({before or OrderStatus.PENDING.value}, status.value)
        else:
            assert event in facts._MOVES_FROM_ANYWHERE
            assert len(sources) > 1


def test_a_long_backlog_is_read_in_pieces(trade: Trade, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        trade.paid()
    at_once = told(trade)
    monkeypatch.setattr(facts, "AT_ONCE", 2)
    assert told(trade) == at_once
    assert len(at_once) == 10


def test_without_lines_only_the_lines_are_missing(trade: Trade) -> None:
    one = trade.paid()
    of = order(trade, one)
    span = (of.created_at, of.created_at + timedelta(seconds=1))
    bare = Sale(of.created_at, "GBP", of.user_id, "GB", 500, ())
    with trade.database.snapshot() as session:
        assert facts.unsent(session.connection(), lines=False) == [bare, moved(trade, one, None, "paid")]
        assert facts.of_base(session.connection(), *span, lines=False) == [bare, moved(trade, one, None, "paid")]
        assert facts.of_base(session.connection(), *span) == [sale(trade, one), moved(trade, one, None, "paid")]
        assert facts.of_base(session.connection(), span[1], span[1] + timedelta(days=1)) == []


# ── plans ────────────────────────────────────────────────────────────────────────────────────────────────────────────

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = (NOON, NOON + timedelta(hours=1))


def fill(session: Session) -> None:
    """5000 orders an hour apart, each with a line, a payment and, one in ten, a refund that succeeded."""
    user, number = new_id(), 5000
    connection = session.connection()
    at = [NOON - timedelta(hours=hours) for hours in range(number)]
    ids = [new_id() for _ in at]
    session.add(User(id=user, email="a@example.com", name="A"))
    session.add(Product(sku="TEA", name="Tea", unit_price=1, currency="GBP", stock=1))
    session.flush()
    insert_orders(
        connection,
        [
            {"id": one, "user_id": user, "status": "delivered", "total": 1, "created_at": when}
            for one, when in zip(ids, at, strict=True)
        ],
    )
    line = {"line": 1, "sku": "TEA", "name": "Tea", "quantity": 1, "unit_price": 1, "line_total": 1}
    insert_rows(connection, OrderItem, [{"order_id": one} | line for one in ids])
    payments = {row.order_id: row.id for row in session.exec(select(Payment))}
    rows = []
    for one, when in list(zip(ids, at, strict=True))[::10]:
        plain = {"id": new_id(), "payment_id": payments[one], "amount": 1, "currency": "GBP", "reason": "r"}
        rows.append(
            plain | {"status": "succeeded", "attempts": 0, "run_at": when, "created_at": when, "updated_at": when}
        )
    insert_rows(connection, Refund, rows)
    analyze(session, "orders", "order_items", "payments", "refunds")


def test_base_facts_ride_indexes(rolled_back: Session) -> None:
    fill(rolled_back)
    of_orders = plan(rolled_back, facts.orders_between(*HOUR))
    assert "ix_orders_created_at" in of_orders
    of_lines = plan(rolled_back, facts.lines_between(*HOUR))
    assert "ix_orders_created_at" in of_lines
    of_refunds = plan(rolled_back, facts.refunds_between(*HOUR))
    assert "ix_refunds_succeeded" in of_refunds
    scan = "Seq Scan" if is_postgresql(rolled_back) else "SCAN"
    for told_plan in (of_orders, of_lines, of_refunds):
        assert scan not in told_plan, told_plan


def test_unsent_events_ride_the_index_of_the_relay(rolled_back: Session) -> None:
    events = [OutboxEvent(type=types.PRODUCT_LOW_STOCK, payload={}, created_at=NOON, sent_at=NOON) for _ in range(3000)]
    rolled_back.add_all(events)
    rolled_back.flush()
    analyze(rolled_back, "outbox")
    assert "ix_outbox_unsent" in plan(rolled_back, facts.unsent_events())
