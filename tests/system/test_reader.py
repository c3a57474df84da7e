"""Whoever looks is told soon, whatever the database does, and does not make it work more than it should."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Connection

from orderkit.db import Database
from orderkit.observability import metrics
from orderkit.settings import Settings
from orderkit.system import reader, state
from orderkit.system.numbers import Numbers
from orderkit.system.reader import Reader


@pytest.fixture
def engine_name() -> str:
    """One engine will do: what is read is tested on both."""
    return "sqlite"


@pytest.fixture
def looking(settings: Settings, database: Database) -> Iterator[Reader]:
    with closing(Reader(settings)) as made:
        yield made


def test_what_was_read_is_good_for_five_seconds(looking: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    first = looking.state()
    assert first is not None
    assert looking.state() is first
    monkeypatch.setattr(reader, "EVERY_S", 0.0)
    second = looking.state()
    assert second is not None
    assert second.at > first.at


def test_many_who_look_at_once_make_one_reading(looking: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = []
    original = state.read

    def slow(connection: Connection) -> state.SystemState:
        readings.append(1)
        time.sleep(0.05)
        return original(connection)

    monkeypatch.setattr(state, "read", slow)
    threads = [threading.Thread(target=looking.state) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(readings) == 1


def test_a_reading_that_hangs_is_not_waited_for_and_is_the_only_one(
    looking: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, asked = threading.Event(), []

    def hang(_connection: Connection) -> None:
        asked.append(1)
        hangs.wait(10)

    monkeypatch.setattr(reader, "WITHIN_S", 0.05)
    monkeypatch.setattr(reader, "EVERY_S", 0.0)
    monkeypatch.setattr(state, "read", hang)
    try:
        began = time.monotonic()
        assert [looking.state() for _ in range(50)] == [None] * 50
        assert time.monotonic() - began < 1
        assert len(asked) == 1
    finally:
        hangs.set()


def test_a_database_that_is_away_is_nothing_to_tell_of(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}"  # a folder, which cannot be opened as a file
    with closing(Reader(Settings(_env_file=None, home=tmp_path, database_url=url))) as away:
        assert away.state() is None


def told(found: bytes) -> dict[str, float]:
    """Samples without labels, by name."""
    families = text_string_to_metric_families(found.decode())
    return {one.name: one.value for family in families for one in family.samples if not one.labels}


def test_a_scrape_tells_that_the_database_is_away_and_all_the_rest(
    looking: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(metrics.exposition("worker", Numbers(looking)))["orderkit_database_up"] == 1
    monkeypatch.setattr(looking, "state", lambda: None)
    found = told(metrics.exposition("worker", Numbers(looking)))
    assert found["orderkit_database_up"] == 0
    assert "orderkit_rollup_lag_seconds" not in found
    assert "orderkit_queue_tasks" in found


def test_nothing_is_opened_until_somebody_looks(settings: Settings) -> None:
    made = Reader(settings.model_copy(update={"database_url": "postgresql+psycopg://nobody@127.0.0.1:1/none"}))
    made.close()
    assert made._database is None
