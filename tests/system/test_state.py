"""What waits, counted within bounds, and for how long."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text

from orderkit import clock
from orderkit.clock import now
from orderkit.db import Database
from orderkit.fulfillment.models import Fulfillment
from orderkit.orders import refunds
from orderkit.payments.models import Payment
from orderkit.settings import Settings
from orderkit.system import state
from orderkit.system.state import SystemState
from tests import plans
from tests.shop import Shop


@pytest.fixture
def shop(database: Database, settings: Settings) -> Shop:
    return Shop(database, settings)


def read(database: Database) -> SystemState:
    with database.reading() as session:
        return state.read(session.connection())


def test_nothing_waits_in_an_empty_shop(database: Database) -> None:
    found = read(database)
    assert found.backlogs.keys() == state.KINDS.keys()
    assert {(one.waiting, one.due, one.oldest, one.due_since) for one in found.backlogs.values()} == {
        (0, 0, None, None)
    }
    assert found.fulfillments == {"queued": 0, "running": 0, "retrying": 0}
    assert found.rollups_since is None
    assert found.age(None) == 0.0


def test_what_waits_is_counted_by_kind_with_its_age(shop: Shop) -> None:
    began = now()
    shop.place()
    letter = shop.dead()
    shop.queued()
    paid = shop.paid()
    with shop.database.transaction() as session:
        refunds.request(session.connection(), paid.id, reason="broken")
    with shop.database.transaction() as session:
        session.get_one(Fulfillment, letter.fulfillment_id).recall_at = now()
    found = read(shop.database)
    assert {kind: one.waiting for kind, one in found.backlogs.items()} == {
        "events": 2,
        "payments": 1,
        "refunds": 1,
        "fulfillments": 1,
        "recalls": 1,
        "mails": 0,
        "dead_letters": 1,
    }
    assert all(one.due == one.waiting for one in found.backlogs.values())
    assert found.fulfillments == {"queued": 1, "running": 0, "retrying": 0}
    assert found.rollups_since == found.backlogs["events"].oldest
    for one in found.backlogs.values():
        assert one.oldest is None or began <= one.oldest <= found.at


def test_what_is_due_later_waits_and_is_not_due(shop: Shop) -> None:
    placed = shop.place()
    with shop.database.transaction() as session:
        session.get_one(Payment, placed.payment_id).run_at = now() + timedelta(hours=1)
    found = read(shop.database).backlogs["payments"]
    assert (found.waiting, found.due, found.due_since) == (1, 0, None)
    assert found.oldest == placed.created_at


def test_ages_grow_with_the_clock_and_are_never_negative(shop: Shop) -> None:
    shop.paid()
    with clock.moved(timedelta(minutes=10)):
        found = read(shop.database)
        assert 600 <= found.age(found.rollups_since) < 660
    with clock.moved(timedelta(minutes=-10)):
        found = read(shop.database)
        assert found.age(found.rollups_since) == 0.0


def test_rollups_wait_for_events_of_orders_and_not_for_those_of_products(shop: Shop) -> None:
    shop.paid()
    with shop.database.transaction() as session:
        session.connection().execute(text("UPDATE outbox SET order_id = NULL, sequence = NULL"))
    found = read(shop.database)
    assert found.backlogs["events"].waiting == 1
    assert found.rollups_since is None


def test_no_more_rows_are_looked_at_than_say_enough(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(4):
        shop.paid()
    monkeypatch.setattr(state, "MOST", 3)
    assert read(shop.database).backlogs["events"].waiting == 3


def test_each_question_walks_the_index_of_just_the_rows_that_wait(shop: Shop) -> None:
    """However many there are that do not wait; the plan is asked for with the tables as they are."""
    shop.paid()
    plans.vacuum(shop.database)
    with shop.database.reading() as session:
        if plans.is_postgresql(session):
            session.connection().execute(text("SET enable_seqscan = off"))
        for name, kind in state.KINDS.items():
            told = plans.plan(session, state._question(name, kind, now()))
            assert kind.index in told, name
            assert "Sort" not in told, name
            assert "TEMP B-TREE" not in told, name
