"""Adding up: once, whoever dies when, however many add at the same moment, and however large the sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func
from sqlmodel import col, select

from orderkit import clock
from orderkit.analytics import rebuild, rollups
from orderkit.analytics.facts import Fact, GivenBack, Moved, Sale, Sold
from orderkit.analytics.models import GRAINS, GRAINS_OF, Rollup
from orderkit.analytics.periods import floor
from orderkit.analytics.rollups import COLUMNS, Key
from orderkit.db import Database
from orderkit.errors import Conflict
from orderkit.money import MAX_AMOUNT
from orderkit.orders import importing, seeding
from orderkit.orders.seeding import History
from orderkit.settings import Settings
from orderkit.worker import relay as relaying
from orderkit.worker.relay import Relay
from tests.analytics.trade import Trade, dying_before_commit, known, recounted, unsent
from tests.threads import at_once

pytestmark = pytest.mark.integration

AT = datetime(2026, 3, 1, 10, 44, 59, 999999, tzinfo=UTC)
USER = UUID(int=7)
SAMPLE = Path(__file__).parents[1] / "orders" / "data" / "online-retail-sample.csv"
EVER = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def trade(database: Database, settings: Settings) -> Trade:
    return Trade(database, settings)


def rows(database: Database) -> dict[Key, tuple[int, ...]]:
    with database.reading() as session:
        found = session.exec(select(Rollup)).all()
    return {
        Key(one.kind, one.grain, one.bucket, one.currency, one.key): tuple(getattr(one, name) for name in COLUMNS)
        for one in found
    }


def apply(database: Database, *told: Fact) -> None:
    with database.transaction() as session:
        rollups.apply(session.connection(), told)


def assert_right(database: Database) -> None:
    for grain in GRAINS:
        kinds = [kind for kind, grains in GRAINS_OF.items() if grain in grains]
        expected = {key: sums for key, sums in recounted(database, *EVER).items() if key[0] in kinds}
        assert known(database, *EVER, grain) == expected
    assert list(rebuild.compare(database)) == []


def test_a_fact_is_in_the_bucket_of_every_grain_that_its_time_lies_in(database: Database) -> None:
    sale = Sale(AT, "GBP", USER, None, 700, (Sold("TEA", 2, 400), Sold("TEA", 1, 300)))
    apply(database, sale, GivenBack(AT, "GBP", USER, "FR", 50), Moved(AT, "GBP", "paid", "shipped"))
    quarter, hour = datetime(2026, 3, 1, 10, 30, tzinfo=UTC), datetime(2026, 3, 1, 10, tzinfo=UTC)
    day, month = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
    fine, coarse = (("quarter", quarter), ("hour", hour), ("day", day)), (("day", day), ("month", month))
    expected = {
        **{Key("total", *one, "GBP", ""): (1, 700, 1, 50, 0) for one in fine},
        **{Key("country", *one, "GBP", ""): (1, 700, 0, 0, 0) for one in fine},
        **{Key("country", *one, "GBP", "FR"): (0, 0, 1, 50, 0) for one in fine},
        **{Key("status", *one, "GBP", "paid"): (-1, 0, 0, 0, 0) for one in fine},
        **{Key("status", *one, "GBP", "shipped"): (1, 0, 0, 0, 0) for one in fine},
        **{Key("user", *one, "GBP", str(USER)): (1, 700, 1, 50, 0) for one in coarse},
        **{Key("product", *one, "GBP", "TEA"): (0, 700, 0, 0, 3) for one in coarse},
    }
    assert rows(database) == expected
    apply(database, sale)
    assert rows(database)[Key("total", "day", day, "GBP", "")] == (2, 1400, 1, 50, 0)


def test_nothing_to_add_takes_no_lock_and_writes_nothing(database: Database) -> None:
    apply(database)
    apply(database, Moved(AT, "GBP", "paid", "paid"))
    assert rows(database) == {}


def test_sums_that_no_64_bits_hold_stop_nobody(database: Database) -> None:
    times = 3000  # of the largest order
    sales = [Sale(AT, "GBP", USER, "GB", MAX_AMOUNT, (Sold("GOLD", 1, MAX_AMOUNT),))] * 1000
    for _ in range(times // 1000):
        apply(database, *sales)
    apply(database, *sales * 3)
    exact = 2 * times * MAX_AMOUNT
    assert exact > 2**64
    found = rows(database)[Key("total", "day", floor(AT, "day"), "GBP", "")]
    assert found[0] == 2 * times
    of_days = (Rollup.kind == "user", Rollup.grain == "day")
    with database.reading() as session:
        summed = session.connection().execute(
            select(rollups.sum_of(session.connection().dialect.name, Rollup.gross)).where(*of_days)
        )
        total = int(summed.scalar_one())
    if database.is_sqlite:  # which has no larger numbers: near enough, and it goes on
        assert abs(found[1] - exact) < exact / 10**9
        assert abs(total - exact) < exact / 10**9
    else:
        assert found[1] == total == exact


def test_sums_up_to_the_largest_64_bits_are_exact_on_both_engines(database: Database) -> None:
    apply(database, *[Sale(AT, "GBP", UUID(int=n), "GB", MAX_AMOUNT, ()) for n in range(1000)])
    with database.reading() as session:
        query = select(rollups.sum_of(session.connection().dialect.name, Rollup.gross))
        found = session.connection().execute(query.where(Rollup.kind == "user", Rollup.grain == "day"))
        assert found.scalar_one() == 1000 * MAX_AMOUNT
        negative = session.connection().execute(
            select(rollups.sum_of(session.connection().dialect.name, -col(Rollup.gross))).where(
                Rollup.kind == "user", Rollup.grain == "month"
            )
        )
        assert negative.scalar_one() == -1000 * MAX_AMOUNT


def test_a_worker_killed_in_mid_rollup_applies_nothing_and_the_next_applies_it_once(trade: Trade) -> None:
    first, second = trade.paid(), trade.paid(country="FR")
    trade.ask_refund(first, None)
    trade.pay_back(first)
    trade.cancel(second)
    waiting = unsent(trade.database)
    for _ in range(3):
        with dying_before_commit(trade.database), pytest.raises(KeyboardInterrupt):
            Relay(trade.database).turn()
        assert (rows(trade.database), unsent(trade.database)) == ({}, waiting)
        assert_right(trade.database)
    trade.relay_all()
    trade.relay_all()
    assert unsent(trade.database) == 0
    assert_right(trade.database)


def test_a_worker_killed_between_the_mark_and_the_sums_leaves_neither(
    trade: Trade, monkeypatch: pytest.MonkeyPatch
) -> None:
    trade.paid()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(rollups, "apply", die)
        with pytest.raises(KeyboardInterrupt):
            Relay(trade.database).turn()
    assert (rows(trade.database), unsent(trade.database)) == ({}, 1)
    trade.relay_all()
    assert_right(trade.database)


def test_relays_and_imports_at_once_add_each_fact_once_and_none_waits_for_ever(
    trade: Trade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaying, "BATCH", 3)
    for _ in range(12):
        trade.paid()
    numbers = count()

    def relay() -> None:
        relay = Relay(trade.database)
        for _turn in range(12):
            relay.turn()

    def bring_in() -> None:
        for _ in range(4):
            at = clock.now() - timedelta(days=next(numbers) % 3)
            trade.bring_in("shared", at=at, refunded=next(numbers) + 1)  # the same order, and its lock, again and again
            trade.bring_in(f"own {next(numbers)}", at=at, refunded=3500)

    acts: list[Callable[[], None]] = [relay, relay, bring_in, bring_in]
    at_once(*acts)
    trade.relay_all()
    assert unsent(trade.database) == 0
    assert_right(trade.database)


def test_a_rebuild_amid_relays_and_imports_waits_for_them_and_they_for_it(
    trade: Trade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaying, "BATCH", 2)
    for days in range(4):
        with clock.moved(-timedelta(days=days)):
            trade.paid()
    numbers = count()

    def trading() -> None:
        for _ in range(8):
            trade.bring_in(f"past {next(numbers)}", at=clock.now() - timedelta(days=next(numbers) % 4), refunded=100)
            Relay(trade.database).turn()

    at_once(trading, trading, partial(rebuild.run, trade.database), partial(rebuild.run, trade.database))
    assert_right(trade.database)


def test_an_import_that_dies_before_its_commit_adds_nothing(trade: Trade) -> None:
    with dying_before_commit(trade.database), pytest.raises(KeyboardInterrupt):
        trade.bring_in("a", at=AT, refunded=100)
    assert rows(trade.database) == {}
    trade.bring_in("a", at=AT, refunded=100, country="FR")
    trade.bring_in("a", at=AT, refunded=100, country="FR")
    trade.bring_in("a", at=AT, refunded=3500, country="FR")  # of which 3400 are left
    found = rows(trade.database)
    day = floor(AT, "day")
    assert found[Key("country", "day", day, "GBP", "FR")] == (1, 3500, 2, 3500, 0)
    assert found[Key("product", "day", day, "GBP", "TEA")] == (0, 3500, 0, 0, 7)
    assert found[Key("status", "day", day, "GBP", "refunded")][0] == 1
    assert found[Key("status", "day", day, "GBP", "delivered")][0] == 0
    assert_right(trade.database)


def test_a_seeded_history_is_added_up_when_it_is_written(database: Database) -> None:
    history = History(orders=300, days=40, users=20, seed=3)
    shop = seeding.open_shop(database, history)
    for _ in range(2):
        seeding.write(database, history, shop, after=rollups.add_past)
    assert_right(database)
    with database.reading() as session:
        by_country = select(Rollup.key, func.sum(Rollup.orders)).where(Rollup.kind == "country", Rollup.grain == "day")
        orders = dict(session.exec(by_country.group_by(Rollup.key)).all())
    assert orders["GB"] > 100
    assert len(orders) > 3
    assert "" not in orders


def test_a_seed_that_dies_leaves_no_order_without_its_sums(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeding, "BATCH_ORDERS", 60)
    history = History(orders=300, days=40, users=20, seed=3)
    shop = seeding.open_shop(database, history)

    def die(_orders: int) -> None:
        raise KeyboardInterrupt

    with dying_before_commit(database), pytest.raises(KeyboardInterrupt):
        seeding.write(database, history, shop, after=rollups.add_past)
    assert rows(database) == {}
    with pytest.raises(KeyboardInterrupt):
        seeding.write(database, history, shop, progress=die, after=rollups.add_past)
    assert rows(database) != {}
    assert_right(database)
    assert 0 < seeding.write(database, history, shop, after=rollups.add_past).orders_created < 300
    assert_right(database)


def test_an_imported_file_is_added_up_by_its_countries_and_days(database: Database) -> None:
    plan = importing.load(SAMPLE)
    for _ in range(2):
        result = importing.execute(database, plan, after=rollups.add_past)
    assert_right(database)
    sums = known(database, *EVER, "day")
    gross = {key: row[1] for (kind, _currency, key), row in sums.items() if kind == "country"}
    assert gross == result.gross_by_country
    assert len(gross) > 1
    days: Counter[str] = Counter()  # London's winter, whose days are those of UTC
    for key, row in rows(database).items():
        if key[:2] == ("total", "day") and row[1]:
            days[key.bucket.date().isoformat()] += row[1]
    assert days == result.gross_by_day


def test_past_orders_that_cannot_be_added_up_are_not_written(trade: Trade, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise Conflict("not now")

    monkeypatch.setattr(rollups, "add_past", refuse)
    with pytest.raises(Conflict):
        trade.bring_in("a", at=AT)
    assert recounted(trade.database, *EVER) == {}


def test_two_who_add_first_of_all_both_get_in(database: Database) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: apply(database, Moved(AT, "GBP", None, "paid")), range(20)))
    assert rows(database)[Key("status", "day", floor(AT, "day"), "GBP", "paid")][0] == 20
