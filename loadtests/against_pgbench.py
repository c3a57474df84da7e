"""How fast orders are placed and paid, against the least that their database could take for them, in the same run.

    python -m loadtests.against_pgbench

Rounds alternate, A B A B, because the machine is never quite the same twice: A is pgbench writing one order a transaction
(`one_order.pgbench.sql`), B is buyers who post orders to `orderkit serve`. The number that lasts is the ratio B/A.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

from loadtests import arguments, keeping, one_order, stack
from loadtests.buyers import Shift, Takings, order
from loadtests.one_order import Written
from loadtests.stack import Counts, Stack

PRODUCTS = 1000
CUSTOMERS = 100
WARM_UP_S = 2


@dataclass(frozen=True)
class Round:
    """One A and one B. `cpu` is what the API process used for an order, in seconds; `kept` what the database has of B."""

    least: Written
    taken: Takings
    cpu: float
    kept: Counts

    @property
    def ratio(self) -> float:
        return self.taken.orders_a_second / self.least.orders_a_second

    @property
    def agrees(self) -> bool:
        """Whether every answer was 201 and the database has that many of everything."""
        return set(self.taken.statuses) == {"201"} and not self.taken.lost and self.kept.all_are(self.taken.paid)


def main() -> int:
    chosen = _arguments()
    products = 1 if chosen.hot else PRODUCTS
    with stack.tidy_when_told_to_stop(), ExitStack() as until_done:
        running = until_done.enter_context(Stack.migrated(sqlite=chosen.sqlite))
        running.seed(products=products, users=CUSTOMERS)
        process = until_done.enter_context(running.serving())

        def write(seconds: int) -> Written:
            size = {"seconds": seconds, "products": products, "customers": CUSTOMERS}
            if chosen.sqlite:
                return one_order.by_sqlite(running.engine, **size)
            return one_order.by_pgbench(running.engine, clients=chosen.clients, **size)

        def buy(run: str, seconds: float) -> Takings:
            tokens = running.tokens([1 + n % CUSTOMERS for n in range(chosen.clients)])
            skus = [stack.sku(n) for n in range(1, products + 1)]
            return order(Shift(stack.HOST, running.port, run, seconds, tokens, skus))

        print(
            f"{running.engine.name} · {chosen.clients} clients · {products} product{'s'[: products > 1]} · "
            f"{chosen.seconds} s a round · {os.cpu_count()} cores shared by all",
            flush=True,
        )
        write(min(WARM_UP_S, chosen.seconds))
        buy("warm-up", min(WARM_UP_S, chosen.seconds))
        rounds = [
            _round(running, process, number, chosen.seconds, write, buy) for number in range(1, chosen.rounds + 1)
        ]
    keeping.keep(chosen, "load", figures(rounds, chosen, running.engine.name))
    return verdict(rounds, chosen.at_least)


def figures(rounds: list[Round], chosen: argparse.Namespace, engine: str) -> dict[str, Any]:
    """All of it, as evidence."""
    told = [
        {
            "database_orders_a_second": round(one.least.orders_a_second, 1),
            "orders_a_second": round(one.taken.orders_a_second, 1),
            "ratio": round(one.ratio, 3),
            "cpu_us": round(one.cpu * 1e6),
            "p50_ms": round(one.taken.p50 * 1e3, 1),
            "p95_ms": round(one.taken.p95 * 1e3, 1),
            "p99_ms": round(one.taken.p99 * 1e3, 1),
            "paid": one.taken.paid,
            "agrees": one.agrees,
        }
        for one in rounds
    ]
    return {
        "engine": engine,
        "yardstick": "a plain loop of inserts" if chosen.sqlite else "pgbench",
        "clients": chosen.clients,
        "products": 1 if chosen.hot else PRODUCTS,
        "seconds": chosen.seconds,
        "at_least": chosen.at_least,
        "rounds": told,
        "median": {name: median(one[name] for one in told) for name in told[0] if name not in ("paid", "agrees")},
        "agrees": all(one.agrees for one in rounds),
    }


def _round(
    running: Stack,
    process: int,
    number: int,
    seconds: int,
    write: Callable[[int], Written],
    buy: Callable[[str, float], Takings],
) -> Round:
    stack.settle_down(running.engine)
    least = write(seconds)
    stack.settle_down(running.engine)
    before, used = running.counts(), stack.cpu_seconds(process)
    taken = buy(f"round-{number}", seconds)
    used = stack.cpu_seconds(process) - used
    kept = running.counts().since(before)
    one = Round(least, taken, used / max(1, taken.paid), kept)
    if number == 1:
        print(
            "round  A orders/s  B orders/s  ratio  API CPU/order  p50 ms  p95 ms  p99 ms  201 answers  in the database"
        )
    print(
        f"{number:5}  {least.orders_a_second:10.0f}  {taken.orders_a_second:10.0f}  {one.ratio:5.2f}  {one.cpu * 1e6:10.0f} µs"
        f"  {taken.p50 * 1e3:6.1f}  {taken.p95 * 1e3:6.1f}  {taken.p99 * 1e3:6.1f}  {taken.paid:11}"
        f"  {'the same' if one.agrees else f'NOT THE SAME: {kept}, answers {taken.statuses}, lost {taken.lost}'}",
        flush=True,
    )
    return one


def verdict(rounds: list[Round], at_least: float) -> int:
    """Prints the medians, and gives the exit code: 1 if anything was lost or doubled, or the ratio is below `at_least`."""
    ratio = median(one.ratio for one in rounds)
    print(
        f"median: B/A {ratio:.2f} (at least {at_least:.2f} is wanted) · "
        f"A {median(one.least.orders_a_second for one in rounds):.0f} orders/s · "
        f"B {median(one.taken.orders_a_second for one in rounds):.0f} orders/s · "
        f"API CPU {median(one.cpu for one in rounds) * 1e6:.0f} µs an order"
    )
    if not all(one.agrees for one in rounds):
        print("what clients were told and what the database has differ", file=sys.stderr)
        return 1
    if ratio < at_least:
        print(f"slower than wanted: {ratio:.2f} < {at_least:.2f}", file=sys.stderr)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.against_pgbench", description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=32, help="buyers, and connections of pgbench (32)")
    parser.add_argument("--seconds", type=int, default=10, help="length of A and of B in each round (10)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of A and B (3)")
    parser.add_argument("--hot", action="store_true", help="everyone wants the same product")
    parser.add_argument("--sqlite", action="store_true", help="SQLite, against a plain loop of inserts")
    keeping.offer(parser)
    parser.add_argument("--at-least", type=float, default=0.25, help="exit 1 if the median ratio is below (0.25)")
    return arguments.parsed(parser, clients=90, seconds=120, rounds=20)


if __name__ == "__main__":
    sys.exit(main())
