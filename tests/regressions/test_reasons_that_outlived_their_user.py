"""Why a customer cancelled, or staff paid back, was typed by people, and stayed in the history, the refund and the events of an
order after its user was erased. And staff could note something on it afterwards, which nothing ever erased.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from sqlmodel import col, select

from orderkit import clock
from orderkit.auth import moderation
from orderkit.auth.audit_log import Actor
from orderkit.auth.models import User
from orderkit.cli import repeating
from orderkit.cli.orders import _refunded
from orderkit.db import Database
from orderkit.errors import Conflict
from orderkit.events.models import OutboxEvent
from orderkit.fulfillment import by_hand, dead_letters
from orderkit.orders import cancellation, editing, erasure, refunds, typed_reasons
from orderkit.orders.models import OrderHistory
from orderkit.orders.settlement import Settle, Settlement
from orderkit.orders.states import OrderStatus
from orderkit.payments.charging import Attempt
from orderkit.payments.gateways import Captured, Refunded
from orderkit.payments.models import Refund
from orderkit.settings import Settings
from tests.shop import Shop

LATER = erasure.SETTLED + timedelta(minutes=1)
WORDS = "ask for Canary, 0171 555"


@pytest.fixture
def shop(database: Database, settings: Settings) -> Shop:
    return Shop(database, settings)


def delete(shop: Shop) -> None:
    with shop.database.transaction() as session:
        moderation.leave(session.connection(), Actor(shop.user_id, "here"), shop.user_id)
        erasure.erase(session.connection(), shop.user_id)


def turn(shop: Shop) -> bool:
    """What the worker does; whether there was something to do."""
    with shop.database.reading() as session:
        waiting = erasure.waiting(session.connection(), limit=10)
    for user_id in waiting:
        with shop.database.transaction() as session:
            erasure.go_on(session.connection(), user_id)
    return bool(waiting)


def is_erased(shop: Shop) -> bool:
    with shop.database.reading() as session:
        user = session.get_one(User, shop.user_id)
    return user.erased_at is not None and user.erase_at is None


def ask(shop: Shop, order_id: UUID, reason: str = WORDS, amount: int | None = None) -> UUID:
    with shop.database.transaction() as session:
        return refunds.request(session.connection(), order_id, amount=amount, reason=reason).id


def settle(shop: Shop, refund_id: UUID) -> None:
    with shop.database.transaction() as session:
        due = refunds.claim(session.connection(), refund_id, settings=shop.settings)
    assert due is not None
    with shop.database.transaction() as session:
        refunds.settle(session.connection(), due, Refunded(refund_id.hex), [], settings=shop.settings)


def cancel(shop: Shop, order_id: UUID, reason: str = WORDS) -> None:
    with shop.database.transaction() as session:
        cancellation.cancel(session.connection(), order_id, reason=reason, actor_id=shop.user_id)


def ship(shop: Shop, order_id: UUID) -> None:
    with shop.database.transaction() as session:
        connection = session.connection()
        by_hand.ship(connection, editing.lock(connection, order_id, None))


def reasons(shop: Shop, order_id: UUID) -> list[str]:
    """What history and events say, which is the same, and then refunds."""
    with shop.database.reading() as session:
        of_one = select(OrderHistory).where(OrderHistory.order_id == order_id).order_by(col(OrderHistory.version))
        history = [row.reason for row in session.exec(of_one)]
        sent = select(OutboxEvent).where(OutboxEvent.order_id == order_id).order_by(col(OutboxEvent.sequence))
        assert [one.payload["reason"] for one in session.exec(sent)] == history[1:], (
            "an order that is placed has no event"
        )
        found = session.exec(select(Refund).where(Refund.payment_id == shop.payment(order_id).id))
        return history + sorted(one.reason for one in found)


def test_words_of_a_cancel_and_of_refunds_go_and_every_row_stays(shop: Shop) -> None:
    cancelled, refunded, shipped = shop.paid(), shop.paid(quantity=2), shop.paid(quantity=2)
    cancel(shop, cancelled.id)
    settle(shop, ask(shop, refunded.id))
    ask(shop, shipped.id, amount=100)
    ship(shop, shipped.id)
    before = [len(reasons(shop, one.id)) for one in (cancelled, refunded, shipped)]
    delete(shop)
    asked = typed_reasons.ERASED_OF_A_REFUND
    assert reasons(shop, cancelled.id) == ["placed", "payment captured", "erased", "erased"]
    paid_back = "refund of 10.00 GBP paid back"
    assert reasons(shop, refunded.id) == ["placed", "payment captured", asked, paid_back, "erased", "erased"]
    assert reasons(shop, shipped.id) == ["placed", "payment captured", asked, "by hand", "erased"]
    assert [len(reasons(shop, one.id)) for one in (cancelled, refunded, shipped)] == before
    with clock.moved(LATER):
        assert turn(shop)
        assert not turn(shop)
    assert is_erased(shop)


def test_what_orderkit_said_itself_stays(shop: Shop) -> None:
    given_up = shop.dead().order_id
    with shop.database.transaction() as session:
        dead_letters.discard(session.connection(), shop.letter().id)
    late, plain = shop.place(), shop.paid()
    voided = [Attempt(1, "void", "captured", "ch_1", clock.now(), 1)]
    Settlement(shop.database, shop.settings).settle([Settle(late.id, Captured("ch_1"), voided)])
    with shop.database.transaction() as session:
        cancellation.cancel(session.connection(), plain.id)
    before = [reasons(shop, one) for one in (given_up, late.id, plain.id)]
    delete(shop)
    assert [reasons(shop, one) for one in (given_up, late.id, plain.id)] == before


@pytest.mark.parametrize("words", ["refund of 1 asked for: erased", "asked for: erased", "erased, they said"])
def test_no_words_pass_for_such_that_are_erased_already(shop: Shop, words: str) -> None:
    order = shop.paid()
    settle(shop, ask(shop, order.id, words))
    delete(shop)
    assert not [one for one in reasons(shop, order.id) if words in one and one != typed_reasons.ERASED_OF_A_REFUND]


def test_words_on_an_order_that_is_still_to_be_shipped_go_when_it_is_closed(shop: Shop) -> None:
    order = shop.paid(quantity=2)
    ask(shop, order.id, amount=100)
    delete(shop)
    assert WORDS in reasons(shop, order.id)
    cancel(shop, order.id)
    with clock.moved(LATER):
        assert turn(shop)
    assert not [one for one in reasons(shop, order.id) if WORDS in one]
    assert is_erased(shop)


def test_more_words_than_one_transaction_takes_are_gone_on_with(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "AT_ONCE", 2)
    orders = [shop.paid() for _ in range(5)]
    for order in orders:
        cancel(shop, order.id)
    delete(shop)
    assert [WORDS in str(reasons(shop, one.id)) for one in orders].count(True) == 3
    for _ in range(4):
        turn(shop)
    assert not [one for one in orders if WORDS in str(reasons(shop, one.id))]


def test_the_words_of_others_stay(shop: Shop, settings: Settings) -> None:
    mine = shop.paid()
    cancel(shop, mine.id)
    leaving = shop.user_id
    with shop.database.transaction() as session:
        other = User(email="other@example.com", name="Other")
        session.add(other)
        shop.user_id = other.id
    theirs = shop.paid()
    cancel(shop, theirs.id)
    shop.user_id = leaving
    delete(shop)
    assert WORDS in reasons(shop, theirs.id)
    assert WORDS not in reasons(shop, mine.id)


def test_a_refund_of_an_order_of_somebody_erased_is_made_and_its_words_go(shop: Shop) -> None:
    order = shop.paid(quantity=2)
    ship(shop, order.id)
    delete(shop)
    with clock.moved(LATER):
        assert turn(shop)
        assert is_erased(shop)
        given = _refunded(shop.database, shop.settings, repeating.Key("k"), order.id, None, [], WORDS, restock=False)
        assert not given.replayed
        assert WORDS in reasons(shop, order.id)
        settle(shop, shop.refunds()[0].id)
        assert turn(shop)
        assert not turn(shop)
    assert shop.order(order.id).status == OrderStatus.REFUNDED
    assert not [one for one in reasons(shop, order.id) if WORDS in one]
    assert is_erased(shop)


def test_nothing_is_noted_on_a_closed_order_of_somebody_deleted(shop: Shop) -> None:
    closed, still_open = shop.paid(), shop.paid()
    ship(shop, closed.id)
    delete(shop)

    def note(order_id: UUID, text: str | None) -> None:
        with shop.database.transaction() as session:
            editing.note(session.connection(), editing.lock(session.connection(), order_id, None), text)

    with pytest.raises(Conflict):
        note(closed.id, "Canary called")
    note(closed.id, None)
    note(still_open.id, "Canary called")
    cancel(shop, still_open.id)
    with clock.moved(LATER):
        turn(shop)
    assert is_erased(shop)
    assert [shop.order(one.id).staff_note for one in (closed, still_open)] == [None, None]
