"""Reports are read from the replica while it answers, and say where from and how far behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from loguru import logger
from sqlalchemy import text

from orderkit.analytics import asking, source
from orderkit.analytics.facts import Sold
from orderkit.analytics.source import FAILED, UNTOLD, Source
from orderkit.api import report_answers
from orderkit.api.report_answers import Answer
from orderkit.db import Database
from orderkit.errors import NotFound
from orderkit.ids import new_id
from orderkit.migrating import migrate
from orderkit.settings import Settings
from tests import histories
from tests.client import running
from tests.engines import on_postgresql
from tests.factories import make_product, make_user
from tests.histories import Past


def sold(database: Database, total: int) -> None:
    make_product(database, sku="TEA")
    user = make_user(database)
    one = Past(datetime(2026, 3, 1, tzinfo=UTC), user.id, "GBP", "GB", "paid", (Sold("TEA", 1, total),))
    histories.write(database, [one])


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """What the log says."""
    found: list[str] = []
    sink = logger.add(lambda message: found.append(message.record["message"]), level="WARNING")
    yield found
    logger.remove(sink)


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
    assert (answer.beside["lag_seconds"], answer.beside["as_of"]) == (None, None)  # it follows nobody


def test_a_replica_that_is_no_standby_is_warned_of_and_logged_once(both: Source, heard: list[str]) -> None:
    answers = [daily(both) for _ in range(3)]
    assert [one.beside["warning"] for one in answers] == [UNTOLD] * 3
    assert [line for line in heard if UNTOLD in line] == [f"ORDERKIT_REPLICA_URL: {UNTOLD}"]


@on_postgresql
def test_a_standby_that_knows_how_far_behind_it_is_is_not_warned_of(
    both: Source, monkeypatch: pytest.MonkeyPatch, heard: list[str]
) -> None:
    monkeypatch.setattr(source, "_lag", lambda _connection: 2.5)
    answer = daily(both)
    assert report_answers.headers(answer).keys() == {"Report-Source", "Report-As-Of", "Report-Lag-Seconds"}
    assert (answer.beside["lag_seconds"], heard) == (2.5, [])


def test_a_user_whom_the_replica_does_not_have_yet_has_spent_nothing(both: Source, database: Database) -> None:
    newcomer = make_user(database)
    answer = report_answers.of_user(both, asking.asked(), newcomer.id)
    assert (list(answer.items), answer.beside["source"]) == ([], "replica")
    with pytest.raises(NotFound):
        report_answers.of_user(both, asking.asked(), new_id())


def test_csv_tells_in_headers_where_it_is_from(settings: Settings, database: Database, replica_url: str) -> None:
    with running(settings.model_copy(update={"replica_url": replica_url})) as api:
        analyst = api.token(make_user(database, role="analyst"))
        answer = api.get("/analytics/orders-per-day?format=csv", analyst)
        told = {name: value for name, value in answer.headers.items() if name.lower().startswith("report-")}
        documented = api.get("/openapi.json").json()["paths"]["/analytics/orders-per-day"]["get"]["responses"]["200"]
    assert {name.lower(): value for name, value in told.items()} == {
        "report-source": "replica",
        "report-warning": UNTOLD,
    }
    assert documented["headers"].keys() >= {"Report-Source", "Report-As-Of", "Report-Lag-Seconds", "Report-Warning"}


def test_where_a_report_is_from_is_told_in_a_line_unless_it_is_as_one_expects(both: Source) -> None:
    answer = daily(both)
    assert report_answers.provenance(answer) == f"from the replica; warning: {UNTOLD}"
    for beside, told in (
        ({"source": "replica", "lag_seconds": 2.5}, "from the replica, 2.5 s behind"),
        ({"source": "primary", "lag_seconds": 0.0}, ""),
        ({"source": "primary", "lag_seconds": 0.0, "warning": FAILED}, f"warning: {FAILED}"),
    ):
        assert report_answers.provenance(replace(answer, beside=beside)) == told


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
