"""How fast and how small `orderkit seed` is, next to a bare COPY of the very rows that it wrote.

    python -m loadtests.seeding

The seed is the command itself, in a process of its own, so that its memory is its own. The COPY, on the same server in the
same run, is one process of the server filling tables with the same indexes and checks, but no foreign keys, from rows that
somebody else thought of: what nobody can be much faster than. The number that lasts is the ratio.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text

from loadtests import arguments, keeping, stack
from loadtests.rollup_cost import database_cpu
from loadtests.stack import Stack

TABLES = ("orders", "order_items", "order_history", "payments", "refunds", "stock_movements", "rollups")
WITHIN_S = 1_200
MEMORY_MIB = 512
_KEPT = (
    "SELECT (SELECT count(*) FROM orders), (SELECT count(DISTINCT order_id) FROM order_items),"
    " (SELECT coalesce(sum(orders), 0) FROM rollups WHERE kind = 'status' AND grain = 'day')"
)


@dataclass(frozen=True)
class Seeding:
    """One run: orders, seconds, CPU seconds of the command and of the database, the most memory that the command had, in MiB."""

    orders: int
    seconds: float
    command: float
    database: float
    memory: float
    complete: bool

    @property
    def rate(self) -> float:
        return self.orders / self.seconds


def main() -> int:
    chosen = _arguments()
    with stack.tidy_when_told_to_stop(), ExitStack() as until_done:
        running = until_done.enter_context(Stack.migrated(sqlite=chosen.sqlite))
        print(
            f"{running.engine.name} · {os.cpu_count()} cores shared by all · load {os.getloadavg()[0]:.1f} before",
            flush=True,
        )
        first = seed(running, chosen.orders, chosen.days)
        print(_line("seed", first), flush=True)
        again = seed(running, chosen.orders, chosen.days)
        print(_line("again", again), flush=True)
        copied = None if chosen.sqlite else _copied(running, running.within)
    keeping.keep(chosen, "seeding", figures(first, again, copied, running.engine.name))
    return verdict(first, copied, chosen.at_least)


def figures(first: Seeding, again: Seeding, copied: float | None, engine: str) -> dict[str, Any]:
    """All of it, as evidence. `times_copy` is how many times as fast as COPY it was."""
    return {
        "engine": engine,
        "orders": first.orders,
        "seconds": round(first.seconds, 1),
        "orders_a_second": round(first.rate),
        "command_us": round(first.command / first.orders * 1e6),
        "database_us": round(first.database / first.orders * 1e6),
        "memory_mib": round(first.memory),
        "complete": first.complete,
        "again_seconds": round(again.seconds, 1),
        "copy_seconds": None if copied is None else round(copied, 1),
        "times_copy": None if copied is None else round(copied / first.seconds, 2),
    }


def seed(running: Stack, orders: int, days: int) -> Seeding:
    """Runs the command. Exits if it fails."""
    command = [sys.executable, "-m", "orderkit", "seed", "--orders", str(orders), "--days", str(days)]
    before, spent_before, start = database_cpu(running), _children(), time.monotonic()
    done = subprocess.run(
        command, env=running.environment, cwd=running.within, capture_output=True, text=True, timeout=WITHIN_S
    )
    seconds = time.monotonic() - start
    if done.returncode:
        sys.exit(f"orderkit seed failed: {done.stderr.strip()}")
    spent = _children()
    with stack.connected(running.engine) as connection:
        kept = [int(number) for number in connection.execute(text(_KEPT)).one()]
    return Seeding(
        orders,
        seconds,
        command=spent.ru_utime + spent.ru_stime - spent_before.ru_utime - spent_before.ru_stime,
        database=database_cpu(running) - before,
        memory=spent.ru_maxrss / 1024,  # of the largest of this process's children, which it is
        complete=kept == [orders] * 3,
    )


def _children() -> resource.struct_rusage:
    return resource.getrusage(resource.RUSAGE_CHILDREN)


def _copied(running: Stack, within: Path) -> float:
    """Seconds that PostgreSQL takes to COPY the rows of TABLES into tables like them."""
    with stack.connected(running.engine) as connection:
        driver: Any = connection.connection.driver_connection
        driver.execute("SET statement_timeout = 0")
        for table in TABLES:
            with (within / table).open("wb") as file, driver.cursor().copy(f"COPY {table} TO STDOUT") as source:
                file.writelines(source)
            driver.execute(f"CREATE TABLE copy_of_{table} (LIKE {table} INCLUDING ALL)")
        start = time.monotonic()
        for table in TABLES:
            with (within / table).open("rb") as file, driver.cursor().copy(f"COPY copy_of_{table} FROM STDIN") as sink:
                while part := file.read(1 << 20):
                    sink.write(part)
        return time.monotonic() - start


def _line(name: str, run: Seeding) -> str:
    return (
        f"{name:6} {run.orders:,} orders in {run.seconds:.1f} s · {run.rate:,.0f} orders/s · CPU an order: "
        f"{run.command / run.orders * 1e6:.0f} µs in the command, {run.database / run.orders * 1e6:.0f} µs in the database"
        f" · {run.memory:.0f} MiB"
    )


def verdict(run: Seeding, copied: float | None, at_least: float) -> int:
    """Prints the ratio, and gives the exit code: 1 if a row is missing, or it took too much memory or too much time."""
    if copied is not None:
        print(
            f"copy   the same rows in {copied:.1f} s: the seed is {copied / run.seconds:.2f} times as fast"
            f" · load {os.getloadavg()[0]:.1f} after"
        )
    wrong = []
    if not run.complete:
        wrong.append("orders, those with lines and those in the rollups are not as many as asked for")
    if run.memory > MEMORY_MIB:
        wrong.append(f"more memory than wanted: {run.memory:.0f} > {MEMORY_MIB} MiB")
    if run.rate < at_least:
        wrong.append(f"slower than wanted: {run.rate:,.0f} < {at_least:,.0f} orders/s")
    for one in wrong:
        print(one, file=sys.stderr)
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.seeding", description=__doc__.splitlines()[0])
    parser.add_argument("--orders", type=int, default=1_000_000, help="orders to make (1000000)")
    parser.add_argument("--days", type=int, default=730, help="days that they spread over (730)")
    parser.add_argument("--sqlite", action="store_true", help="SQLite instead of PostgreSQL")
    keeping.offer(parser)
    parser.add_argument("--at-least", type=float, default=0.0, help="exit 1 below so many orders a second (0)")
    return arguments.parsed(parser, orders=10_000_000, days=36_500)


if __name__ == "__main__":
    sys.exit(main())
