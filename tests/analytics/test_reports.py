"""Reports say what a recomputation says, to the last cent, whatever the worker has got round to."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from orderkit.analytics import periods
from orderkit.analytics.asking import Asked
from orderkit.analytics.periods import Bound, Piece, Range, zone
from orderkit.analytics.source import Source
from orderkit.api import report_answers
from orderkit.api.report_answers import Answer
from orderkit.db import Database
from orderkit.settings import Settings
from tests import histories
from tests.factories import make_product, make_user
from tests.histories import CURRENCIES, History, by_hand

ZONES = (
    "UTC",
    "UTC",
    "Europe/London",
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "America/St_Johns",
    "Pacific/Apia",
    "Africa/Monrovia",
)


@pytest.fixture
def source(settings: Settings, database: Database) -> Iterator[Source]:
    found = Source(settings, database)
    yield found
    found.close()


def one_by_one(answer: Answer, *names: str) -> Any:
    """Items by what they are of and their currency, without the two."""
    found = {}
    for item in answer.items:
        rest = dict(item)
        key = tuple(rest.pop(name) for name in names), rest.pop("currency")
        assert key not in found
        found[key] = rest
    return found


def bounds(rng: random.Random, start: datetime, days: int) -> tuple[Bound, Bound]:
    """None, days, or instants."""

    def some() -> Bound:
        at = start + timedelta(seconds=rng.randrange(-2, days + 3) * 86_400 + rng.randrange(86_400))
        return rng.choice((None, at.date(), at.date(), at.date().replace(day=1), at.replace(microsecond=0), at))

    while True:
        first, last = some(), some()
        wanted = Range(first, last, UTC)
        if not wanted.is_reversed:
            return first, last


def check(source: Source, history: History, asked: Asked) -> None:
    """Every report of it, against what is found by hand."""
    place, currency = zone(asked.tz), asked.currency
    start, end = asked.range.start, asked.range.end
    orders, fits = history.orders, histories.within(start, end, place)

    daily = report_answers.by_time_or_country(source, asked, "day")
    expected = by_hand(orders, fits, currency, lambda _one, at: (at.astimezone(place).date(),))
    assert one_by_one(daily, "date") == expected
    assert [item["date"] for item in daily.items] == sorted(key[0] for key, _currency in expected)

    monthly = report_answers.by_time_or_country(source, asked, "month")
    assert one_by_one(monthly, "month") == by_hand(
        orders, fits, currency, lambda _one, at: (f"{at.astimezone(place):%Y-%m}",)
    )
    countries = report_answers.by_time_or_country(source, asked, "country")
    assert one_by_one(countries, "country") == by_hand(orders, fits, currency, lambda one, _at: (one.country,))

    everything = by_hand(orders, fits, currency, lambda _one, _at: ())
    for answer in (daily, monthly, countries):
        assert {((), item["currency"]): _without_currency(item) for item in answer.beside["totals"]} == everything

    revenue = report_answers.by_user(source, asked, limit=1000)
    by_user = by_hand(orders, fits, currency, lambda one, _at: (one.user_id, history.users[one.user_id]))
    assert one_by_one(revenue, "user_id", "email") == by_user
    ranks = [(-item["net"], item["currency"], str(item["user_id"])) for item in revenue.items]
    assert ranks == sorted(ranks)
    for user_id in history.users:
        spent = report_answers.of_user(source, asked, user_id)
        mine = {((), own): sums for ((whose, _email), own), sums in by_user.items() if whose == user_id}
        assert one_by_one(spent) == mine

    sold: Counter[tuple[str, str]] = Counter()
    revenues: Counter[tuple[str, str]] = Counter()
    for one in orders:
        if one.is_sold and fits(one.at) and currency in (None, one.currency):
            for line in one.lines:
                sold[line.sku, one.currency] += line.pieces
                revenues[line.sku, one.currency] += line.revenue
    top = report_answers.by_product(source, asked, "quantity", limit=1000)
    assert {(item["sku"], item["currency"]): item["quantity"] for item in top.items} == sold
    assert {(item["sku"], item["currency"]): item["revenue"] for item in top.items} == revenues
    assert [item["quantity"] for item in top.items] == sorted(sold.values(), reverse=True)
    richest = report_answers.by_product(source, asked, "revenue", limit=1000)
    assert [item["revenue"] for item in richest.items] == sorted(revenues.values(), reverse=True)

    counts = Counter(one.status for one in orders if fits(one.at) and currency in (None, one.currency))
    assert {item["status"]: item["orders"] for item in report_answers.by_status(source, asked).items} == counts


def _without_currency(item: Any) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != "currency"}


@pytest.mark.parametrize("sent", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("turn", range(2))
def test_every_report_is_what_a_recomputation_is(
    database: Database, source: Source, rng: random.Random, sent: float, turn: int
) -> None:
    start, days = rng.choice(
        [
            (datetime(2026, 2, 20, tzinfo=UTC), 60),
            (datetime(2010, 10, 30, tzinfo=UTC), 12),
            (datetime(2011, 12, 25, tzinfo=UTC), 10),
            (datetime(1971, 12, 25, tzinfo=UTC), 20),
            (datetime(2025, 1, 1, tzinfo=UTC), 500),
        ]
    )
    history = histories.make(database, rng, start=start, days=days, sent=sent)
    for _ in range(8):
        tz = rng.choice(ZONES)
        first, last = bounds(rng, start, days)
        if Range(first, last, zone(tz)).is_reversed:
            continue
        check(source, history, Asked(Range(first, last, zone(tz)), tz, rng.choice((None, None, *CURRENCIES))))


@pytest.mark.parametrize("first", [None, date(1, 3, 1), date(1905, 1, 1)])
def test_orders_that_lie_far_apart_are_reported_without_the_days_between_them(
    database: Database, source: Source, rng: random.Random, first: Bound, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offsets of before 1920 fit no bucket there, so that each day that is laid out is looked up among the orders."""
    users = {one.id: one.email for one in (make_user(database) for _ in range(3))}
    skus = [make_product(database, sku=f"SKU-{number}").sku for number in range(4)]
    starts = (datetime(year, 3, 30, tzinfo=UTC) for year in (1, 1900, 1910, 2026))
    orders = [one for start in starts for one in histories.random_orders(rng, list(users), skus, start, 3, 6)]
    history = History(database, users, orders)
    histories.write(database, orders, lambda events: rng.randint(0, events))
    laid: list[Piece] = []
    local_days = periods.local_days

    def counted(in_zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[Piece]:
        for one in local_days(in_zone, start, end):
            laid.append(one)
            yield one

    monkeypatch.setattr(periods, "local_days", counted)
    asked = Asked(Range(first, None, zone("Asia/Kathmandu")), "Asia/Kathmandu", None)
    answer = report_answers.by_time_or_country(source, asked, "day")
    assert len(laid) < 500
    expected = by_hand(
        history.orders,
        histories.within(first, None, zone("Asia/Kathmandu")),
        None,
        lambda _one, at: (at.astimezone(zone("Asia/Kathmandu")).date(),),
    )
    assert one_by_one(answer, "date") == expected
    check(source, history, asked)
