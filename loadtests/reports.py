"""What each report costs among few orders and among many, and next to a plain GROUP BY over the base tables.

    python -m loadtests.reports

Seeds a new database, reads each report again and again, seeds more orders of the same users over the same days, and reads
them once more. The first number is the ratio of the two 95th percentiles, of the time that a caller waits, without HTTP. Then,
among the many, the statements of reports by day are timed in the database, next to the GROUP BY that they spare; both must
tell the same.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median, quantiles
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, event, text

from loadtests import arguments, keeping, stack
from loadtests.stack import Stack
from orderkit.analytics import asking
from orderkit.analytics.asking import Asked
from orderkit.analytics.reports import ranking, sales, spending, statuses
from orderkit.analytics.source import Source
from orderkit.analytics.tallies import Books
from orderkit.clock import now
from orderkit.db import Database
from orderkit.settings import Settings

DAYS = 730
WITHIN_S = 1_800
ZONES = ("UTC", "America/New_York", "Asia/Kathmandu")
JULY = datetime(2025, 7, 1, tzinfo=UTC)
PAGE = 51
"""Rows that a page of 50 asks for: one more."""

Rows = set[tuple[str, str, int, int, int]]
"""Day, currency, orders, gross and refunded."""


@dataclass(frozen=True)
class Case:
    name: str
    read: Callable[[Books], object]


def cases(first: datetime, last: datetime, user_id: UUID) -> list[Case]:
    """Every report of everything, and some of whole months and of one week."""
    everything = asking.asked()
    months = _whole_months(first, last)
    week = asking.asked(f"{last - timedelta(days=40):%Y-%m-%d}", f"{last - timedelta(days=33):%Y-%m-%d}")
    by_day = [Case(f"by day, {zone}", _sales(asking.asked(tz=zone), "day")) for zone in ZONES]
    return [
        *by_day,
        Case("by month", _sales(everything, "month")),
        Case("by country", _sales(everything, "country")),
        Case("by day, whole months, with the period before", _sales(months, "day", before=_before(months))),
        Case("by day, one week", _sales(week, "day")),
        Case("revenue by user, whole months", lambda books: ranking.users(books, months, limit=PAGE)),
        Case("status counts", lambda books: statuses.report(books, everything)),
        Case("top products, by pieces", lambda books: ranking.products(books, everything, "quantity", limit=PAGE)),
        Case("top products, one week, by revenue", lambda books: ranking.products(books, week, "revenue", limit=PAGE)),
        Case("spending of one user", lambda books: spending.report(books, everything, user_id)),
        Case("spending of one user, New York's year", lambda books: spending.report(books, _year(last), user_id)),
    ]


def _sales(asked: Asked, by: sales.By, before: Asked | None = None) -> Callable[[Books], object]:
    return lambda books: sales.report(books, asked, by, before=before)


def _whole_months(first: datetime, last: datetime) -> Asked:
    """The second half of all whole months that there are."""
    end = last.replace(day=1)
    start = (end - (end - first) / 2).replace(day=1)
    return asking.asked(f"{start:%Y-%m-%d}", f"{end:%Y-%m-%d}")


def _before(asked: Asked) -> Asked:
    return asking.before(asked)


def _year(last: datetime) -> Asked:
    return asking.asked(f"{last.year - 1}-03-05", f"{last:%Y-%m-%d}", "America/New_York")


def p95(source: Source, listed: Sequence[Case], times: int) -> dict[str, float]:
    """The 95th percentile of `times` readings of each, in ms. They take turns, so that a moment of noise is everybody's."""
    gc.collect()
    gc.freeze()  # as `serve` does when it has started
    taken: dict[str, list[float]] = {case.name: [] for case in listed}
    for turn in range(times + 2):
        for case in listed:
            started = time.perf_counter()
            source.read(case.read)
            if turn >= 2:  # before, caches and plans are made
                taken[case.name].append((time.perf_counter() - started) * 1e3)
    return {name: quantiles(each, n=20)[-1] for name, each in taken.items()}


# ── in the database ──────────────────────────────────────────────────────────────────────────────────────────────────


def in_database(database: Database, statements: Sequence[tuple[str, Any]], times: int) -> float:
    """The median of what all of them take together, in ms: as PostgreSQL times itself, planning included; SQLite is in process,
    and timed from outside until its last row."""
    taken = []
    with database.reading() as session:
        driver: Any = session.connection().connection.driver_connection
        for _ in range(times):
            taken.append(sum(_time(driver, database.is_sqlite, *statement) for statement in statements))
    return median(taken)


def _time(driver: Any, is_sqlite: bool, statement: str, parameters: Any) -> float:
    if is_sqlite:
        started = time.perf_counter()
        driver.execute(statement, parameters).fetchall()
        return (time.perf_counter() - started) * 1e3
    [told] = driver.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}", parameters).fetchone()
    plan = (json.loads(told) if isinstance(told, str) else told)[0]
    return float(plan["Planning Time"] + plan["Execution Time"])


@contextmanager
def captured(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """What is executed within the block, as the driver gets it."""
    seen: list[tuple[str, Any]] = []

    def see(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if not statement.startswith("BEGIN"):
            seen.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", see)
    try:
        yield seen
    finally:
        event.remove(database.engine, "before_cursor_execute", see)


def group_by(database: Database, zone: str) -> list[tuple[str, Any]]:
    """The report by day of everything, as somebody would write it who has no rollups: what was sold, and what was given back."""
    if database.is_sqlite:
        # SQLite knows no zones. One offset for all days is wrong where clocks change, and less work than the right one.
        minutes = int((ZoneInfo(zone).utcoffset(JULY) or timedelta()).total_seconds()) // 60
        day = f"date({{}}, '{minutes:+d} minutes')" if minutes else "date({})"
    else:
        day = f"date_trunc('day', {{}} AT TIME ZONE '{zone}')::date"
    sold = f"""SELECT {day.format("o.created_at")}, o.currency, count(*), sum(o.total)
        FROM orders o JOIN payments p ON p.order_id = o.id
        WHERE p.status IN ('captured', 'imported') GROUP BY 1, 2 ORDER BY 1, 2"""
    given_back = f"""SELECT {day.format("created_at")}, currency, count(*), sum(amount)
        FROM refunds WHERE status = 'succeeded' GROUP BY 1, 2 ORDER BY 1, 2"""
    nothing: Any = () if database.is_sqlite else None
    return [(sold, nothing), (given_back, nothing)]


def told_by_group_by(database: Database, zone: str) -> Rows:
    with database.reading() as session:
        driver: Any = session.connection().connection.driver_connection
        of_sales, of_refunds = (driver.execute(*one).fetchall() for one in group_by(database, zone))
    sold = {(str(day), currency): (int(orders), int(gross)) for day, currency, orders, gross in of_sales}
    given_back = {(str(day), currency): int(amount) for day, currency, _refunds, amount in of_refunds}
    return {(*key, *sold.get(key, (0, 0)), given_back.get(key, 0)) for key in sold.keys() | given_back.keys()}


def told_by_report(source: Source, zone: str) -> Rows:
    report = source.read(lambda books: sales.report(books, asking.asked(tz=zone), "day")).value
    return {(str(one.of), one.currency, one.tally.orders, one.tally.gross, one.tally.refunded) for one in report.items}


# ── the run ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def measure(running: Stack, chosen: argparse.Namespace, say: Callable[[str], None], told: dict[str, Any]) -> list[str]:
    """Says all figures, puts them into `told`, and gives what is wrong with them."""
    few = chosen.few
    found: list[Mapping[str, float]] = []
    database = Database(Settings(database_url=running.engine.url, slow_query=0.0))
    source = Source(Settings(database_url=running.engine.url), database)
    try:
        for orders in (few, chosen.many - few):
            running.run("seed", "--orders", str(orders), "--days", str(DAYS), "--users", str(chosen.users))
            stack.settle_down(running.engine)
            with database.reading() as session:
                listed = cases(*_bounds(session.connection()))
            found.append(p95(source, listed, chosen.times))
        told["reports"] = [
            {
                "name": name,
                "few_ms": round(few_ms, 2),
                "many_ms": round(many_ms, 2),
                "ratio": round(many_ms / few_ms, 2),
            }
            for name, few_ms, many_ms in ((name, found[0][name], found[1][name]) for name in found[0])
        ]
        return [*growth(found, chosen, say), *_against_group_by(database, source, chosen, say, told)]
    finally:
        source.close()
        database.dispose()


def _bounds(connection: Connection) -> tuple[datetime, datetime, UUID]:
    """When the first order was placed, now, and whoever has the most orders."""
    first = connection.execute(text("SELECT min(created_at) FROM orders")).scalar_one()
    [who] = connection.execute(text("SELECT user_id FROM orders GROUP BY user_id ORDER BY count(*) DESC LIMIT 1")).one()
    first = first if isinstance(first, datetime) else datetime.fromisoformat(first)
    return first.replace(tzinfo=first.tzinfo or UTC), now(), who if isinstance(who, UUID) else UUID(who)


def growth(found: Sequence[Mapping[str, float]], chosen: argparse.Namespace, say: Callable[[str], None]) -> list[str]:
    """Says how much each report grew, and gives those that grew too much."""
    width = max(map(len, found[0]))
    say(f"p95 of {chosen.times}, ms  {'':{max(0, width - 16)}}{chosen.few:>11,}  {chosen.many:>11,}  ratio")
    wrong = []
    for name, before in found[0].items():
        ratio = found[1][name] / before
        say(f"{name:{width}}  {before:11.2f}  {found[1][name]:11.2f}  {ratio:5.2f}")
        if ratio > chosen.at_most:
            times = chosen.many / chosen.few
            told = f"{name}: {ratio:.2f} times as slow among {times:.0f} times the orders"
            wrong.append(f"{told}, {chosen.at_most} wanted")
    return wrong


def _against_group_by(
    database: Database, source: Source, chosen: argparse.Namespace, say: Callable[[str], None], told: dict[str, Any]
) -> list[str]:
    wrong = []
    told["group_by"] = []
    say(f"whole shop by day, in the database, ms   rollups    GROUP BY  faster   ({chosen.many:,} orders)")
    for zone in ZONES:
        asked = asking.asked(tz=zone)
        with captured(database) as statements, database.snapshot() as session:
            sales.report(Books(session.connection()), asked, "day")
        ours = in_database(database, statements, chosen.times)
        plain = in_database(database, group_by(database, zone), 3)
        say(f"{zone:39}  {ours:8.2f}  {plain:10.2f}  {plain / ours:6.1f}")
        told["group_by"].append({"zone": zone, "rollups_ms": round(ours, 2), "group_by_ms": round(plain, 2)})
        least = chosen.at_least_utc if zone == "UTC" else chosen.at_least
        if plain / ours < least:
            wrong.append(f"by day, {zone}: {plain / ours:.1f} times as fast as GROUP BY, {least} wanted")
        exact = not database.is_sqlite or not ZoneInfo(zone).dst(JULY)
        if exact and told_by_report(source, zone) != told_by_group_by(database, zone):
            wrong.append(f"by day, {zone}: report and GROUP BY do not tell the same")
    return wrong


def main() -> int:
    chosen = _arguments()
    wrong = []
    engines: list[dict[str, Any]] = []
    with stack.tidy_when_told_to_stop():
        for name in chosen.engines.split(","):
            with ExitStack() as until_done:
                running = until_done.enter_context(Stack.migrated(sqlite=name == "sqlite"))
                print(
                    f"{running.engine.name} · {os.cpu_count()} cores · load {os.getloadavg()[0]:.1f} before", flush=True
                )
                engines.append({"engine": running.engine.name})
                found = measure(running, chosen, lambda line: print(line, flush=True), engines[-1])
                wrong += [f"{name}: {one}" for one in found]
    figures = {"few": chosen.few, "many": chosen.many, "times": chosen.times, "at_most": chosen.at_most}
    keeping.keep(chosen, "reports", {**figures, "engines": engines, "wrong": wrong})
    for one in wrong:
        print(one, file=sys.stderr)
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.reports", description=__doc__.splitlines()[0])
    parser.add_argument("--engines", default="postgresql,sqlite", help="which, in turn (postgresql,sqlite)")
    keeping.offer(parser)
    parser.add_argument("--few", type=int, default=100_000, metavar="N", help="orders at first (100,000)")
    parser.add_argument("--many", type=int, default=1_000_000, metavar="N", help="orders in the end (1,000,000)")
    parser.add_argument("--users", type=int, default=2_000, metavar="N", help="who place them (2,000)")
    parser.add_argument("--times", type=int, default=100, metavar="N", help="readings of each report (100)")
    parser.add_argument("--at-most", type=float, default=1.5, help="exit 1 if a report grows by more (1.5)")
    parser.add_argument("--at-least-utc", type=float, default=100.0, help="exit 1 if days of UTC gain less (100)")
    parser.add_argument("--at-least", type=float, default=5.0, help="exit 1 if days elsewhere gain less (5)")
    chosen = arguments.parsed(parser, few=1_000_000, many=10_000_000, users=100_000, times=1_000)
    if chosen.few >= chosen.many:
        parser.error("--few is less than --many")
    if not set(chosen.engines.split(",")) <= {"postgresql", "sqlite"}:
        parser.error("--engines is postgresql, sqlite, or both with a comma between")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
