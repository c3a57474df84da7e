"""Days and months of which anything is known, found by skipping along an index from each to the next.

What that costs grows with how many there are, not with how far apart they lie: between two orders may be a century.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any, Literal, NamedTuple

from sqlalchemy import Date, TextualSelect, text

Unit = Literal["day", "month"]


class Rows(NamedTuple):
    """Rows of a table, by when they are of: SQL for a condition and for a column, which an index has one after the other."""

    table: str
    column: str
    where: str = "true"


def starts(dialect: str, rows: Rows, unit: Unit) -> TextualSelect:
    """A statement for the first date of each day or month, in UTC, in which there are such rows; in order of time."""
    nearest = f"SELECT {rows.column} FROM {rows.table} WHERE {rows.where}"  # noqa: S608 - names only
    first = f"({nearest} ORDER BY {rows.column} LIMIT 1)"
    following = f"({nearest} AND {rows.column} >= {_END[dialect].format(unit=unit)} ORDER BY {rows.column} LIMIT 1)"
    begun = _BEGUN[dialect, unit]
    return text(f"""
        WITH RECURSIVE skipped (start) AS (
            SELECT {begun.format(at=first)}
            UNION ALL
            SELECT {begun.format(at=following)} FROM skipped AS s WHERE s.start IS NOT NULL
        )
        SELECT start FROM skipped WHERE start IS NOT NULL
    """).columns(start=Date)  # noqa: S608 - names only


def instant(start: date) -> datetime:
    """When it begins."""
    return datetime.combine(start, time(), UTC)


# Without a zone of its own, lest a day be one of the session's zone.
_BEGUN: dict[Any, str] = {
    ("postgresql", "day"): "CAST(date_trunc('day', {at} AT TIME ZONE 'UTC') AS date)",
    ("postgresql", "month"): "CAST(date_trunc('month', {at} AT TIME ZONE 'UTC') AS date)",
    ("sqlite", "day"): "date({at})",
    ("sqlite", "month"): "date({at}, 'start of month')",
}
# SQLite has instants as texts, and the text of a date comes before those of its instants.
_END = {
    "postgresql": "(s.start + interval '1 {unit}') AT TIME ZONE 'UTC'",
    "sqlite": "date(s.start, '+1 {unit}')",
}
