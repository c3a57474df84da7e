"""Receipts of callbacks are kept as long as somebody might repeat one, and no longer."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlmodel import col, select

from orderkit import clock
from orderkit.db import Database
from orderkit.events import receipts
from orderkit.events.models import WebhookReceipt
from orderkit.settings import Settings
from orderkit.worker.due import Due
from orderkit.worker.queue import open_queue
from orderkit.worker.runtime import open_runtime
from orderkit.worker.tasks import register

pytestmark = pytest.mark.integration


def take(database: Database, message_id: str) -> bool:
    with database.transaction() as session:
        return receipts.take(session.connection(), message_id, at=clock.now())


def kept(database: Database) -> list[str]:
    with database.reading() as session:
        return list(session.exec(select(WebhookReceipt.id).order_by(col(WebhookReceipt.id))))


def test_an_id_is_taken_once(database: Database) -> None:
    assert [take(database, one) for one in ("a", "b", "a")] == [True, True, False]


def test_an_id_whose_effect_was_not_kept_can_be_taken_again(database: Database) -> None:
    def fail() -> None:
        with database.transaction() as session:
            receipts.take(session.connection(), "a", at=clock.now())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert take(database, "a")


def test_the_worker_forgets_receipts_after_seven_days(database: Database, settings: Settings) -> None:
    with clock.moved(-timedelta(days=7, seconds=1)):
        take(database, "old")
    with clock.moved(-timedelta(days=6, hours=23)):
        take(database, "young")
    queue = open_queue(settings)
    with open_runtime(settings) as runtime:
        assert Due(runtime, queue, register(queue, runtime), settings).turn()
    queue.storage.close()
    assert kept(database) == ["young"]


def test_at_most_so_many_are_forgotten_at_once_the_oldest_first(database: Database) -> None:
    for days in (3, 1, 2):
        with clock.moved(-timedelta(days=days)):
            take(database, f"{days} days old")
    with database.transaction() as session:
        assert receipts.forget(session.connection(), before=clock.now(), limit=2) == 2
    assert kept(database) == ["1 days old"]
