"""A customer who gave "staff note changed" as the reason of a cancel never saw it in the story of the order: it was left out by
its reason. And a cancel whose reason was "by hand" was told as if staff had made it so.
"""

from __future__ import annotations

import pytest
from sqlalchemy import text

from orderkit.api import telling, timeline
from orderkit.db import Database
from orderkit.orders import cancellation, editing, reading, refunds
from orderkit.orders.states import OrderStatus
from orderkit.payments.gateways import Refunded
from orderkit.settings import Settings
from tests.shop import Shop

OURS = (
    editing.STAFF_NOTE_CHANGED,
    editing.ADDRESS_CHANGED,
    "refund of 5.00 GBP asked for: nothing",
    *sorted({one for reasons in telling.SAID_ALREADY.values() for one in reasons}),
)
"""What orderkit says itself as the reason of a change, and anybody may write."""


@pytest.fixture
def shop(database: Database, settings: Settings) -> Shop:
    return Shop(database, settings)


def story(shop: Shop, order_id: object, *, to_staff: bool) -> list[str]:
    with shop.database.reading() as session:
        order = reading.find(session.connection(), order_id)  # type: ignore[arg-type]
        assert order is not None
        found = timeline.page(session.connection(), order, limit=100, to_staff=to_staff)
    return [item["what"] for item in found.items]


@pytest.mark.parametrize("reason", OURS)
def test_a_cancel_is_told_with_the_reason_that_was_given_whatever_it_is(shop: Shop, reason: str) -> None:
    order = shop.paid()
    with shop.database.transaction() as session:
        cancellation.cancel(session.connection(), order.id, reason=reason, actor_id=shop.user_id)
    for to_staff in (False, True):
        assert f"The order was cancelled by the customer: {reason}." in story(shop, order.id, to_staff=to_staff)


@pytest.mark.parametrize("reason", OURS)
def test_a_refund_is_told_with_the_reason_that_was_given_whatever_it_is(shop: Shop, reason: str) -> None:
    order = shop.paid()
    with shop.database.transaction() as session:
        asked = refunds.request(session.connection(), order.id, reason=reason)
    with shop.database.transaction() as session:
        due = refunds.claim(session.connection(), asked.id, settings=shop.settings)
    assert due is not None
    with shop.database.transaction() as session:
        refunds.settle(session.connection(), due, Refunded("re_1"), [], settings=shop.settings)
    told = story(shop, order.id, to_staff=False)
    assert f"A refund of 5.00 GBP was asked for: {reason}." in told
    assert f"The order was refunded in full: {reason}." in told
    assert not [one for one in told if "edited" in one], "the refund's own row tells it"


def test_a_staff_note_is_hidden_from_the_owner_and_nothing_else(shop: Shop) -> None:
    order = shop.paid()
    with shop.database.transaction() as session:
        editing.note(session.connection(), editing.lock(session.connection(), order.id, None), "careful")
    to_staff, to_owner = (story(shop, order.id, to_staff=one) for one in (True, False))
    assert [one for one in to_staff if one not in to_owner] == ["The order was edited: staff note changed."]


def test_words_of_ours_count_only_for_states_whose_reason_nobody_else_gives(shop: Shop) -> None:
    assert not {OrderStatus.CANCELLED, OrderStatus.REFUNDED} & telling.SAID_ALREADY.keys()
    order = shop.paid()
    with shop.database.transaction() as session:
        query = text("UPDATE order_history SET reason = :reason WHERE version = 1")
        session.connection().execute(query, {"reason": editing.STAFF_NOTE_CHANGED})
    assert story(shop, order.id, to_staff=False)[0].startswith("The order was placed"), "it is no edit"
