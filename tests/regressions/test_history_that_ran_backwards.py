"""On PostgreSQL, whoever waited for an order wrote in its history, and as its `updated_at`, a time before what they waited for.

The time was taken when the transaction began and not when it had the order's lock. SQLite's transactions begin with the lock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import Connection
from sqlmodel import col, select

from orderkit.db import Database
from orderkit.errors import OrderkitError
from orderkit.fulfillment import dead_letters, shipping
from orderkit.fulfillment.carriers import Booked
from orderkit.fulfillment.models import DeadLetter
from orderkit.orders import cancellation, editing, refunds
from orderkit.orders.models import OrderHistory
from orderkit.orders.settlement import Settle, Settlement
from orderkit.payments.gateways import Captured, Refunded, RefundRefused
from orderkit.settings import Settings
from tests.shop import Shop

Act = Callable[[], object]


@pytest.fixture
def shop(database: Database, settings: Settings) -> Shop:
    return Shop(database, settings)


def transact(shop: Shop, act: Callable[[Connection], object]) -> object:
    with shop.database.transaction() as session:
        return act(session.connection())


def asks(shop: Shop, order_id: UUID) -> Act:
    return partial(transact, shop, lambda found: refunds.request(found, order_id, amount=1, reason="late"))


def cancels(shop: Shop, order_id: UUID) -> Act:
    return partial(transact, shop, lambda found: cancellation.cancel(found, order_id))


def pending(shop: Shop) -> tuple[UUID, Sequence[Act]]:
    order = shop.place()
    captured = Settle(order.id, Captured("ch_1"))
    return order.id, [partial(Settlement(shop.database, shop.settings).settle, [captured]), cancels(shop, order.id)]


def paid(shop: Shop) -> tuple[UUID, Sequence[Act]]:
    order = shop.paid()
    return order.id, [asks(shop, order.id), cancels(shop, order.id)]


def booked(shop: Shop) -> tuple[UUID, Sequence[Act]]:
    queued = shop.queued()
    claim = transact(shop, partial(shipping.claim, fulfillment_id=queued.id, settings=shop.settings))
    assert isinstance(claim, shipping.Claim)

    def finish(found: Connection) -> object:
        return shipping.finish(found, claim, Booked("TR1"), duration_ms=1, settings=shop.settings)

    return queued.order_id, [partial(transact, shop, finish), asks(shop, queued.order_id)]


def paid_back(shop: Shop) -> tuple[UUID, Sequence[Act]]:
    order, acts = shop.paid(), []
    for amount, result in ((100, RefundRefused("too_old")), (order.total - 100, Refunded("re_1"))):
        made = transact(shop, partial(refunds.request, order_id=order.id, amount=amount, reason="late"))
        assert isinstance(made, refunds.OrderRefund)
        due = transact(shop, partial(refunds.claim, refund_id=made.id, settings=shop.settings))
        assert isinstance(due, refunds.DueRefund)
        settle = partial(refunds.settle, refund=due, result=result, attempts=[], settings=shop.settings)
        acts.append(partial(transact, shop, settle))
    return order.id, acts


def retried(shop: Shop) -> tuple[UUID, Sequence[Act]]:
    letter = shop.dead()
    return letter.order_id, [
        partial(transact, shop, partial(dead_letters.retry, letter_id=letter.id)),
        asks(shop, letter.order_id),
    ]


def discarded(shop: Shop) -> tuple[UUID, Sequence[Act]]:
    letter = shop.dead()
    discard = partial(dead_letters.discard, letter_id=letter.id)
    return letter.order_id, [partial(transact, shop, discard), asks(shop, letter.order_id)]


@pytest.mark.parametrize("case", [pending, paid, booked, paid_back, retried, discarded])
def test_who_waited_for_an_order_writes_a_time_after_what_was_waited_for(
    shop: Shop, case: Callable[[Shop], tuple[UUID, Sequence[Act]]]
) -> None:
    order_id, acts = case(shop)
    with ThreadPoolExecutor(len(acts)) as threads:
        with shop.database.transaction() as session:
            held = editing.lock(session.connection(), order_id, None)
            waiting = [threads.submit(act) for act in acts]
            assert not wait(waiting, timeout=0.3, return_when="FIRST_COMPLETED").done
            editing.note(session.connection(), held, "held for a while")
        for one in waiting:
            with suppress(OrderkitError):  # the other was first
                one.result(10)

    of_one = select(OrderHistory).where(OrderHistory.order_id == order_id).order_by(col(OrderHistory.version))
    with shop.database.reading() as session:
        times = [row.at for row in session.exec(of_one)]
    assert times == sorted(times)
    assert shop.order(order_id).updated_at == times[-1] > held.updated_at
    for fulfillment in shop.fulfillments(order_id):
        if case is not paid_back:
            assert fulfillment.updated_at > held.updated_at
    for letter in shop.all(DeadLetter):
        assert letter.resolved_at > held.updated_at
