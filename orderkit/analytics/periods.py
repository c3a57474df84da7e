"""Which instants a report is about: days and months of a place, and the whole buckets of UTC that they are made of.

A local day is the set of instants whose date there it is. That is 23, 24 or 25 hours as a rule; none where a country
crossed the date line westwards, and two stretches with a bit of the day before between them where clocks went back
at a minute past midnight. So a day is found by offsets, from one change of the offset to the next, never by asking when it
is midnight. Nothing here knows a database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cache
from typing import Literal, NamedTuple, TypeGuard
from zoneinfo import ZoneInfo, available_timezones

Grain = Literal["month", "day", "hour", "quarter"]
By = Literal["day", "month"]
Bound = date | datetime | None
"""Where a range begins or ends: on a local day, at an instant, or wherever the orders do."""

FIRST, LAST = datetime(1, 2, 1, tzinfo=UTC), datetime(9999, 12, 1, tzinfo=UTC)
"""No order is older or newer. The calendar goes on a month at either end, so that no offset leads out of it."""

_STEPS = {"day": timedelta(days=1), "hour": timedelta(hours=1), "quarter": timedelta(minutes=15)}
_ODD = ("Factory", "localtime", "posixrules")
"""Names beside the zones of IANA that are no place: the machine's own zone, and none."""

_MARGIN = timedelta(days=2)
"""No local day begins further than 16 hours from midnight in UTC."""


class Span(NamedTuple):
    """From an instant to just before another, both in UTC."""

    start: datetime
    end: datetime


class Piece(NamedTuple):
    """A stretch of a local day or month; `label` is the day, or the first day of the month."""

    label: date
    start: datetime
    end: datetime


class Run(NamedTuple):
    """Whole buckets of one grain, one after the other."""

    grain: Grain
    start: datetime
    end: datetime


class Cover(NamedTuple):
    """A span as whole buckets, the fewest there are, and the rest of it that is in no whole bucket."""

    runs: list[Run]
    rest: list[Span]


@dataclass(frozen=True, slots=True)
class Range:
    """What somebody asks for: half open, in a zone. Without bounds, all there is."""

    start: Bound
    end: Bound
    zone: tzinfo

    @property
    def is_reversed(self) -> bool:
        if self.start is None or self.end is None:
            return False
        if isinstance(self.start, datetime) or isinstance(self.end, datetime):
            return instant(self.start, self.zone) > instant(self.end, self.zone)
        return self.start > self.end

    def spans(self, within: Span) -> list[Span]:
        """The instants of the range, as far as they lie `within`: one span, but where a day is in two."""
        start, end = max(within.start, _earliest(self.start)), min(within.end, _latest(self.end))
        if end - start <= 4 * _MARGIN:
            return joined(Span(one.start, one.end) for one in self._days(within))
        # Only near its bounds is a day in question: who asks for all that was before 2030 waits for no day of the year 3.
        inner = Span(start + 2 * _MARGIN, end - 2 * _MARGIN)
        near = [self._days(Span(start, inner.start)), self._days(Span(inner.end, end))]
        first, last = ([Span(one.start, one.end) for one in days] for days in near)
        return joined([*first, inner, *last])

    def pieces(self, within: Span, by: By) -> list[Piece]:
        """The same, cut into local days or months. What belongs together is one piece if nothing lies between."""
        found: list[Piece] = []
        for one in self._days(within):
            label = one.label.replace(day=1) if by == "month" else one.label
            if found and found[-1].label == label and found[-1].end == one.start:
                found[-1] = found[-1]._replace(end=one.end)
            else:
                found.append(Piece(label, one.start, one.end))
        return found

    def previous(self) -> Range:
        """The range of the same length that ends where this begins: as many whole months, days, or as much time.

        Raises ValueError without both bounds, and where the calendar does not go back so far.
        """
        start, end = self.start, self.end
        if start is None or end is None:
            raise ValueError("there is nothing before a range without beginning or end")
        try:
            if isinstance(start, datetime) or isinstance(end, datetime):
                begun = instant(start, self.zone)
                return Range(begun - (instant(end, self.zone) - begun), begun, self.zone)
            if start.day == end.day == 1:
                return Range(_month(start, _months(start) - _months(end)), start, self.zone)
            return Range(start - (end - start), start, self.zone)
        except (OverflowError, ValueError):
            raise ValueError("the calendar does not go back so far") from None

    def _days(self, within: Span) -> Iterator[Piece]:
        first, last = self.start, self.end
        start, end = max(within.start, _earliest(first)), min(within.end, _latest(last))
        for one in local_days(self.zone, start, end):
            early = _is_day(first) and one.label < first
            late = _is_day(last) and one.label >= last
            if not (early or late):
                yield one


def zone(name: str) -> ZoneInfo:
    """A zone of the IANA database. Raises ValueError for what is none, which names the zone of such a city."""
    # Not whatever ZoneInfo finds: it looks for a file of that name.
    if name not in _names():
        typed = name.casefold().replace(" ", "_")
        meant = sorted(one for one in _names() if typed in (one.casefold(), _city(one)))
        told = f"; there is {', '.join(meant)}" if meant else ", such as UTC or Europe/London"
        raise ValueError(f"no time zone of IANA{told}")
    return ZoneInfo(name)


def _city(zone: str) -> str:
    return zone.rpartition("/")[2].casefold()


@cache
def _names() -> frozenset[str]:
    return frozenset(available_timezones().difference(_ODD))


def instant(bound: date | datetime, in_zone: tzinfo) -> datetime:
    """When it is, or begins to be, in UTC."""
    if isinstance(bound, datetime):
        return _clipped(bound.astimezone(UTC))
    around = _midnight(bound)
    after = local_days(in_zone, _clipped(around, -_MARGIN), _clipped(around, _MARGIN))
    return next((one.start for one in after if one.label >= bound), LAST)


def local_days(in_zone: tzinfo, start: datetime, end: datetime) -> Iterator[Piece]:
    """The days of a zone from `start` until before `end`, in order of time; a piece ends where the offset changes."""
    for at, until, offset in _offsets(in_zone, start, end):
        while at < until:
            day = (at + offset).date()
            midnight = datetime.combine(day + timedelta(days=1), time(), UTC) - offset
            yield Piece(day, at, min(midnight, until))
            at = min(midnight, until)


def cover(start: datetime, end: datetime, grains: Sequence[Grain]) -> Cover:
    """The span in whole buckets of these grains, which nest and come coarsest first."""
    if start >= end:
        return Cover([], [])
    if not grains:
        return Cover([], [Span(start, end)])
    grain, *finer = grains
    whole = Run(grain, ceiling(start, grain), floor(end, grain))
    if whole.start >= whole.end:
        return cover(start, end, finer)
    before, after = cover(start, whole.start, finer), cover(whole.end, end, finer)
    return Cover([*before.runs, whole, *after.runs], [*before.rest, *after.rest])


def floor(at: datetime, grain: Grain) -> datetime:
    """The start of the bucket that `at`, an instant in UTC, is in."""
    match grain:
        case "quarter":
            return at.replace(minute=at.minute - at.minute % 15, second=0, microsecond=0)
        case "hour":
            return at.replace(minute=0, second=0, microsecond=0)
        case "day":
            return at.replace(hour=0, minute=0, second=0, microsecond=0)
        case "month":
            return at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def ceiling(at: datetime, grain: Grain) -> datetime:
    """`at` itself if a bucket starts there, else the end of the bucket that it is in."""
    begun = floor(at, grain)
    if begun == at:
        return at
    return _midnight(_month(begun, 1)) if grain == "month" else begun + _STEPS[grain]


def _offsets(in_zone: tzinfo, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """From when until when which offset holds."""
    begun = at = start
    if at >= end:
        return
    offset = _offset(in_zone, at)
    while at < end:
        # No zone ever changed twice within three days.
        step = min(at + timedelta(days=2), end)
        if _offset(in_zone, step) != offset:
            changed = _change(in_zone, at, step)
            yield begun, changed, offset
            begun = changed
            offset = _offset(in_zone, changed)
        at = step
    if begun < end:
        yield begun, end, offset


def _change(in_zone: tzinfo, before: datetime, after: datetime) -> datetime:
    """The instant, a whole second, at which the offset changes between the two."""
    offset, low, high = _offset(in_zone, before), int(before.timestamp()), int(after.timestamp()) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(in_zone, _at(middle)) == offset:
            low = middle
        else:
            high = middle
    return _at(high)


def _at(seconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def _offset(in_zone: tzinfo, at: datetime) -> timedelta:
    return at.astimezone(in_zone).utcoffset() or timedelta(0)


def joined(spans: Iterable[Span]) -> list[Span]:
    """The same instants, in as few spans as can be; they are given in order of time."""
    found: list[Span] = []
    for one in spans:
        if found and found[-1].end == one.start:
            found[-1] = Span(found[-1].start, one.end)
        else:
            found.append(one)
    return found


def _is_day(bound: Bound) -> TypeGuard[date]:
    return isinstance(bound, date) and not isinstance(bound, datetime)


def _earliest(bound: Bound) -> datetime:
    if bound is None:
        return FIRST
    return _clipped(bound.astimezone(UTC)) if isinstance(bound, datetime) else _clipped(_midnight(bound), -_MARGIN)


def _latest(bound: Bound) -> datetime:
    if bound is None:
        return LAST
    return _clipped(bound.astimezone(UTC)) if isinstance(bound, datetime) else _clipped(_midnight(bound), _MARGIN)


def _clipped(at: datetime, by: timedelta = timedelta(0)) -> datetime:
    return min(max(min(max(at, FIRST), LAST) + by, FIRST), LAST)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _months(day: date) -> int:
    return day.year * 12 + day.month - 1


def _month(day: date, months: int) -> date:
    year, month = divmod(_months(day) + months, 12)
    return date(year, month + 1, 1)
