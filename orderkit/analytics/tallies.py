"""Adding up what reports are made of: rollups, what the unsent events say, and base rows where no whole bucket fits.

All three are of one snapshot, so that nothing is missing and nothing there twice: an event leaves the unsent in the very
transaction that adds its facts to the rollups. What a report costs grows with its days and its keys, not with the orders.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, literal_column, select, text

from orderkit.analytics import facts, known, periods, rollups
from orderkit.analytics.facts import Fact
from orderkit.analytics.models import GRAINS_OF, Rollup
from orderkit.analytics.periods import Cover, Piece, Span
from orderkit.analytics.rollups import COLUMNS
from orderkit.db import BigSum

Kind = Literal["total", "country", "status", "user", "product"]

_rollups = Rollup.__table__  # type: ignore[attr-defined]


@dataclass(slots=True)
class Tally:
    """Sums in one currency, in minor units; `refunds` and `refunded` are how many and how much was given back."""

    orders: int = 0
    gross: int = 0
    refunds: int = 0
    refunded: int = 0
    pieces: int = 0

    @property
    def net(self) -> int:
        return self.gross - self.refunded

    @property
    def average(self) -> int | None:
        """Gross of an order, half a minor unit rounded up; None without orders."""
        return (2 * self.gross + self.orders) // (2 * self.orders) if self.orders > 0 else None

    def add(self, other: Tally) -> None:
        self.orders += other.orders
        self.gross += other.gross
        self.refunds += other.refunds
        self.refunded += other.refunded
        self.pieces += other.pieces

    def __bool__(self) -> bool:
        return any((self.orders, self.gross, self.refunds, self.refunded, self.pieces))


class Group(NamedTuple):
    """Whose sums they are: of a day or month, if by time; of a country, status, user or SKU, '' for all; in a currency."""

    label: date | None
    key: str
    currency: str


Tallies = dict[Group, Tally]


@dataclass(frozen=True, slots=True)
class Laid:
    """A piece and what it is made of."""

    label: date | None
    span: Span
    cover: Cover

    def covers(self, at: datetime) -> bool:
        """Whether buckets do; base rows have what is in the rest."""
        return at < self.span.end and not any(rest.start <= at < rest.end for rest in self.cover.rest)


class Books:
    """All that one report reads, on one connection of a snapshot."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._tails: dict[bool, Sequence[Fact]] = {}

    def tail(self, kind: Kind) -> Sequence[Fact]:
        """What the rollups have not heard of yet, of which products only if that is wanted."""
        lines = kind == "product"
        if lines not in self._tails:
            self._tails[lines] = facts.unsent(self.connection, lines=lines)
        return self._tails[lines]

    def extent(self, kind: Kind) -> Span | None:
        """Whole months in which all lies that there is to report; None if that is nothing."""
        days = select(_rollups.c.bucket).where(_rollups.c.kind == kind, _rollups.c.grain == "day").limit(1)
        found = [fact.at for fact in self.tail(kind)]
        for order in (_rollups.c.bucket, _rollups.c.bucket.desc()):
            found += self.connection.execute(days.order_by(order).execution_options(query="reports.extent")).scalars()
        if not found:
            return None
        last = min(max(found) + timedelta(days=1), periods.LAST)
        return Span(periods.floor(min(found), "month"), periods.ceiling(last, "month"))

    def stretches(self, kind: Kind) -> list[Span]:
        """Whole months in which all lies that there is to report, and none in which there is nothing; in order of time.

        What is laid out day by day is laid out in these: between two of them may be a century.
        """
        statement = _MONTHS[self.connection.dialect.name].execution_options(query="reports.months")
        months = {known.instant(start) for start in self.connection.execute(statement, {"kind": kind}).scalars()}
        months |= {periods.floor(fact.at, "month") for fact in self.tail(kind)}
        spans = (Span(one, periods.ceiling(one + timedelta(days=1), "month")) for one in sorted(months))
        return periods.joined(spans)

    def tallies(self, kind: Kind, pieces: Sequence[Piece | Span], currency: str | None = None) -> Tallies:
        """Sums of each group in each of the pieces, which do not overlap. None that is nothing at all."""
        found: Tallies = defaultdict(Tally)
        laid = lay_out(kind, pieces)
        self._add_buckets(found, kind, laid, currency)
        for label, fact in self.beyond(kind, laid):
            for key, tally in shares(fact, kind):
                if currency in (None, fact.currency):
                    found[Group(label, key, fact.currency)].add(tally)
        return {group: tally for group, tally in found.items() if tally}

    def beyond(
        self, kind: Kind, laid: Sequence[Laid], user_id: UUID | None = None
    ) -> Iterator[tuple[date | None, Fact]]:
        """The facts of the pieces that the rollups do not have, each with its piece's label; with `user_id`, all those of that
        user, and maybe some of others."""
        for one in laid:
            for rest in one.cover.rest:
                for fact in facts.of_base(self.connection, *rest, lines=kind == "product", user_id=user_id):
                    yield one.label, fact
        ordered = sorted(laid, key=lambda one: one.span.start)
        starts = [one.span.start for one in ordered]
        for fact in self.tail(kind):
            place = bisect_right(starts, fact.at) - 1
            if place >= 0 and ordered[place].covers(fact.at):
                yield ordered[place].label, fact

    def _add_buckets(self, found: Tallies, kind: Kind, laid: Sequence[Laid], currency: str | None) -> None:
        labels = list(dict.fromkeys(one.label for one in laid))
        numbers = {label: number for number, label in enumerate(labels)}
        segments = [(numbers[one.label], *run) for one in laid for run in one.cover.runs]
        if not segments:
            return
        statement = _BUCKETS[self.connection.dialect.name].execution_options(query="reports.by_time")
        given = {"kind": kind, "currency": currency} | sent(self.connection, segments)
        for number, key, own, *counted in self.connection.execute(statement, given):
            found[Group(labels[number], key, own)].add(Tally(*counted))


def lay_out(kind: Kind, pieces: Sequence[Piece | Span]) -> list[Laid]:
    """The pieces, each with the buckets of this kind that it is made of."""
    return [
        Laid(
            one.label if isinstance(one, Piece) else None,
            Span(one.start, one.end),
            periods.cover(one.start, one.end, GRAINS_OF[kind][::-1]),
        )
        for one in pieces
    ]


def shares(fact: Fact, kind: Kind) -> Iterator[tuple[str, Tally]]:
    """What a fact adds to which key of a kind; below 0 where it takes away."""
    return ((key, Tally(*amounts)) for of, key, amounts in rollups.parts(fact) if of == kind)


def total(tallies: Mapping[Group, Tally]) -> dict[str, Tally]:
    """Of all groups together, by currency."""
    found: dict[str, Tally] = {}
    for group in sorted(tallies, key=lambda one: one.currency):
        found.setdefault(group.currency, Tally()).add(tallies[group])
    return found


def sent(connection: Connection, segments: Sequence[tuple[int, str, datetime, datetime]]) -> dict[str, str]:
    """The segments as parameters: so many of them would be too many parameters one by one."""
    if connection.dialect.name == "sqlite":
        rows = [[number, grain, stored(start), stored(end)] for number, grain, start, end in segments]
        return {"segments": json.dumps(rows)}
    numbers, grains, starts, ends = zip(*segments, strict=True) if segments else ((), (), (), ())
    return {
        "numbers": "{" + ",".join(map(str, numbers)) + "}",
        "grains": "{" + ",".join(grains) + "}",
        "starts": "{" + ",".join(f'"{at.isoformat()}"' for at in starts) + "}",
        "ends": "{" + ",".join(f'"{at.isoformat()}"' for at in ends) + "}",
    }


def stored(at: datetime) -> str:
    """An instant as SQLite has it in its rows."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def sum_of(dialect: str, column: str) -> str:
    """The same as SQL, to be part of a larger expression."""
    return f"({rollups.sum_of(dialect, literal_column(column))})"


def sums(dialect: str, table: str) -> str:
    """SQL for the sum of each of COLUMNS, under its name."""
    return ", ".join(f"{sum_of(dialect, f'{table}.{name}')} AS {name}" for name in COLUMNS)


_DAYS = known.Rows("rollups", "bucket", "kind = :kind AND grain = 'day'")
_MONTHS = {dialect: known.starts(dialect, _DAYS, "month") for dialect in ("postgresql", "sqlite")}

SUM_TYPES: dict[str, Any] = dict.fromkeys(COLUMNS, BigSum())

# A lateral join that groups for itself: PostgreSQL can only walk the index anew for each segment, whatever it guesses.
_BUCKETS = {
    "postgresql": text(f"""
        SELECT s.number, r.key, r.currency, {sums("postgresql", "r")}
        FROM unnest(CAST(:numbers AS integer[]), CAST(:grains AS text[]), CAST(:starts AS timestamptz[]),
                    CAST(:ends AS timestamptz[])) AS s (number, grain, start, until)
        CROSS JOIN LATERAL (
            SELECT r.key, r.currency, {sums("postgresql", "r")} FROM rollups AS r
            WHERE r.kind = :kind AND r.grain = s.grain AND r.bucket >= s.start AND r.bucket < s.until
              AND (CAST(:currency AS text) IS NULL OR r.currency = :currency)
            GROUP BY r.key, r.currency
        ) AS r
        GROUP BY s.number, r.key, r.currency
    """).columns(**SUM_TYPES),  # noqa: S608 - names only
    # CROSS JOIN keeps SQLite to this order, too.
    "sqlite": text(f"""
        SELECT json_extract(s.value, '$[0]') AS number, r.key, r.currency, {sums("sqlite", "r")}
        FROM json_each(:segments) AS s
        CROSS JOIN rollups AS r
        WHERE r.kind = :kind AND r.grain = json_extract(s.value, '$[1]')
          AND r.bucket >= json_extract(s.value, '$[2]') AND r.bucket < json_extract(s.value, '$[3]')
          AND (:currency IS NULL OR r.currency = :currency)
        GROUP BY 1, 2, 3
    """).columns(**SUM_TYPES),  # noqa: S608 - names only
}
