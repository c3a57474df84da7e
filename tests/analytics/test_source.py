"""Reports are read from the replica while it answers, and say where from and how far behind."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from orderkit.analytics import asking, source
from orderkit.analytics.facts import Sold
from orderkit.analytics.source import FAILED, Source
from orderkit.api import report_answers
from orderkit.api.report_answers import Answer
from orderkit.db import Database
from orderkit.migrating import migrate
from orderkit.settings import Settings
from tests import histories
from tests.client import running
from tests.factories import make_product, make_user
from tests.histories import Past


def sold(database: Database, total: int) -> None:
    make_product(database, sku="TEA")
    user = make_user(database)
    one = Past(datetime(2026, 3, 1, tzinfo=UTC), user.id, "GBP", "GB", "paid", (Sold("TEA", 1, total),))
    histories.write(database, [one])


@pytest.fixture
def replica_url(empty_database_url: str, database: Database, settings: Settings) -> str:
    """Another database with another sale, so that one sees which was read. No standby: see below for what one says."""
    other = Database(settings, url=empty_database_url)
    migrate(other)
    sold(other, 222)
    other.dispose()
    sold(database, 111)
    return empty_database_url


@pytest.fixture
def both(settings: Settings, database: Database, replica_url: str) -> Iterator[Source]:
    found = Source(settings.model_copy(update={"replica_url": replica_url}), database)
    yield found
    found.close()


def daily(both: Source) -> Answer:
    return report_answers.by_time_or_country(both, asking.asked(), "day")


def test_a_report_comes_from_the_replica(both: Source) -> None:
    answer = daily(both)
    assert [one["gross"] for one in answer.items] == [222]
    assert answer.beside["source"] == "replica"
    assert "warning" not in answer.beside
    assert (answer.beside["lag_seconds"], answer.beside["as_of"]) == (None, None)  # it follows nobody


def test_what_the_replica_cannot_answer_the_database_does_with_a_warning(
    both: Source, settings: Settings, replica_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Database(settings, url=replica_url)
    with other.transaction() as session:
        session.connection().execute(text("ALTER TABLE rollups RENAME TO elsewhere"))
    for _ in range(2):  # the second time it is not even asked
        answer = daily(both)
        assert [one["gross"] for one in answer.items] == [111]
        assert (answer.beside["source"], answer.beside["warning"]) == ("primary", FAILED)
    with other.transaction() as session:
        session.connection().execute(text("ALTER TABLE elsewhere RENAME TO rollups"))
    other.dispose()
    assert daily(both).beside["source"] == "primary"
    monkeypatch.setattr(source, "PAUSE_S", 0.0)
    both._again_at = 0.0
    assert daily(both).beside["source"] == "replica"


def test_a_replica_that_is_not_there_holds_nobody_up(settings: Settings, database: Database, tmp_path: Path) -> None:
    sold(database, 111)
    nowhere = "postgresql+psycopg://nobody@127.0.0.1:1/none"
    with running(settings.model_copy(update={"replica_url": nowhere})) as api:
        answer = api.get("/analytics/orders-per-day", api.token(make_user(database, role="analyst")))
    told = answer.json()
    assert (answer.status, told["source"], told["lag_seconds"], told["warning"]) == (200, "primary", 0.0, FAILED)
    assert [one["gross"] for one in told["items"]] == [111]


@pytest.mark.parametrize(
    ("row", "lag"),
    [
        ("false AS standby, false AS streaming, NULL AS caught_up, NULL AS since", None),
        ("true AS standby, true AS streaming, true AS caught_up, 99 AS since", 0.0),
        ("true AS standby, true AS streaming, false AS caught_up, 2.5 AS since", 2.5),
        ("true AS standby, false AS streaming, true AS caught_up, 3600 AS since", 3600.0),
    ],
)
def test_a_standby_is_behind_by_what_it_has_not_replayed_or_was_not_sent(
    database: Database, monkeypatch: pytest.MonkeyPatch, row: str, lag: float | None
) -> None:
    monkeypatch.setattr(source, "_LAG", text(f"SELECT {row}"))
    with database.reading() as session:
        assert source._lag(session.connection()) == lag
