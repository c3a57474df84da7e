"""The relay: every event once, those of one order in sequence, however many relays there are and whichever of them dies."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from loguru import logger
from sqlalchemy import Connection, text
from sqlalchemy import event as listener
from sqlmodel import Session, select

from orderkit import clock
from orderkit.events import outbox, types
from orderkit.events.models import OutboxEvent
from orderkit.fulfillment import by_hand
from orderkit.fulfillment.models import Fulfillment
from orderkit.orders import cancellation, snapshot
from orderkit.worker import relay as relaying
from orderkit.worker.relay import Relay
from tests.engines import on_postgresql
from tests.plans import analyze, is_postgresql, plan
from tests.shop import Shop

pytestmark = pytest.mark.integration


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "BATCH", 3)


def unsent(shop: Shop) -> int:
    with shop.database.reading() as session:
        return len(session.exec(select(OutboxEvent.id).where(OutboxEvent.sent_at == None)).all())  # noqa: E711


def drain(relay: Relay) -> list[int]:
    turns = []
    while done := relay.turn():
        turns.append(done)
    return turns


def test_paid_orders_get_a_fulfillment_each(shop: Shop) -> None:
    orders = [shop.paid() for _ in range(3)]

    assert drain(Relay(shop.database)) == [3]

    assert sorted(one.order_id for one in shop.all(Fulfillment)) == sorted(order.id for order in orders)
    assert unsent(shop) == 0


def test_outbox_is_emptied_batch_by_batch(shop: Shop, small_batches: None) -> None:
    for _ in range(7):
        shop.paid()

    assert drain(Relay(shop.database)) == [3, 3, 1]
    assert len(shop.all(Fulfillment)) == 7


def test_events_that_nobody_here_needs_are_passed_over(shop: Shop) -> None:
    order = shop.place()
    payload = types.order_payload(user_id=shop.user_id, currency="EUR", total=1, country=None, reason="imported")
    with shop.database.transaction() as session:
        imported = outbox.Event(order.id, 1, types.ORDER_IMPORTED, payload)
        outbox.record(session.connection(), [imported], at=clock.now())

    assert drain(Relay(shop.database)) == [1]

    assert shop.all(Fulfillment) == []
    assert unsent(shop) == 0


@on_postgresql
def test_relay_that_waits_for_an_order_keeps_nobody_from_shipping_another_by_hand(shop: Shop) -> None:
    """Or it would, in a circle: a settlement may hold the one order and wait for the other."""
    cancelled, other = shop.paid(), shop.paid()
    with shop.database.transaction() as session:
        cancellation.cancel(session.connection(), cancelled.id, reason="changed my mind")

    def ship_by_hand() -> None:
        with shop.database.transaction() as session:
            by_hand.ship(session.connection(), snapshot.lock(session.connection(), [other.id])[other.id])

    with ThreadPoolExecutor(2) as threads:
        with shop.database.transaction() as session:
            snapshot.lock(session.connection(), [cancelled.id])
            turns = threads.submit(drain, Relay(shop.database))
            with pytest.raises(TimeoutError):
                turns.result(timeout=0.3)
            threads.submit(ship_by_hand).result(timeout=3)
        turns.result(timeout=10)

    assert shop.order(other.id).status == "shipped"
    assert [shop.fulfillment(one.id).status for one in (cancelled, other)] == ["cancelled", "cancelled"]


@pytest.mark.parametrize("apart", [True, False], ids=["in two turns", "in one turn"])
def test_order_paid_and_then_cancelled_ends_cancelled(shop: Shop, apart: bool) -> None:
    order = shop.paid()
    relay = Relay(shop.database)
    if apart:
        drain(relay)
    with shop.database.transaction() as session:
        cancellation.cancel(session.connection(), order.id, reason="changed my mind")
    drain(relay)

    assert shop.fulfillment(order.id).status == "cancelled"


def test_events_of_one_order_are_never_sent_out_of_sequence(
    shop: Shop, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied: list[tuple[object, str]] = []
    real = relaying._apply

    def seen(connection: Connection, events: Sequence[Any], at: datetime) -> None:
        applied.extend((one.order_id, one.type) for one in events)
        real(connection, events, at)

    monkeypatch.setattr(relaying, "_apply", seen)
    orders = [shop.paid() for _ in range(5)]
    for order in orders[::2]:
        with shop.database.transaction() as session:
            cancellation.cancel(session.connection(), order.id, reason="changed my mind")

    drain(Relay(shop.database))

    for order in orders:
        assert [name for order_id, name in applied if order_id == order.id] == shop.events(order.id)


def test_two_relays_at_once_apply_each_event_once(shop: Shop, small_batches: None) -> None:
    orders = [shop.paid() for _ in range(20)]
    barrier = threading.Barrier(3)

    def relay_all(_: int) -> int:
        relay, sent = Relay(shop.database), 0
        barrier.wait()
        for _turn in range(60):
            sent += relay.turn()
        return sent

    with ThreadPoolExecutor(3) as threads:
        sent = list(threads.map(relay_all, range(3)))

    assert sum(sent) + sum(drain(Relay(shop.database))) == 20
    assert sorted(one.order_id for one in shop.all(Fulfillment)) == sorted(order.id for order in orders)


@pytest.mark.parametrize("engine_name", ["postgresql"], indirect=True)  # on SQLite it waits for the one writer instead
def test_whoever_comes_while_another_relays_leaves_it_all_to_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.paid()
    assert Relay(shop.database).turn() == 1  # the first of all turns makes the lease
    others, real = [], relaying._apply

    def meanwhile(connection: Connection, events: Sequence[Any], at: datetime) -> None:
        others.append(Relay(shop.database).turn())
        real(connection, events, at)

    monkeypatch.setattr(relaying, "_apply", meanwhile)
    order = shop.paid()

    assert Relay(shop.database).turn() == 1
    assert others == [0]
    assert shop.fulfillment(order.id).status == "queued"


def test_relay_killed_before_its_commit_leaves_everything_to_the_next(shop: Shop) -> None:
    order = shop.paid()

    def die(_connection: object) -> None:
        raise KeyboardInterrupt

    listener.listen(shop.database.engine, "commit", die)
    with pytest.raises(KeyboardInterrupt):
        Relay(shop.database).turn()
    listener.remove(shop.database.engine, "commit", die)

    assert (shop.all(Fulfillment), unsent(shop)) == ([], 1)
    assert drain(Relay(shop.database)) == [1]
    assert shop.fulfillment(order.id).status == "queued"


def of_product(sku: str = "TEA") -> outbox.Event:
    return outbox.Event(None, None, types.PRODUCT_LOW_STOCK, types.low_stock_payload(sku, 3, 5))


def tell(shop: Shop, *events: outbox.Event) -> None:
    with shop.database.transaction() as session:
        outbox.record(session.connection(), events, at=clock.now())


@pytest.fixture
def said() -> Iterator[list[str]]:
    """Lines of the log, from warnings up."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{level} {message}", level="WARNING")
    yield lines
    logger.remove(sink)


def test_low_stock_is_passed_over_and_said_once(shop: Shop, said: list[str]) -> None:
    tell(shop, of_product())
    relay = Relay(shop.database)
    assert drain(relay) == [1]
    assert drain(relay) == []
    assert said == ["WARNING stock of TEA is low: 3 left, told of at 5 or fewer\n"]
    assert unsent(shop) == 0


def test_neither_orders_nor_products_wait_for_the_other(shop: Shop, small_batches: None) -> None:
    for _ in range(4):
        shop.paid()
    tell(shop, *[of_product() for _ in range(7)])
    assert drain(Relay(shop.database)) == [6, 4, 1]
    assert len(shop.all(Fulfillment)) == 4


def test_low_stock_is_not_said_before_it_is_sent(shop: Shop, said: list[str]) -> None:
    tell(shop, of_product())

    def die(_connection: object) -> None:
        raise KeyboardInterrupt

    listener.listen(shop.database.engine, "commit", die)
    with pytest.raises(KeyboardInterrupt):
        Relay(shop.database).turn()
    listener.remove(shop.database.engine, "commit", die)
    assert said == []
    assert unsent(shop) == 1


@pytest.mark.parametrize(
    ("query", "index"), [("_unsent", "ix_outbox_unsent"), ("_unsent_of_products", "ix_outbox_of_products")]
)
def test_the_relay_reads_nothing_that_was_sent(rolled_back: Session, query: str, index: str) -> None:
    outbox.record(rolled_back.connection(), [of_product() for _ in range(3000)], at=clock.now())
    rolled_back.execute(text("UPDATE outbox SET sent_at = created_at"))
    analyze(rolled_back, "outbox")
    told = plan(rolled_back, getattr(relaying, query).limit(200))
    if not is_postgresql(rolled_back):
        index = "ix_outbox_unsent"  # SQLite finds the few of products there too, and sorts them
    assert index in told, told
