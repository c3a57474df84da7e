"""Mails in the worker: found due, sent behind everything else, never in its way, and forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from huey import Huey
from pydantic import SecretStr

from orderkit import clock
from orderkit.auth import mails
from orderkit.auth.links import Purpose
from orderkit.auth.models import AccountMail
from orderkit.errors import ConfigurationError
from orderkit.settings import Settings
from orderkit.worker import due as loop
from orderkit.worker.due import Due
from orderkit.worker.queue import open_queue
from orderkit.worker.runtime import MAIL_FAILURES, Runtime, open_runtime
from orderkit.worker.tasks import register
from tests.factories import make_user
from tests.processes import Processes
from tests.shop import Shop

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Worker:
    """A worker without its threads: turned and made to work by hand."""

    shop: Shop
    runtime: Runtime
    queue: Huey
    due: Due

    def ask(self, number: int = 1) -> None:
        """Mails for that many users."""
        for _ in range(number):
            user = make_user(self.shop.database)
            with self.shop.database.transaction() as session:
                mails.ask(session.connection(), Purpose.VERIFY_EMAIL, user.email)

    def waiting(self) -> list[str]:
        """The names of all tasks, which are taken off the queue."""
        names = []
        while task := self.queue.dequeue():
            names.append(task.name)
        return names

    def work(self) -> None:
        while task := self.queue.dequeue():
            self.queue.execute(task)

    def outbox(self) -> list[Path]:
        return sorted((self.shop.settings.home / "outbox").glob("*.eml"))


@contextmanager
def opened(shop: Shop, settings: Settings) -> Iterator[Worker]:
    queue = open_queue(settings)
    with open_runtime(settings) as runtime:
        yield Worker(shop, runtime, queue, Due(runtime, queue, register(queue, runtime), settings))
    queue.storage.close()


@pytest.fixture
def worker(shop: Shop, settings: Settings) -> Iterator[Worker]:
    with opened(shop, settings) as worker:
        yield worker


def test_a_mail_that_is_due_is_sent_once(worker: Worker) -> None:
    worker.ask()
    for _ in range(2):
        worker.due.turn()
        worker.work()
    assert len(worker.outbox()) == 1
    assert [row.done_at is None for row in worker.shop.all(AccountMail)] == [False]


def test_mails_come_last_and_a_few_at_a_time(worker: Worker) -> None:
    worker.ask(20)
    worker.shop.paid()
    worker.shop.place()
    worker.due.turn()
    assert worker.waiting() == ["resolve_payment", "ship", *["mail"] * 8]


def test_a_crowd_of_parcels_keeps_no_mail_waiting_for_good(worker: Worker) -> None:
    for _ in range(70):
        worker.shop.paid()
    worker.ask(20)
    worker.due.turn()
    names = worker.waiting()
    assert (names.count("ship"), names.count("mail")) == (64, 8)


def test_nobody_is_woken_for_a_mail_server_that_is_left_alone(worker: Worker) -> None:
    worker.ask(3)
    for _ in range(MAIL_FAILURES):
        worker.runtime.mail_breaker.failed()
    worker.due.turn()
    assert worker.waiting() == []


def test_a_mail_server_that_is_away_loses_no_mail(shop: Shop, settings: Settings) -> None:
    with opened(shop, settings.model_copy(update={"mail_url": SecretStr("smtp://127.0.0.1:9")})) as worker:
        worker.ask()
        worker.due.turn()
        worker.work()
    [row] = shop.all(AccountMail)
    assert (row.attempts, row.done_at) == (1, None)

    with clock.moved(timedelta(minutes=1)), opened(shop, settings) as worker:
        worker.due.turn()
        worker.work()
        assert len(worker.outbox()) == 1


def test_mails_that_are_done_are_forgotten_after_a_day(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "FORGET_AT_ONCE", 2)
    worker.ask(3)
    for row in worker.shop.all(AccountMail):
        worker.runtime.act(worker.runtime.mails.send, str(row.id))
    worker.due.turn()
    assert len(worker.shop.all(AccountMail)) == 3

    left = []
    monkeypatch.setattr(worker.due, "_forget_at", 0.0)
    with clock.moved(mails.KEPT + timedelta(minutes=1)):
        for _ in range(3):
            worker.due.turn()
            left.append(len(worker.shop.all(AccountMail)))
    assert left == [1, 0, 0]


def test_a_worker_whose_sender_is_no_address_does_not_start(settings: Settings) -> None:
    with (
        pytest.raises(ConfigurationError, match="ORDERKIT_MAIL_FROM"),
        open_runtime(settings.model_copy(update={"mail_from": "nonsense"})),
    ):
        pytest.fail("it started")


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
def test_a_worker_as_a_process_sends_mails(shop: Shop, settings: Settings, processes: Processes) -> None:
    user = make_user(shop.database, email="ada@example.com")
    with shop.database.transaction() as session:
        mails.ask(session.connection(), Purpose.RESET_PASSWORD, user.email)
    process = processes.start("worker")
    process.wait_for("mail sent")
    assert process.terminate() == 0
    [file] = (settings.home / "outbox").glob("*.eml")
    assert "token=" in file.read_text()
    assert "token=" not in process.output
    assert user.email not in process.output
