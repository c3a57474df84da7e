"""Days and months of a place, and the buckets they are made of: to the second, whatever its clocks once did."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderkit.analytics import periods
from orderkit.analytics.periods import (
    FIRST,
    LAST,
    Cover,
    Grain,
    Range,
    Run,
    Span,
    ceiling,
    cover,
    floor,
    local_days,
    zone,
)

EVER = Span(FIRST, LAST)
FINE: tuple[Grain, ...] = ("day", "hour", "quarter")
COARSE: tuple[Grain, ...] = ("month", "day")

ODD_ZONES = (
    "Africa/Monrovia",  # 44 minutes and 30 seconds until 1972
    "America/Sao_Paulo",  # no midnight when summer time began
    "America/St_Johns",  # clocks changed a minute past midnight
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Australia/Lord_Howe",  # summer time of half an hour
    "Europe/Amsterdam",
    "Europe/London",
    "Pacific/Apia",  # went without a day
    "Pacific/Chatham",
    "Pacific/Kwajalein",
    "UTC",
)

instants = st.datetimes(datetime(1880, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - it is given one
zones = st.sampled_from(ODD_ZONES).map(zone)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


def hours(place: str, day: date) -> float:
    """How long a day is there."""
    pieces = Range(day, day + timedelta(days=1), zone(place)).pieces(EVER, "day")
    return sum((one.end - one.start).total_seconds() for one in pieces) / 3600


# ── zones and days ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("place", "day", "length"),
    [
        ("Europe/London", date(2026, 3, 29), 23),
        ("Europe/London", date(2026, 10, 25), 25),
        ("Europe/London", date(2026, 6, 1), 24),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
        ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
        ("America/Sao_Paulo", date(2018, 11, 4), 23),  # began at 01:00
        ("Pacific/Apia", date(2011, 12, 30), 0),
        ("Africa/Monrovia", date(1972, 1, 7), 24 - 44.5 / 60),
    ],
)
def test_a_day_is_as_long_as_it_was_there(place: str, day: date, length: float) -> None:
    assert hours(place, day) == length


@pytest.mark.parametrize(
    ("place", "start"),
    [
        ("UTC", utc(2026, 6, 1)),
        ("Asia/Kolkata", utc(2026, 5, 31, 18, 30)),
        ("Asia/Kathmandu", utc(2026, 5, 31, 18, 15)),
        ("Pacific/Chatham", utc(2026, 5, 31, 11, 15)),
        ("Pacific/Kiritimati", utc(2026, 5, 31, 10)),
        ("Pacific/Pago_Pago", utc(2026, 6, 1, 11)),
    ],
)
def test_a_day_begins_when_its_date_does(place: str, start: datetime) -> None:
    (piece,) = Range(date(2026, 6, 1), date(2026, 6, 2), zone(place)).pieces(EVER, "day")
    assert (piece.start, piece.end) == (start, start + timedelta(days=1))


def test_a_day_that_was_interrupted_by_the_one_before_is_in_two_pieces() -> None:
    """In St John's of 2010 clocks went from 00:01 of the 7th back to 23:01 of the 6th."""
    newfoundland = zone("America/St_Johns")
    both = Range(date(2010, 11, 6), date(2010, 11, 8), newfoundland).pieces(EVER, "day")
    assert [(one.label.day, one.end - one.start) for one in both] == [
        (6, timedelta(hours=24)),
        (7, timedelta(minutes=1)),
        (6, timedelta(minutes=59)),
        (7, timedelta(hours=24)),
    ]
    seventh = Range(date(2010, 11, 7), date(2010, 11, 8), newfoundland)
    assert len(seventh.spans(EVER)) == 2


def test_an_hour_that_happens_twice_is_of_the_same_day() -> None:
    (piece,) = Range(date(2026, 10, 25), date(2026, 10, 26), zone("Europe/Berlin")).pieces(EVER, "day")
    assert (piece.start, piece.end) == (utc(2026, 10, 24, 22), utc(2026, 10, 25, 23))


@given(zones, instants, st.timedeltas(timedelta(0), timedelta(days=30)))
def test_every_instant_is_in_the_piece_of_its_own_date(place: ZoneInfo, start: datetime, length: timedelta) -> None:
    end = start + length
    at = start
    for piece in local_days(place, start, end):
        assert piece.start == at
        assert piece.start < piece.end
        at = piece.end
        for one in (piece.start, piece.start + (piece.end - piece.start) / 2, piece.end - timedelta(microseconds=1)):
            assert one.astimezone(place).date() == piece.label
    assert at == end


@given(zones, instants, instants, st.integers(0, 10**9))
def test_a_range_of_days_holds_those_instants_whose_date_it_holds(
    place: ZoneInfo, one: datetime, other: datetime, random: int
) -> None:
    first, last = sorted((one.date(), other.date()))
    if (last - first).days > 400:
        last = first + timedelta(days=400)
    wanted = Range(first, last, place)
    around = datetime.combine(first, time(), UTC) - timedelta(days=3)
    at = around + timedelta(seconds=random % int(((last - first) + timedelta(days=6)).total_seconds()))
    inside = any(span.start <= at < span.end for span in wanted.spans(EVER))
    assert inside == (first <= at.astimezone(place).date() < last)


def test_months_are_those_of_the_place() -> None:
    wanted = Range(date(2026, 1, 15), date(2026, 4, 2), zone("Europe/London"))
    assert wanted.pieces(EVER, "month") == [
        (date(2026, 1, 1), utc(2026, 1, 15), utc(2026, 2, 1)),
        (date(2026, 2, 1), utc(2026, 2, 1), utc(2026, 3, 1)),
        (date(2026, 3, 1), utc(2026, 3, 1), utc(2026, 3, 31, 23)),
        (date(2026, 4, 1), utc(2026, 3, 31, 23), utc(2026, 4, 1, 23)),
    ]


def test_without_bounds_a_range_is_all_there_is() -> None:
    within = Span(utc(2026, 1, 1), utc(2026, 3, 1))
    assert Range(None, None, zone("Asia/Tokyo")).spans(within) == [within]
    assert Range(date(2026, 2, 1), None, UTC).spans(within) == [Span(utc(2026, 2, 1), utc(2026, 3, 1))]
    assert Range(None, date(1, 1, 1), zone("Asia/Tokyo")).spans(within) == []
    assert Range(date(9999, 12, 31), None, zone("America/Adak")).spans(within) == []
    assert Range(date(1, 1, 1), date(9999, 12, 31), zone("Asia/Tokyo")).spans(within) == [within]


def test_a_range_with_one_bound_looks_only_at_the_days_near_it(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[datetime] = []
    offset = periods._offset

    def counted(in_zone: ZoneInfo, at: datetime) -> timedelta:
        looked.append(at)
        return offset(in_zone, at)

    monkeypatch.setattr(periods, "_offset", counted)
    assert Range(date(2026, 1, 1), None, zone("Asia/Tokyo")).spans(EVER) == [Span(utc(2025, 12, 31, 15), LAST)]
    assert len(looked) < 100


def test_bounds_may_be_instants_and_cut_days() -> None:
    wanted = Range(utc(2026, 1, 1, 12), utc(2026, 1, 2, 6), zone("Europe/Berlin"))
    assert wanted.pieces(EVER, "day") == [
        (date(2026, 1, 1), utc(2026, 1, 1, 12), utc(2026, 1, 1, 23)),
        (date(2026, 1, 2), utc(2026, 1, 1, 23), utc(2026, 1, 2, 6)),
    ]


def test_a_range_is_reversed_if_it_ends_before_it_begins() -> None:
    assert Range(date(2026, 1, 2), date(2026, 1, 1), UTC).is_reversed
    assert not Range(date(2026, 1, 1), date(2026, 1, 1), UTC).is_reversed
    assert not Range(date(2026, 1, 1), None, UTC).is_reversed
    berlin = zone("Europe/Berlin")
    assert Range(date(2026, 1, 1), utc(2025, 12, 31, 22), berlin).is_reversed
    assert not Range(date(2026, 1, 1), utc(2025, 12, 31, 23), berlin).is_reversed


@pytest.mark.parametrize(
    ("start", "end", "before"),
    [
        (date(2026, 3, 1), date(2026, 4, 1), date(2026, 2, 1)),
        (date(2026, 1, 1), date(2026, 4, 1), date(2025, 10, 1)),
        (date(2026, 3, 2), date(2026, 3, 9), date(2026, 2, 23)),
        (utc(2026, 3, 1, 6), utc(2026, 3, 1, 18), utc(2026, 2, 28, 18)),
    ],
)
def test_the_period_before_is_as_many_months_or_days_or_as_much_time(start: date, end: date, before: date) -> None:
    assert Range(start, end, UTC).previous() == Range(before, start, UTC)


@pytest.mark.parametrize(
    ("start", "end"), [(None, date(2026, 1, 1)), (date(2026, 1, 1), None), (date(2, 1, 1), date(9, 1, 1))]
)
def test_where_there_is_no_period_before_it_says_so(start: date | None, end: date | None) -> None:
    with pytest.raises(ValueError, match=r"beginning or end|does not go back"):
        Range(start, end, UTC).previous()


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "europe/london", "localtime", "Factory", "../etc/passwd", "America", "UTC\0", "+02:00"]
)
def test_what_is_no_zone_of_iana_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        zone(name)


# ── buckets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_span_is_covered_by_the_coarsest_buckets_that_fit() -> None:
    assert cover(utc(2026, 1, 1), utc(2026, 3, 3), COARSE) == Cover(
        [Run("month", utc(2026, 1, 1), utc(2026, 3, 1)), Run("day", utc(2026, 3, 1), utc(2026, 3, 3))], []
    )
    assert cover(utc(2026, 1, 1, 22, 45), utc(2026, 1, 4, 1, 7), FINE) == Cover(
        [
            Run("quarter", utc(2026, 1, 1, 22, 45), utc(2026, 1, 1, 23)),
            Run("hour", utc(2026, 1, 1, 23), utc(2026, 1, 2)),
            Run("day", utc(2026, 1, 2), utc(2026, 1, 4)),
            Run("hour", utc(2026, 1, 4), utc(2026, 1, 4, 1)),
        ],
        [Span(utc(2026, 1, 4, 1), utc(2026, 1, 4, 1, 7))],
    )


@given(instants, instants, st.sampled_from([FINE, COARSE]))
def test_buckets_and_the_rest_make_up_the_span_exactly(
    one: datetime, other: datetime, grains: tuple[Grain, ...]
) -> None:
    start, end = sorted((one, other))
    found = cover(start, end, grains)
    parts = sorted([Span(run.start, run.end) for run in found.runs] + found.rest)
    assert [part.end for part in parts[:-1]] == [part.start for part in parts[1:]]
    assert (parts[0].start, parts[-1].end) == (start, end) if parts else start == end
    for run in found.runs:
        assert floor(run.start, run.grain) == run.start
        assert floor(run.end, run.grain) == run.end
    # The fewest: two runs of each grain at most, one before a coarser one and one after it, and no rest with a bucket in it.
    assert all([run.grain for run in found.runs].count(grain) <= 2 for grain in grains)
    assert len(found.rest) <= 2
    for rest in found.rest:
        assert ceiling(rest.start, grains[-1]) >= floor(rest.end, grains[-1])


@given(instants, instants)
def test_no_run_of_a_fine_grain_holds_a_whole_bucket_of_a_coarser_one(one: datetime, other: datetime) -> None:
    start, end = sorted((one, other))
    for run in cover(start, end, FINE).runs:
        for coarser in FINE[: FINE.index(run.grain)]:
            assert ceiling(run.start, coarser) >= floor(run.end, coarser)


@given(zones, instants)
def test_days_of_today_are_whole_quarters_of_an_hour(place: ZoneInfo, at: datetime) -> None:
    day = at.date().replace(year=2000 + at.year % 30, day=1)
    for piece in Range(day, day + timedelta(days=20), place).pieces(EVER, "day"):
        start, end = piece.start, piece.end
        if place.key != "America/St_Johns":
            assert cover(start, end, FINE).rest == []
