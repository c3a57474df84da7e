"""What keeping the rollups costs: the CPU time that one order takes of API, worker and database, with and without them.

    python -m loadtests.rollup_cost

Rounds alternate, without and with, because the machine is never quite the same twice. In each, buyers order at an even pace,
which leaves the machine some rest, and the round ends when every order is shipped, so that all of its work is counted. The
worker without rollups is the same in all but the one function that adds to them. The number that lasts is the ratio.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from sqlalchemy import text

from loadtests import arguments, stack
from loadtests.buyers import Shift, order
from loadtests.stack import Stack

PRODUCTS = 1000
CUSTOMERS = 100
SHIPPED_WITHIN_S = 90.0
WITHOUT = "--work-without-rollups"
WITH = "--work-with-rollups"

_COUNTED = "SELECT coalesce(sum(orders), 0) FROM rollups WHERE kind = 'total' AND grain = 'day'"
_OPEN = (
    "SELECT (SELECT count(*) FROM outbox WHERE sent_at IS NULL)"
    " + (SELECT count(*) FROM orders WHERE status IN ('pending', 'paid'))"
)


@dataclass(frozen=True)
class Half:
    """One half of a round: its orders, the CPU seconds of each part, and how many of its orders the rollups `counted`."""

    orders: int
    api: float
    worker: float
    database: float
    counted: int

    @property
    def an_order(self) -> float:
        return (self.api + self.worker + self.database) / max(1, self.orders)


def main() -> int:
    chosen = _arguments()
    with stack.tidy_when_told_to_stop(), ExitStack() as until_done:
        running = until_done.enter_context(Stack.migrated(sqlite=chosen.sqlite))
        running.seed(products=PRODUCTS, users=CUSTOMERS)
        api = until_done.enter_context(running.serving())
        print(
            f"{running.engine.name} · {chosen.rate} orders/s for {chosen.seconds} s a half · {os.cpu_count()} cores shared by all"
            f" · load {os.getloadavg()[0]:.1f} before",
            flush=True,
        )
        _half(running, api, "warm-up", chosen, with_rollups=True)
        rounds = [_round(running, api, number, chosen) for number in range(1, chosen.rounds + 1)]
    return verdict(rounds, chosen.at_most)


def _round(running: Stack, api: int, number: int, chosen: argparse.Namespace) -> tuple[Half, Half]:
    # Whichever comes second finds more in the database: they take turns at that too.
    halves = {}
    for with_rollups in (False, True) if number % 2 else (True, False):
        name = f"round-{number}-{'with' if with_rollups else 'without'}"
        halves[with_rollups] = _half(running, api, name, chosen, with_rollups=with_rollups)
    without, with_ = halves[False], halves[True]
    if number == 1:
        print("round           orders  API CPU/order  worker CPU/order  database CPU/order  all, µs  ratio")
    for name, half in (("without", without), ("with", with_)):
        each = [part / max(1, half.orders) * 1e6 for part in (half.api, half.worker, half.database)]
        ratio = f"{with_.an_order / without.an_order:5.2f}" if half is with_ else ""
        print(
            f"{number:5} {name:8} {half.orders:7}  {each[0]:13.0f}  {each[1]:16.0f}  {each[2]:18.0f}  {half.an_order * 1e6:7.0f}"
            f"  {ratio}",
            flush=True,
        )
    return without, with_


def _half(running: Stack, api: int, name: str, chosen: argparse.Namespace, *, with_rollups: bool) -> Half:
    stack.settle_down(running.engine)
    tokens = running.tokens([1 + n % CUSTOMERS for n in range(chosen.clients)])
    skus = [stack.sku(n) for n in range(1, PRODUCTS + 1)]
    counted = _number(running, _COUNTED)
    with _working(running, with_rollups) as worker:
        before = stack.cpu_seconds(api), stack.cpu_seconds(worker), database_cpu(running)
        taken = order(Shift(stack.HOST, running.port, name, chosen.seconds, tokens, skus, chosen.rate))
        _wait_until_shipped(running)
        used = stack.cpu_seconds(api), stack.cpu_seconds(worker), database_cpu(running)
    now = _number(running, _COUNTED)
    if set(taken.statuses) != {"201"} or taken.lost:
        sys.exit(f"not every order was taken: {taken.statuses}, {taken.lost} lost")
    spent = [after - start for after, start in zip(used, before, strict=True)]
    return Half(taken.paid, spent[0], spent[1], spent[2], counted=now - counted)


@contextmanager
def _working(running: Stack, with_rollups: bool) -> Iterator[int]:
    """A worker; gives its process id."""
    command = [sys.executable, "-m", "loadtests.rollup_cost", WITH if with_rollups else WITHOUT]
    with (running.within / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, env=running.environment, cwd=running.within, stdout=log, stderr=log)
    try:
        time.sleep(2.0)  # what it imports is not the orders' to pay for
        yield process.pid
    finally:
        process.terminate()
        process.wait(stack.STOP_WITHIN_S)


def _wait_until_shipped(running: Stack) -> None:
    until = time.monotonic() + SHIPPED_WITHIN_S
    while _number(running, _OPEN):
        if time.monotonic() > until:
            said = (running.within / "worker.log").read_text(errors="replace").strip().splitlines()
            sys.exit(f"the worker did not ship everything: {said[-1] if said else 'it said nothing'}")
        time.sleep(0.5)


def _number(running: Stack, query: str) -> int:
    with stack.connected(running.engine) as connection:
        return int(connection.execute(text(query)).scalar_one())


def database_cpu(running: Stack) -> float:
    """CPU seconds of PostgreSQL's server with all its processes, those that ended too; SQLite works in the others."""
    if running.engine.programs is None:
        return 0.0
    import psutil

    with stack.connected(running.engine) as connection:
        folder = str(connection.execute(text("SHOW data_directory")).scalar_one())
    server = psutil.Process(int(Path(folder, "postmaster.pid").read_text().split()[0]))
    times = server.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in server.children():
        try:
            own = child.cpu_times()
        except psutil.NoSuchProcess:  # and is its parent's by now: too late for this reading, in time for the next
            continue
        total += own.user + own.system
    return float(total)


def verdict(rounds: list[tuple[Half, Half]], at_most: float) -> int:
    """Prints the medians, and gives the exit code: 1 if orders were not counted once, or the ratio is above `at_most`."""
    ratio = median(with_.an_order / without.an_order for without, with_ in rounds)
    without, with_ = (median(half[place].an_order for half in rounds) * 1e6 for place in (0, 1))
    print(
        f"median: {ratio:.2f} times the CPU (at most {at_most:.2f} is wanted) · {without:.0f} µs an order without, "
        f"{with_:.0f} µs with · load {os.getloadavg()[0]:.1f} after"
    )
    if any(without.counted or with_.counted != with_.orders for without, with_ in rounds):
        print("the rollups do not have each order once", file=sys.stderr)
        return 1
    if ratio > at_most:
        print(f"dearer than wanted: {ratio:.2f} > {at_most:.2f}", file=sys.stderr)
        return 1
    return 0


def _work(*, with_rollups: bool) -> None:
    from orderkit.analytics import rollups
    from orderkit.observability import logs
    from orderkit.settings import Settings
    from orderkit.worker import app

    settings = Settings()
    logs.configure(settings)
    if not with_rollups:
        setattr(rollups, "apply", lambda _connection, _told: 0)  # noqa: B010 - no function of that name is meant
    app.run(settings)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.rollup_cost", description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=8, help="buyers (8)")
    parser.add_argument("--rate", type=int, default=60, help="orders a second (60)")
    parser.add_argument("--seconds", type=int, default=8, help="how long buyers order in each half of a round (8)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds without and with (3)")
    parser.add_argument("--sqlite", action="store_true", help="SQLite instead of PostgreSQL")
    parser.add_argument("--at-most", type=float, default=1.10, help="exit 1 if the median ratio is above (1.10)")
    return arguments.parsed(parser, clients=90, rate=500, seconds=120, rounds=20)


if __name__ == "__main__":
    if sys.argv[1:] in ([WITH], [WITHOUT]):
        _work(with_rollups=sys.argv[1] == WITH)
    else:
        sys.exit(main())
