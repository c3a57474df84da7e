"""Rollups compared with a recount, and put right where they differ, while orders come in and reports are read.

Day by day, in UTC, so that memory and the time that a lock is held are bounded by the orders of a day. What the rollups are
to say of a day is what the base tables say, less what the unsent events are going to add. That is read in one snapshot, in
which all three agree; to put it right, nobody else may add meanwhile, so the lock is taken first and the snapshot then.
Differences are added: a row that should not be there becomes one of zeros. Each step is a transaction that can be repeated,
so a run that was killed is simply run again.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import zip_longest
from typing import Any

from sqlalchemy import Connection, Select, and_, literal, or_, select

from orderkit.analytics import facts, known, rollups
from orderkit.analytics.models import GRAINS_OF, Rollup
from orderkit.analytics.rollups import COLUMNS, KEY, Key, Sums
from orderkit.db import Database, UtcDateTime
from orderkit.orders.models import Order
from orderkit.payments.models import RefundStatus
from orderkit.rows import update_rows

DAY = timedelta(days=1)
APPROXIMATELY = 1e-12
"""Sums past 2**63 - 1 that differ by less, of each other, are the same on SQLite: each of thousands of additions rounds them."""
MONTHLY = tuple(kind for kind, grains in GRAINS_OF.items() if "month" in grains)

Progress = Callable[[int], None]
"""Told how many days more are done."""

_rollups = Rollup.__table__  # type: ignore[attr-defined]
_orders = Order.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Difference:
    """A row of the rollups that says something else than a recount. Both have COLUMNS; no row says zeros.

    On SQLite sums past 2**63 - 1 are told apart only where they differ by more than rounding.
    """

    key: Key
    recounted: tuple[int, ...]
    found: tuple[int, ...]


def compare(database: Database, *, progress: Progress = lambda _days: None) -> Iterator[Difference]:
    """Every difference between the rollups and a recount; changes nothing and holds nobody up."""
    for day, month_ends in _days(database):
        with database.snapshot() as session:
            yield from _of_day(session.connection(), day)
        if month_ends:
            with database.snapshot() as session:
                yield from _of_month(session.connection(), day.replace(day=1))
        progress(1)


def run(database: Database, *, progress: Progress = lambda _days: None) -> int:
    """Puts right what differs; how many rows. Meanwhile the relay and imports wait for a day's recount at most."""
    put_right = 0
    for day, month_ends in _days(database):
        _know_countries(database, day)
        put_right += _put_right(database, day, _of_day)
        if month_ends:  # after its days, of which it is the sum
            put_right += _put_right(database, day.replace(day=1), _of_month)
        progress(1)
    return put_right


def extent(database: Database) -> int:
    """Of how many days anything is known: what `progress` will add up to."""
    with database.reading() as session:
        return len(_known_days(session.connection()))


def _days(database: Database) -> Iterator[tuple[datetime, bool]]:
    """Every day of which anything is known, and whether it is the last such of its month.

    Whatever comes while these are gone through is added by whoever brings it.
    """
    with database.reading() as session:
        days = _known_days(session.connection())
    for day, following in zip_longest(days, days[1:]):
        yield day, following is None or (following.year, following.month) != (day.year, day.month)


def _known_days(connection: Connection) -> list[datetime]:
    """The days of which base tables or rollups know anything."""
    found: set[date] = set()
    for rows in _KNOWING:
        found.update(connection.execute(known.starts(connection.dialect.name, rows, "day")).scalars())
    return [known.instant(day) for day in sorted(found)]


_KNOWING = (
    known.Rows("orders", "created_at"),
    known.Rows("refunds", "created_at", f"status = '{RefundStatus.SUCCEEDED.value}'"),
    *(
        known.Rows("rollups", "bucket", f"kind = '{kind}' AND grain = '{grain}'")
        for kind, grains in GRAINS_OF.items()
        for grain in grains
    ),
)


def _put_right(
    database: Database, bucket: datetime, differences: Callable[[Connection, datetime], list[Difference]]
) -> int:
    with database.transaction() as session:
        rollups.hold(session.connection())
        with database.snapshot() as now:
            found = differences(now.connection(), bucket)
        missing = {
            one.key: [there - here for there, here in zip(one.recounted, one.found, strict=True)] for one in found
        }
        rollups.add(session.connection(), missing)
    return len(found)


def _of_day(connection: Connection, day: datetime) -> list[Difference]:
    """Differences in the rows of a day, its hours and its quarters. `connection` sees one moment."""
    end = day + DAY
    recounted = rollups.summed(facts.of_base(connection, day, end))
    for key, sums in rollups.summed(one for one in facts.unsent(connection) if day <= one.at < end).items():
        into = recounted.setdefault(key, [0] * len(COLUMNS))
        for place, value in enumerate(sums):
            into[place] -= value
    recounted = {key: sums for key, sums in recounted.items() if key.grain != "month"}
    return _differences(connection, recounted, _rows(connection, rows_within(day, end)))


_NOTHING = [0] * len(COLUMNS)


def _of_month(connection: Connection, month: datetime) -> list[Difference]:
    """Differences between the rows of a month and the sums of those of its days."""
    end = (month + 31 * DAY).replace(day=1)
    days = _rows(connection, sums_of_days(connection, month, end))
    months = _rows(connection, rows_of_month(month))
    return _differences(connection, days, months)


def _differences(connection: Connection, recounted: Sums, found: Sums) -> list[Difference]:
    alike = _alike_on_sqlite if connection.dialect.name == "sqlite" else operator.eq
    both = (
        (key, tuple(recounted.get(key, _NOTHING)), tuple(found.get(key, _NOTHING)))
        for key in sorted(recounted.keys() | found.keys())
    )
    return [
        Difference(key, there, here)
        for key, there, here in both
        if not all(alike(one, other) for one, other in zip(there, here, strict=True))
    ]


def _alike_on_sqlite(one: int, other: int) -> bool:
    """Whether two sums are the same as far as SQLite can tell, which approximates those past 2**63 - 1 (`BigSum`)."""
    return one == other or (max(abs(one), abs(other)) >= 2**63 and math.isclose(one, other, rel_tol=APPROXIMATELY))


def _rows(connection: Connection, query: Select[Any]) -> Sums:
    """Rows of KEY and COLUMNS."""
    key = len(KEY)
    return {Key(*row[:key]): [*row[key:]] for row in connection.execute(query)}


def rows_within(start: datetime, end: datetime) -> Select[Any]:
    """The rows of all grains but `month`."""
    kinds = or_(
        *(
            and_(_rollups.c.kind == kind, _rollups.c.grain.in_([one for one in grains if one != "month"]))
            for kind, grains in GRAINS_OF.items()
        )
    )
    within = (_rollups.c.bucket >= start, _rollups.c.bucket < end)
    return _all_columns().where(kinds, *within).execution_options(query="analytics.rollups_of_day")


def rows_of_month(month: datetime) -> Select[Any]:
    of_month = (_rollups.c.kind.in_(MONTHLY), _rollups.c.grain == "month", _rollups.c.bucket == month)
    return _all_columns().where(*of_month).execution_options(query="analytics.rollups_of_month")


def sums_of_days(connection: Connection, month: datetime, end: datetime) -> Select[Any]:
    """What the rows of the month are to say."""
    days = (
        _rollups.c.kind.in_(MONTHLY),
        _rollups.c.grain == "day",
        _rollups.c.bucket >= month,
        _rollups.c.bucket < end,
    )
    bucket = literal(month, UtcDateTime).label("bucket")
    sums = (rollups.sum_of(connection.dialect.name, _rollups.c[name]) for name in COLUMNS)
    key = (_rollups.c.kind, literal("month").label("grain"), bucket, _rollups.c.currency, _rollups.c.key)
    summed = select(*key, *sums).where(*days).group_by(_rollups.c.kind, _rollups.c.currency, _rollups.c.key)
    return summed.execution_options(query="analytics.rollups_summed_for_month")


def _all_columns() -> Select[Any]:
    return select(*(_rollups.c[name] for name in (*KEY, *COLUMNS)))


def _know_countries(database: Database, day: datetime) -> None:
    """Gives orders of a day that were written before orders had a country that of their address."""
    country = _orders.c.shipping_address["country"].as_string()
    unknown = (
        select(_orders.c.id, country.label("country"))
        .where(_orders.c.created_at >= day, _orders.c.created_at < day + DAY)
        .where(_orders.c.country.is_(None), country.is_not(None))
        .execution_options(query="analytics.unknown_countries")
    )
    with database.reading() as session:  # nothing is to be locked to find nothing
        if session.connection().execute(unknown.limit(1)).first() is None:
            return
    with database.transaction() as session:
        connection = session.connection()
        rows = connection.execute(unknown.order_by(_orders.c.id).with_for_update(key_share=True)).all()
        update_rows(connection, Order, [{"id": row.id, "country": row.country} for row in rows])
