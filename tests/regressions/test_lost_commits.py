"""A COMMIT whose answer was lost was taken for one that never happened, or for somebody else's.

A review delayed the COMMIT of a placement by half a second and broke its connection meanwhile. The rerun looked for its order
before it claimed the key; the claim then waited for the COMMIT, found its own token, placed the order again, met the unique
key, and told the customer that the key had expired: 409, for an order that was placed and would be charged. In the same
place, when the members of a batch were rerun one by one and the database failed in the middle, all were told so, also those
who were committed. And a settlement that was rerun counted its one call to the provider twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlmodel import Session, col, func, select

from orderkit import clock
from orderkit.batches import in_one_transaction
from orderkit.db import Database
from orderkit.orders.models import Order
from orderkit.orders.placement import Placement
from orderkit.orders.settlement import Settle, Settled, Settlement
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.payments.charging import Attempt
from orderkit.payments.gateways import Captured
from orderkit.payments.models import Payment, PaymentAttempt
from orderkit.settings import Settings
from tests.engines import on_postgresql
from tests.factories import make_product, make_user, place_order, to_place

LOST = OperationalError("COMMIT", {}, Exception("server closed the connection"), connection_invalidated=True)


@on_postgresql
def test_a_rerun_waits_for_the_commit_that_is_still_under_way_and_finds_its_own_order(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = to_place(make_user(database), make_product(database, stock=5).sku)
    transaction = database.transaction
    threads: list[threading.Thread] = []

    @contextmanager
    def slow_to_commit() -> Iterator[Session]:
        if threads:
            with transaction() as session:
                yield session
            return
        session = Session(database.engine)
        session.begin()
        yield session

        def commit() -> None:
            time.sleep(0.3)
            session.commit()
            session.close()

        threads.append(threading.Thread(target=commit))
        threads[0].start()
        raise LOST

    monkeypatch.setattr(database, "transaction", slow_to_commit)
    (placed,) = Placement(database, settings).place([member])
    threads[0].join()
    assert isinstance(placed, OrderSnapshot), placed
    assert placed.id == member.order_id
    with database.reading() as session:
        assert session.exec(select(func.count(col(Order.id)))).one() == 1


def test_who_was_committed_one_by_one_is_not_told_of_a_later_failure(database: Database) -> None:
    def act(connection: Connection, members: Sequence[str], _rerun: bool) -> list[str]:
        connection.execute(text("SELECT 1"))
        if "guilty" in members:
            raise IntegrityError("INSERT", {}, Exception("unique"))
        if members == ["unlucky"]:
            raise OperationalError("INSERT", {}, Exception("locked"))
        return list(members)

    outcomes: list[Any] = in_one_transaction(database, ["a", "guilty", "b", "unlucky", "c"], act)
    assert [one if isinstance(one, str) else type(one) for one in outcomes] == [
        "a",
        IntegrityError,
        "b",
        OperationalError,
        "c",
    ]


def test_a_call_is_recorded_once_however_often_it_is_settled(database: Database, settings: Settings) -> None:
    order = place_order(database, settings, make_user(database), make_product(database, stock=5).sku)
    attempts = [Attempt(1, "charge", "captured", "ch_1", clock.now(), 12)]
    for _ in range(2):
        (settled,) = Settlement(database, settings).settle([Settle(order.id, Captured("ch_1"), attempts)])
        assert isinstance(settled, Settled)
    with database.reading() as session:
        assert session.exec(select(func.count(col(PaymentAttempt.id)))).one() == 1
        assert session.exec(select(Payment)).one().attempts == 1
