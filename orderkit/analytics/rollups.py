"""Adding facts up, and the sums to those that are there.

Whoever adds does so in the very transaction that makes its facts known, and last in it: the relay with the events that it
marks sent, an import with the orders that it writes. So at any moment the rollups and the unsent events together are what the
base tables say, and a transaction that dies leaves none of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, func, literal_column, select, type_coerce

from orderkit.analytics import facts
from orderkit.analytics.facts import Fact, Moved, Sale
from orderkit.analytics.models import COARSE_GRAINS, FINE_GRAINS, GRAINS_OF, Rollup
from orderkit.analytics.periods import Grain, floor
from orderkit.db import BigSum
from orderkit.events.models import Lease
from orderkit.orders.past import Written
from orderkit.rows import add_rows, insert_rows

NAME = "rollups"
COLUMNS = ("orders", "gross", "refunds", "refunded", "pieces")
KEY = ("kind", "grain", "bucket", "currency", "key")

_leases = Lease.__table__  # type: ignore[attr-defined]


class Key(NamedTuple):
    """Which row."""

    kind: str
    grain: str
    bucket: datetime
    currency: str
    key: str


Sums = dict[Key, list[int]]
"""By row, its COLUMNS."""


def apply(connection: Connection, told: Iterable[Fact]) -> int:
    """Adds facts to the rollups within the caller's transaction, whose last act it must be: it takes a lock that all who add
    wait for, and nobody who has it waits for anything else. How many rows it added to."""
    return add(connection, summed(told))


def add_past(connection: Connection, written: Written) -> None:
    """Adds past orders to the rollups; what an import calls after writing them."""
    apply(connection, facts.of_past(written))


def add(connection: Connection, sums: Mapping[Key, list[int]]) -> int:
    """Adds sums to the rollups, as `apply` does."""
    rows = [dict(zip((*KEY, *COLUMNS), (*key, *sums[key]), strict=True)) for key in sorted(sums) if any(sums[key])]
    if rows:
        hold(connection)
        add_rows(connection, Rollup, rows, by=KEY)
    return len(rows)


def hold(connection: Connection) -> None:
    """Waits until nobody else adds, and keeps others from it until the transaction ends. On SQLite a writer is alone anyway."""
    held = select(_leases.c.name).where(_leases.c.name == NAME).with_for_update(key_share=True)
    if connection.execute(held).first() is None:
        insert_rows(connection, Lease, [{"name": NAME}], skip_existing=True)
        connection.execute(held).one()


def summed(told: Iterable[Fact]) -> Sums:
    """The sums of facts, in every row that they belong to."""
    quarters, days = _finest(told)
    sums: Sums = {}
    for buckets, grains in ((quarters, FINE_GRAINS), (days, COARSE_GRAINS)):
        for grain in grains:
            if grain != grains[0]:
                buckets = _coarser(buckets, grain)
            for bucket, rows in buckets.items():
                for (kind, currency, key), row in rows.items():
                    sums[Key(kind, grain, bucket, currency, key)] = row
    return sums


Buckets = defaultdict[datetime, dict[tuple[str, str, str], list[int]]]
"""Rows of one grain by bucket, and within one by kind, currency and key: an instant is hashed once a fact, not once a row."""


Amounts = tuple[int, int, int, int, int]
"""COLUMNS."""


def parts(fact: Fact) -> Iterator[tuple[str, str, Amounts]]:
    """The rows that a fact belongs to, each by its kind and key, and what it adds there; below 0 where it takes away."""
    if isinstance(fact, Moved):
        if fact.before is not None:
            yield "status", fact.before, (-1, 0, 0, 0, 0)
        yield "status", fact.after, (1, 0, 0, 0, 0)
        return
    sign, amount = fact.sign, fact.sign * fact.amount
    money = (sign, amount, 0, 0, 0) if isinstance(fact, Sale) else (0, 0, sign, amount, 0)
    yield "total", "", money
    yield "country", fact.country or "", money
    yield "user", str(fact.user_id), money
    for line in fact.lines if isinstance(fact, Sale) else ():
        yield "product", line.sku, (0, sign * line.revenue, 0, 0, sign * line.pieces)


def _finest(told: Iterable[Fact]) -> tuple[Buckets, Buckets]:
    """The sums of facts in the rows of the finest grain of each kind: by quarters of an hour, and by days."""
    quarters, days = Buckets(dict), Buckets(dict)
    at = fine = coarse = None
    for fact in told:
        if fine is None or coarse is None or fact.at is not at:  # what is told of one order comes together
            at = fact.at
            quarter = floor(at, "quarter")
            fine, coarse = quarters[quarter], days[floor(quarter, "day")]
        for kind, key, amounts in parts(fact):
            _count(coarse if kind in _COARSE else fine, (kind, fact.currency, key), *amounts)
    return quarters, days


_COARSE = frozenset(kind for kind, grains in GRAINS_OF.items() if grains == COARSE_GRAINS)


def _count(
    rows: dict[tuple[str, str, str], list[int]],
    key: tuple[str, str, str],
    orders: int,
    gross: int,
    refunds: int,
    refunded: int,
    pieces: int,
) -> None:
    into = rows.get(key)
    if into is None:
        rows[key] = [orders, gross, refunds, refunded, pieces]
        return
    into[0] += orders
    into[1] += gross
    into[2] += refunds
    into[3] += refunded
    into[4] += pieces


def _coarser(finer: Buckets, grain: Grain) -> Buckets:
    """The same sums in buckets of a coarser grain."""
    coarser = Buckets(dict)
    for bucket, rows in finer.items():
        into = coarser[floor(bucket, grain)]
        for key, sums in rows.items():
            _count(into, key, *sums)
    return coarser


def sum_of(dialect: str, column: Any) -> ColumnElement[int]:
    """The sum of a column of sums. SQLite's own stops with an error past 2**63 - 1; this one then approximates."""
    if dialect == "postgresql":
        return func.sum(column)
    base: ColumnElement[int] = literal_column("4294967296")
    is_exact = func.typeof(column).op("=")(literal_column("'integer'"))
    # % would make the largest integer of what is none; / divides that without a rest.
    high, low = func.sum(column.op("/")(base)), func.sum(column.op("%")(base).op("*")(is_exact.self_group()))
    return type_coerce(high.op("*")(base).op("+")(low), BigSum)
