"""The loop: whatever is due gets a task, once in five seconds, and whatever was lost gets another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from huey import Huey
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from orderkit import clock
from orderkit.auth import api_keys, moderation, sessions
from orderkit.auth.audit_log import Actor
from orderkit.auth.models import ApiKey, LoginSession, User
from orderkit.idempotency import IdempotencyKey
from orderkit.orders import cancellation, erasure
from orderkit.rows import insert_rows
from orderkit.settings import Settings
from orderkit.worker import due as loop
from orderkit.worker.due import Due, Kind, kinds
from orderkit.worker.queue import open_queue
from orderkit.worker.relay import Relay
from orderkit.worker.runtime import Runtime, open_runtime
from orderkit.worker.tasks import Tasks, register
from tests.factories import make_user
from tests.shop import STOCK, Shop

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Worker:
    """A worker without its threads: turned and made to work by hand."""

    shop: Shop
    runtime: Runtime
    queue: Huey
    tasks: Tasks
    due: Due

    def waiting(self) -> int:
        return int(self.queue.pending_count())

    def lose(self) -> list[tuple[str, str]]:
        """Takes all tasks off the queue, as a worker does that dies with them; their names and rows."""
        lost = []
        while task := self.queue.dequeue():
            lost.append((task.name, task.args[0]))
        return lost

    def work(self) -> None:
        while task := self.queue.dequeue():
            self.queue.execute(task)


@pytest.fixture
def worker(shop: Shop, settings: Settings) -> Iterator[Worker]:
    queue = open_queue(settings)
    with open_runtime(settings) as runtime:
        tasks = register(queue, runtime)
        yield Worker(shop, runtime, queue, tasks, Due(runtime, queue, tasks, settings))
    queue.storage.close()


def test_paid_order_is_shipped_turn_by_turn(worker: Worker) -> None:
    order = worker.shop.paid()

    assert worker.due.turn()
    assert worker.waiting() == 1
    worker.work()

    assert worker.shop.order(order.id).status == "shipped"
    assert worker.due.turn()
    assert worker.waiting() == 0


def test_cancelled_order_is_voided_refunded_and_recalled_by_the_loop(worker: Worker) -> None:
    shop = worker.shop
    parcel = shop.queued(postal_code="FAIL-ALWAYS")
    unpaid = shop.place()
    worker.due.turn()
    [(name, _)] = [one for one in worker.lose() if one[0] == "ship"]
    worker.runtime.act(worker.runtime.dispatch.ship, str(parcel.id))
    for order_id in (parcel.order_id, unpaid.id):
        with shop.database.transaction() as session:
            cancellation.cancel(session.connection(), order_id, reason="changed my mind")

    worker.due.turn()
    assert worker.waiting() == 3
    worker.work()

    assert name == "ship"
    assert shop.payment(unpaid.id).status == "voided"
    assert [refund.status for refund in shop.refunds()] == ["succeeded"]
    assert shop.outcomes(parcel.id) == ["failed", "recalled"]
    assert shop.stock() == STOCK


def test_row_that_was_just_woken_is_left_alone(worker: Worker) -> None:
    worker.shop.paid()
    for _ in range(3):
        worker.due.turn()

    assert worker.waiting() == 1


def test_lost_task_costs_one_turn(worker: Worker) -> None:
    order = worker.shop.paid()
    worker.due.turn()
    lost = worker.lose()

    with clock.moved(loop.WAKE_AGAIN):
        worker.due.turn()
        assert worker.lose() == lost
    with clock.moved(2 * loop.WAKE_AGAIN):
        worker.due.turn()
        worker.work()

    assert worker.shop.order(order.id).status == "shipped"


def test_task_that_comes_twice_or_for_no_row_does_no_harm(worker: Worker) -> None:
    order = worker.shop.paid()
    worker.due.turn()
    row_id = worker.shop.fulfillment(order.id).id
    for _ in range(2):
        worker.tasks.ship(row_id)
        worker.tasks.ship(worker.shop.user_id)
    worker.work()

    assert worker.shop.outcomes(row_id) == ["booked"]


def test_backlog_stays_in_the_database_and_lets_payments_pass(worker: Worker) -> None:
    for _ in range(70):
        worker.shop.paid()
    worker.due.turn()
    assert worker.waiting() == 64

    pending = worker.shop.place()
    worker.due.turn()

    assert worker.waiting() == 65
    assert worker.lose()[-1] == ("resolve_payment", str(pending.payment_id))
    worker.due.turn()
    assert worker.waiting() == 6


def test_nobody_is_woken_for_a_provider_that_is_left_alone(worker: Worker) -> None:
    shop, carrier = worker.shop, worker.runtime.carrier_breaker
    for _ in range(3):
        shop.paid()
    shop.place()
    for _ in range(shop.settings.breaker_failures):
        carrier.failed()

    worker.due.turn()

    assert [name for name, _ in worker.lose()] == ["resolve_payment"]


def test_one_is_woken_to_probe_a_provider(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        worker.shop.paid()
    carrier = worker.runtime.carrier_breaker
    for _ in range(worker.shop.settings.breaker_failures):
        carrier.failed()
    opened = carrier._monotonic()
    monkeypatch.setattr(carrier, "_monotonic", lambda: opened + worker.shop.settings.breaker_open_for + 1)

    worker.due.turn()
    assert worker.waiting() == 1
    worker.work()
    worker.due.turn()

    assert worker.waiting() == 2


def test_outage_is_waited_out(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    order = worker.shop.paid()
    outage = [OperationalError("SELECT 1", {}, Exception("gone"))] * 2
    real = Relay.turn

    def turn(self: Relay) -> int:
        if outage:
            raise outage.pop()
        return real(self)

    monkeypatch.setattr(Relay, "turn", turn)
    stop = threading.Event()
    thread = threading.Thread(target=worker.due.run, args=(stop,))
    thread.start()
    for _ in range(100):
        worker.work()
        if worker.shop.order(order.id).status == "shipped":
            break
        threading.Event().wait(0.05)
    stop.set()
    thread.join(timeout=5)

    assert worker.shop.order(order.id).status == "shipped"
    assert not thread.is_alive()


def test_part_that_fails_keeps_no_other_from_its_turn(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    worker.shop.queued()

    def fail(_: Relay) -> int:
        raise OperationalError("SELECT 1", {}, Exception("gone"))

    monkeypatch.setattr(Relay, "turn", fail)

    assert not worker.due.turn()
    assert worker.waiting() == 1


def test_database_that_does_not_answer_in_a_task_leaves_the_row_due(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = worker.shop.paid()
    worker.due.turn()
    with monkeypatch.context() as broken:
        gone = OperationalError("SELECT 1", {}, Exception("gone"))
        broken.setattr(type(worker.shop.database), "transaction", lambda _: (_ for _ in ()).throw(gone))
        worker.work()
        worker.runtime.act(worker.runtime.dispatch.ship, str(worker.shop.user_id))  # nor does it raise

    assert worker.shop.fulfillment(order.id).status == "queued"
    with clock.moved(loop.WAKE_AGAIN):
        worker.due.turn()
        worker.work()
    assert worker.shop.order(order.id).status == "shipped"


def test_bug_in_the_loop_ends_it(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Relay) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(Relay, "turn", fail)

    with pytest.raises(ZeroDivisionError):
        worker.due.run(threading.Event())


def test_expired_keys_are_forgotten_a_batch_a_turn_and_others_kept(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "FORGET_AT_ONCE", 2)
    shop, at = worker.shop, clock.now()
    old = at - timedelta(days=shop.settings.idempotency_ttl_days, minutes=1)

    def key(name: str, created_at: Any) -> dict[str, Any]:
        return {
            "user_id": shop.user_id,
            "key": name,
            "fingerprint": "f",
            "resource_id": shop.user_id,
            "lease_until": created_at,
            "created_at": created_at,
        }

    with shop.database.transaction() as session:
        rows = [key(f"old-{n}", old) for n in range(5)] + [key("new", at)]
        insert_rows(session.connection(), IdempotencyKey, rows)

    left = []
    for _ in range(4):
        worker.due.turn()
        left.append(len(shop.all(IdempotencyKey)))

    assert left == [4, 2, 1, 1]
    assert [one.key for one in shop.all(IdempotencyKey)] == ["new"]


def test_expired_logins_are_forgotten_and_good_ones_kept(worker: Worker) -> None:
    user = make_user(worker.shop.database)
    with clock.moved(timedelta(days=-31)):
        sessions.start(worker.shop.database, user, days=30)
    good = sessions.start(worker.shop.database, user, days=30)
    worker.due.turn()
    assert [one.id for one in worker.shop.all(LoginSession)] == [good.session_id]


def test_keys_that_are_long_no_longer_good_are_forgotten(worker: Worker) -> None:
    database, at = worker.shop.database, clock.now()
    user = make_user(database)
    long_ago, later = at - api_keys.KEPT - timedelta(days=1), at + timedelta(days=1)
    with database.transaction() as session:
        for name, expires_at, revoked_at in (
            ("expired", long_ago, None),
            ("revoked", later, long_ago),
            ("expired of late", at, None),
            ("revoked of late", later, at),
            ("good", later, None),
        ):
            key = ApiKey(user_id=user.id, name=name, prefix="okk_", hash=name, permissions=[], expires_at=expires_at)
            key.revoked_at = revoked_at
            session.add(key)
    worker.due.turn()
    assert {one.name for one in worker.shop.all(ApiKey)} == {"expired of late", "revoked of late", "good"}


def test_names_are_folded_a_few_a_turn_until_all_are(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "FOLD_AT_ONCE", 2)
    database = worker.shop.database
    for _ in range(4):
        make_user(database, name="Ada")
    with database.transaction() as session:
        session.execute(text("UPDATE users SET search_name = NULL WHERE name = 'Ada'"))
    left = []
    for _ in range(4):
        worker.due.turn()
        left.append([one.search_name for one in worker.shop.all(User)].count(None))
    assert left == [2, 0, 0, 0]
    with database.transaction() as session:
        session.execute(text("UPDATE users SET search_name = NULL WHERE name = 'Ada'"))
    worker.due.turn()
    assert [one.search_name for one in worker.shop.all(User)].count(None) == 4, "asked only now and then"
    worker.due._fold_at = 0.0
    worker.due.turn()
    assert [one.search_name for one in worker.shop.all(User)].count(None) == 2


@pytest.mark.parametrize("number", range(5), ids=["payments", "recalls", "refunds", "fulfillments", "mails"])
def test_what_is_due_is_found_by_its_partial_index(worker: Worker, number: int) -> None:
    kind: Kind = kinds(worker.runtime, worker.tasks)[number]
    index = {"payments": "ix_payments_due", "recalls": "ix_fulfillments_recall", "refunds": "ix_refunds_due"}
    index["mails"] = "ix_account_mails_due"
    query = loop.due_first(kind, clock.now()).limit(5)
    with worker.shop.database.reading() as session:
        connection = session.connection()
        compiled = query.compile(connection, compile_kwargs={"literal_binds": True})
        if worker.shop.database.is_sqlite:
            plan = connection.execute(text(f"EXPLAIN QUERY PLAN {compiled}")).all()
        else:
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            connection.execute(text("SET LOCAL enable_bitmapscan = off"))  # what an empty table would get
            plan = connection.execute(text(f"EXPLAIN {compiled}")).all()

    assert index.get(kind.name, "ix_fulfillments_due") in str(plan)
    assert "SORT" not in str(plan).upper()
    assert "TEMP B-TREE" not in str(plan).upper()


def test_the_loop_erases_the_address_of_somebody_deleted_once_their_parcel_is_on_its_way(worker: Worker) -> None:
    shop = worker.shop
    order = shop.paid()
    with shop.database.transaction() as session:
        moderation.leave(session.connection(), Actor(shop.user_id, "here"), shop.user_id)
        erasure.erase(session.connection(), shop.user_id)
    assert worker.due.turn()
    assert shop.order(order.id).shipping_address == order.shipping_address

    worker.work()
    assert shop.order(order.id).status == "shipped"
    with clock.moved(2 * erasure.FIRST_LOOK):
        worker.due._erase_at = 0.0
        assert worker.due.turn()
    assert shop.order(order.id).shipping_address == {"country": "GB"}

    with clock.moved(erasure.SETTLED + timedelta(minutes=1)):
        worker.due._erase_at = 0.0
        assert worker.due.turn()
    [user] = shop.all(User)
    assert user.erased_at is not None


def test_the_loop_looks_for_what_is_to_be_erased_only_now_and_then(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def nobody(_connection: object, *, limit: int) -> list[UUID]:
        looked.append(limit)
        return []

    monkeypatch.setattr(erasure, "waiting", nobody)
    for _ in range(5):
        assert worker.due.turn()
    assert looked == [loop.ERASE_AT_ONCE]
