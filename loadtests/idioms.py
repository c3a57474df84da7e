"""What each way of talking to the database costs: an order's rows written, and a page of 20 orders read.

    python -m loadtests.idioms

The same statements are sent through an ORM session and through SQLAlchemy Core: in threads, handed over from an event loop as
a route does, and on the loop itself by asynchronous drivers. orderkit's own way of writing, lists of 16 orders, is beside
them. Rounds alternate. CPU is this process's, with the server's beside it; the number that lasts is the ratio to Core in threads.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median

import uvloop
from sqlalchemy import text

from loadtests import arguments, stack
from loadtests.idiom_rows import LINES
from loadtests.idiom_ways import CUSTOMERS, PAGE, PRODUCTS, READ, WRITE, Act, Shop, fill_pages, ways
from loadtests.rollup_cost import database_cpu
from loadtests.stack import Stack

ENGINES = ("postgresql", "sqlite")
BASIS = "Core in threads"
_KEPT = (
    "SELECT (SELECT count(*) FROM orders), (SELECT count(*) / :lines FROM order_items), (SELECT count(*) FROM payments),"
    " (SELECT count(*) FROM order_history), (SELECT count(*) FROM idempotency_keys),"
    " ((SELECT sum(delta) FROM stock_movements) - (SELECT sum(stock) FROM products)) / :lines"
)


@dataclass(frozen=True)
class Round:
    """One way for one round: how often, in how many seconds, and the CPU seconds of this process and of the server."""

    done: int
    seconds: float
    here: float
    server: float

    @property
    def cost(self) -> float:
        """CPU µs each, here."""
        return self.here / max(1, self.done) * 1e6


Found = dict[tuple[str, str], list[Round]]
"""Rounds by what was done, and in which way."""


def main() -> int:
    chosen = _arguments()
    wrong: list[str] = []
    with stack.tidy_when_told_to_stop():
        for engine in chosen.engines.split(","):
            with Stack.migrated(sqlite=engine == "sqlite") as running:
                running.seed(products=PRODUCTS, users=CUSTOMERS)
                before = os.getloadavg()[0]
                print(
                    f"{running.engine.name} · {chosen.clients} at once · {os.cpu_count()} cores shared by all"
                    f" · load {before:.1f} before",
                    flush=True,
                )
                found, missed = uvloop.run(_measured(running, chosen))
                for line in table(found):
                    print(line)
                print(f"load {os.getloadavg()[0]:.1f} after", flush=True)
                wrong += missed
    for one in wrong:
        print(one, file=sys.stderr)
    return 1 if wrong else 0


async def _measured(running: Stack, chosen: argparse.Namespace) -> tuple[Found, list[str]]:
    """The rounds, and what is wrong with them."""
    shop = Shop(running, chosen.clients)
    written = fill_pages(shop)
    found: Found = {}
    async with AsyncExitStack() as until_done:
        acts = ways(shop, until_done)
        for number in range(chosen.rounds + 1):
            stack.settle_down(running.engine)
            turned = [*acts.items()] if number % 2 else [*reversed(acts.items())]  # whoever comes late finds more rows
            for key, act in turned:
                one = await _round(running, act, chosen.clients, chosen.milliseconds / 1e3)
                written += one.done if key[0] == WRITE else 0
                if number:  # the first opens connections and compiles statements
                    found.setdefault(key, []).append(one)
    with stack.connected(running.engine) as connection:
        kept = [int(count) for count in connection.execute(text(_KEPT), {"lines": LINES}).one()]
    wrong = [] if kept == [written] * len(kept) else [f"{running.engine.name}: {written} orders written, {kept} kept"]
    if shop.short_pages:
        wrong.append(f"{running.engine.name}: {shop.short_pages} pages were not whole")
    return found, wrong


async def _round(running: Stack, act: Act, clients: int, seconds: float) -> Round:
    """`clients` do it over and over; what was begun in time is finished and counts."""
    done = 0
    server, here, started = database_cpu(running), time.process_time(), time.perf_counter()

    async def client() -> None:
        nonlocal done
        while time.perf_counter() < started + seconds:
            for_so_many = await act()  # and only then read what others have added meanwhile
            done += for_so_many

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    elapsed, here = time.perf_counter() - started, time.process_time() - here
    return Round(done, elapsed, here, database_cpu(running) - server)


def table(found: Found) -> list[str]:
    """A line for each way: medians of its rounds, and the cost next to that of Core in threads in the same rounds."""
    lines = []
    for kind, title in ((WRITE, "an order written"), (READ, f"a page of {PAGE} orders read")):
        lines.append(f"{title:30}  CPU µs here  of the server  a second  ratio of CPU")
        for (of, way), rounds in found.items():
            if of == kind:
                basis = found[kind, BASIS]
                ratio = median(one.cost / other.cost for one, other in zip(rounds, basis, strict=True))
                server = median(one.server / max(1, one.done) * 1e6 for one in rounds)
                rate = median(one.done / one.seconds for one in rounds)
                here = median(one.cost for one in rounds)
                lines.append(f"  {way:28}  {here:11,.0f}  {server:13,.0f}  {rate:8,.0f}  {ratio:12.2f}")
    return lines


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.idioms", description=__doc__.splitlines()[0])
    parser.add_argument("--engines", default=",".join(ENGINES), help="of postgresql,sqlite (both)")
    parser.add_argument("--clients", type=int, default=16, help="how many ask at once (16)")
    parser.add_argument("--milliseconds", type=int, default=500, help="how long one way takes its turn (500)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each way, after one that does not count (5)")
    chosen = arguments.parsed(parser, clients=64, milliseconds=10_000, rounds=50)
    if not chosen.engines or set(chosen.engines.split(",")) - set(ENGINES):
        parser.error("--engines is of postgresql,sqlite")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
