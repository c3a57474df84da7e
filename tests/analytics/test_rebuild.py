"""Comparing rollups with a recount, and putting them right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, text

from orderkit.analytics import facts, rebuild, rollups
from orderkit.analytics.facts import Sale, Sold
from orderkit.analytics.periods import Grain, floor
from orderkit.analytics.rebuild import Difference
from orderkit.analytics.rollups import Key
from orderkit.db import Database
from orderkit.money import MAX_AMOUNT
from orderkit.orders.models import Order
from orderkit.settings import Settings
from tests.analytics.trade import Trade, dying_before_commit, known, recounted

pytestmark = pytest.mark.integration

EVER = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
AT = datetime(2026, 3, 31, 23, 50, tzinfo=UTC)


@pytest.fixture
def trade(database: Database, settings: Settings) -> Trade:
    return Trade(database, settings)


def execute(database: Database, statement: str) -> None:
    with database.transaction() as session:
        session.execute(text(statement))


def right(database: Database) -> bool:
    return right_since(database, EVER[0])


def right_since(database: Database, start: datetime) -> bool:
    of_days = known(database, start, EVER[1], "day") == recounted(database, start, EVER[1])
    return of_days and list(rebuild.compare(database)) == []


@contextmanager
def overheard(database: Database) -> Iterator[list[str]]:
    """The statements that are executed meanwhile."""
    found: list[str] = []

    def hear(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        found.append(statement)

    event.listen(database.engine, "before_cursor_execute", hear)
    yield found
    event.remove(database.engine, "before_cursor_execute", hear)


def test_an_empty_database_has_nothing_to_compare(database: Database) -> None:
    assert list(rebuild.compare(database)) == []
    assert rebuild.extent(database) == rebuild.run(database) == 0


def test_a_difference_names_its_row_and_both_sums(trade: Trade) -> None:
    trade.bring_in("a", at=AT, country="FR")
    execute(trade.database, "UPDATE rollups SET gross = 1 WHERE kind = 'country' AND grain = 'hour'")
    hour = AT.replace(minute=0)
    [found] = rebuild.compare(trade.database)
    assert found == Difference(Key("country", "hour", hour, "GBP", "FR"), (1, 3500, 0, 0, 0), (1, 1, 0, 0, 0))
    assert rebuild.run(trade.database) == 1
    assert right(trade.database)


@pytest.mark.parametrize("grain", ["quarter", "hour", "day", "month"])
def test_rows_that_are_missing_wrong_or_of_nothing_are_put_right(trade: Trade, grain: Grain) -> None:
    trade.bring_in("a", at=AT, refunded=100)
    trade.bring_in("b", at=AT - timedelta(days=400))
    trade.paid()
    trade.relay_all()
    trade.paid()  # its event stays unsent
    execute(trade.database, f"DELETE FROM rollups WHERE grain = '{grain}' AND key <> ''")
    execute(trade.database, f"UPDATE rollups SET orders = orders + 1 WHERE grain = '{grain}'")
    with trade.database.transaction() as session:
        kind = "product" if grain == "month" else "total" if grain in ("quarter", "hour") else "user"
        bucket = floor(datetime(2011, 11, 11, tzinfo=UTC), grain)
        rollups.add(session.connection(), {Key(kind, grain, bucket, "GBP", "nobody"): [1, 2, 3, 4, 5]})
    assert not right(trade.database)
    assert rebuild.run(trade.database) > 1
    assert right(trade.database)
    assert rebuild.run(trade.database) == 0


def test_rollups_are_made_for_orders_of_before(trade: Trade) -> None:
    for month in range(3):
        trade.bring_in(f"{month}", at=AT - timedelta(days=31 * month), refunded=50 * month)
    trade.paid()
    trade.relay_all()
    execute(trade.database, "DELETE FROM rollups")
    rebuild.run(trade.database)
    assert right(trade.database)


def test_orders_of_before_get_the_country_of_their_address(trade: Trade) -> None:
    one, other = trade.paid(country="FR"), trade.paid(country=None)
    trade.relay_all()
    execute(trade.database, "UPDATE orders SET country = NULL")
    execute(trade.database, "DELETE FROM rollups")
    rebuild.run(trade.database)
    with trade.database.reading() as session:
        assert [session.get_one(Order, order_id).country for order_id in (one, other)] == ["FR", None]
    assert known(trade.database, *EVER, "day")["country", "GBP", "FR"] == (1, 500, 0, 0, 0)
    assert right(trade.database)


def test_progress_adds_up_to_the_extent(trade: Trade) -> None:
    trade.bring_in("a", at=AT)
    trade.bring_in("b", at=AT - timedelta(days=40))
    told: list[int] = []
    list(rebuild.compare(trade.database, progress=told.append))
    assert sum(told) == len(told) == rebuild.extent(trade.database)
    assert len(told) == 4  # two days and the first of each one's month, of which a rollup is


def test_days_of_which_nothing_is_known_are_passed_over_however_many(trade: Trade) -> None:
    for number, at in enumerate((AT.replace(year=1972), AT.replace(year=1900), AT)):
        trade.bring_in(f"{number}", at=at)
    execute(trade.database, "DELETE FROM rollups")
    assert rebuild.extent(trade.database) == 3
    with overheard(trade.database) as heard:
        rebuild.run(trade.database)
    assert len(heard) < 150
    assert right_since(trade.database, datetime(1900, 1, 1, tzinfo=UTC))


def test_sums_that_no_64_bits_hold_are_compared_as_far_as_they_can_be(
    trade: Trade, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite only approximates them: that is no difference, and is not told of as one that was put right."""
    sales = [Sale(AT, "GBP", UUID(int=1), "GB", MAX_AMOUNT - 1, (Sold("GOLD", 1, MAX_AMOUNT - 1),))] * 500
    for _ in range(6):
        with trade.database.transaction() as session:
            rollups.apply(session.connection(), sales)
    assert 3000 * (MAX_AMOUNT - 1) > 2**64
    monkeypatch.setattr(facts, "of_base", lambda _connection, start, end: sales * 6 if start <= AT < end else [])
    assert list(rebuild.compare(trade.database)) == []
    assert rebuild.run(trade.database) == 0
    execute(trade.database, "UPDATE rollups SET gross = gross / 2")
    assert rebuild.run(trade.database) > 0
    assert rebuild.run(trade.database) == 0


@pytest.mark.parametrize("survived", range(4))
def test_a_rebuild_that_was_killed_is_completed_by_another(trade: Trade, survived: int) -> None:
    for days in range(5):
        trade.bring_in(f"{days}", at=AT + timedelta(days=days), refunded=100)
    execute(trade.database, "DELETE FROM rollups")
    done: list[int] = []

    def die_later(_days: int) -> None:
        done.append(1)
        if len(done) > survived:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild.run(trade.database, progress=die_later)
    with dying_before_commit(trade.database), pytest.raises(KeyboardInterrupt):
        rebuild.run(trade.database)
    assert not right(trade.database)
    rebuild.run(trade.database)
    assert right(trade.database)


def test_what_comes_in_while_a_day_is_recounted_is_in_it_once(trade: Trade, monkeypatch: pytest.MonkeyPatch) -> None:
    trade.paid()
    trade.relay_all()
    trade.paid()
    real = rebuild._of_day

    def meanwhile(*args: object) -> object:
        trade.paid()  # its event is unsent, and not in the snapshot
        return real(*args)  # type: ignore[arg-type]

    if not trade.database.is_sqlite:  # where nobody writes while another does
        monkeypatch.setattr(rebuild, "_of_day", meanwhile)
    execute(trade.database, "DELETE FROM rollups")
    rebuild.run(trade.database)
    monkeypatch.undo()
    assert right(trade.database)
    trade.relay_all()
    assert right(trade.database)
