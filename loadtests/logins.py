"""What logins cost those who order: the median of POST /orders at half the peak, without and with logins and refreshes.

    python -m loadtests.logins

First the peak, with buyers that order without a pause; then rounds alternate, A B B A: A is half of that rate, B the same
with 5 logins and 5 refreshes a second besides, each counted as done only when it was answered 200. The number is B/A.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, nullcontext
from statistics import median

import aiohttp

from loadtests import stack
from loadtests.buyers import Shift, Takings, order
from loadtests.stack import Stack
from orderkit.auth import passwords

PRODUCTS = 1000
CUSTOMERS = 100
PASSWORD = "of every buyer, and theirs alone"
WARM_UP_S = 2


class Logins:
    """Logs buyers in, and refreshes what it got, `rate` times a second each, in a thread of its own until stopped."""

    def __init__(self, running: Stack, rate: float) -> None:
        self.statuses: Counter[str] = Counter()
        self._base = f"http://{stack.HOST}:{running.port}"
        self._rate = rate
        self._buyers = itertools.cycle(range(1, CUSTOMERS + 1))
        self._refreshable: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()), name="logins")

    def __enter__(self) -> Logins:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _work(self) -> None:
        under_way: set[asyncio.Task[None]] = set()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            starts = time.perf_counter()
            for turn in itertools.count():
                await asyncio.sleep(max(0.0, starts + turn / self._rate / 2 - time.perf_counter()))
                if self._stop.is_set():
                    break
                act = self._refresh if turn % 2 and self._refreshable else self._log_in
                task = asyncio.create_task(act(session))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.gather(*under_way)

    async def _log_in(self, session: aiohttp.ClientSession) -> None:
        form = {"username": stack.email(next(self._buyers)), "password": PASSWORD}
        async with session.post(f"{self._base}/token", data=form) as answer:
            self.statuses[f"login {answer.status}"] += 1
            if answer.status == 200:
                self._refreshable.append((await answer.json())["refresh_token"])

    async def _refresh(self, session: aiohttp.ClientSession) -> None:
        body = {"refresh_token": self._refreshable.pop(0)}
        async with session.post(f"{self._base}/token/refresh", json=body) as answer:
            self.statuses[f"refresh {answer.status}"] += 1
            if answer.status == 200:
                self._refreshable.append((await answer.json())["refresh_token"])


def main() -> int:
    chosen = _arguments()
    with stack.tidy_when_told_to_stop(), ExitStack() as until_done:
        within = until_done.enter_context(stack.folder())
        engine = stack.sqlite_file(within) if chosen.sqlite else until_done.enter_context(stack.postgresql(within))
        running = Stack(engine, within)
        running.migrate()
        running.seed(products=PRODUCTS, users=CUSTOMERS, password_hash=passwords.hash_password(PASSWORD))
        until_done.enter_context(running.serving())
        tokens = running.tokens([1 + n % CUSTOMERS for n in range(chosen.clients)])
        skus = [stack.sku(n) for n in range(1, PRODUCTS + 1)]

        def buy(run: str, seconds: float, rate: float = 0.0) -> Takings:
            return order(Shift(stack.HOST, running.port, run, seconds, tokens, skus, rate))

        buy("warm-up", WARM_UP_S)
        peak = buy("peak", chosen.seconds).orders_a_second
        print(
            f"{engine.name} · {chosen.clients} clients · {os.cpu_count()} cores shared by all · peak {peak:.0f} orders/s\n"
            f"half of it, without (A) and with (B) {chosen.logins:g} logins and as many refreshes a second\n"
            "round  A p50 ms  B p50 ms  ratio  A p95 ms  B p95 ms  orders/s  logins and refreshes",
            flush=True,
        )
        ratios, wrong = [], False
        for number in range(1, chosen.rounds + 1):
            logins = Logins(running, chosen.logins)
            taken: dict[str, Takings] = {}
            # Each goes first in turn: tables grow, and whichever comes second takes 5 % longer by that alone.
            for which in ("a", "b") if number % 2 else ("b", "a"):
                stack.settle_down(engine)
                with logins if which == "b" else nullcontext():
                    taken[which] = buy(f"{which}-{number}", chosen.seconds, peak / 2)
            without, amid = taken["a"], taken["b"]
            ratios.append(amid.p50 / without.p50)
            wrong |= {*without.statuses, *amid.statuses} != {"201"} or bool(without.lost + amid.lost)
            wrong |= any(not name.endswith(" 200") for name in logins.statuses)
            print(
                f"{number:5}  {without.p50 * 1e3:8.2f}  {amid.p50 * 1e3:8.2f}  {ratios[-1]:5.2f}  {without.p95 * 1e3:8.2f}"
                f"  {amid.p95 * 1e3:8.2f}  {amid.orders_a_second:8.0f}  {dict(sorted(logins.statuses.items()))}",
                flush=True,
            )
    ratio = median(ratios)
    print(f"median: B/A {ratio:.2f} (at most {chosen.at_most:.2f} is wanted)")
    if wrong:
        print("some orders, logins or refreshes failed", file=sys.stderr)
    return 1 if wrong or ratio > chosen.at_most else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.logins", description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=32, help="buyers (32)")
    parser.add_argument("--seconds", type=int, default=10, help="length of A and of B in each round (10)")
    parser.add_argument("--rounds", type=int, default=6, help="rounds of A and B (6)")
    parser.add_argument("--logins", type=float, default=5.0, help="logins, and as many refreshes, a second (5)")
    parser.add_argument("--sqlite", action="store_true", help="SQLite instead of PostgreSQL")
    parser.add_argument("--at-most", type=float, default=1.2, help="exit 1 if the median ratio is above (1.2)")
    chosen = parser.parse_args()
    for name, most in (("clients", 90), ("seconds", 120), ("rounds", 20), ("logins", 20)):
        if not 1 <= getattr(chosen, name) <= most:
            parser.error(f"--{name} is 1 to {most}")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
