"""What logins cost those who order: the median of POST /orders at half the peak, without and with logins and refreshes.

    python -m loadtests.logins

First the peak, with buyers that order without a pause; then rounds alternate, A B B A: A is half of that rate, B the same
with 5 logins and 5 refreshes a second besides, each counted as done only when it was answered 200. The number is B/A.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, nullcontext, suppress
from http.client import HTTPConnection
from queue import Empty, SimpleQueue
from statistics import median
from urllib.parse import urlencode

from loadtests import arguments, stack
from loadtests.buyers import Shift, Takings, order
from loadtests.stack import Stack
from orderkit.auth import passwords

PRODUCTS = 1000
CUSTOMERS = 100
PASSWORD = "of every buyer, and theirs alone"
WARM_UP_S = 2


class Logins:
    """Logs buyers in, and refreshes what it got, `rate` times a second each, in threads of its own until stopped.

    It shares the machine with what it measures: plain connections that are kept cost a third of a client with everything.
    """

    def __init__(self, running: Stack, rate: float) -> None:
        self.statuses: Counter[str] = Counter()
        self._port = running.port
        self._rate = rate
        self._buyers = itertools.cycle(range(1, CUSTOMERS + 1))
        self._refreshable: SimpleQueue[str] = SimpleQueue()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(act,)) for act in (self._log_in, self._refresh)]

    def __enter__(self) -> Logins:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, act: Callable[[HTTPConnection], None]) -> None:
        connection = HTTPConnection(stack.HOST, self._port, timeout=30)
        due = time.perf_counter()
        while not self._stop.wait(max(0.0, due - time.perf_counter())):
            act(connection)
            due += 1 / self._rate
        connection.close()

    def _log_in(self, connection: HTTPConnection) -> None:
        form = urlencode({"username": stack.email(next(self._buyers)), "password": PASSWORD})
        self._post(connection, "/token", "application/x-www-form-urlencoded", form, "login")

    def _refresh(self, connection: HTTPConnection) -> None:
        with suppress(Empty):  # before the first login
            body = json.dumps({"refresh_token": self._refreshable.get(timeout=1 / self._rate)})
            self._post(connection, "/token/refresh", "application/json", body, "refresh")

    def _post(self, connection: HTTPConnection, path: str, kind: str, body: str, what: str) -> None:
        connection.request("POST", path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        read = answer.read()
        self.statuses[f"{what} {answer.status}"] += 1
        if answer.status == 200:
            self._refreshable.put(json.loads(read)["refresh_token"])


def main() -> int:
    chosen = _arguments()
    with stack.tidy_when_told_to_stop(), ExitStack() as until_done:
        running = until_done.enter_context(Stack.migrated(sqlite=chosen.sqlite))
        running.seed(products=PRODUCTS, users=CUSTOMERS, password_hash=passwords.hash_password(PASSWORD))
        until_done.enter_context(running.serving())
        tokens = running.tokens([1 + n % CUSTOMERS for n in range(chosen.clients)])
        skus = [stack.sku(n) for n in range(1, PRODUCTS + 1)]

        def buy(run: str, seconds: float, rate: float = 0.0) -> Takings:
            return order(Shift(stack.HOST, running.port, run, seconds, tokens, skus, rate))

        buy("warm-up", min(WARM_UP_S, chosen.seconds))
        peak = buy("peak", chosen.seconds).orders_a_second
        print(
            f"{running.engine.name} · {chosen.clients} clients · {os.cpu_count()} cores shared by all"
            f" · peak {peak:.0f} orders/s\n"
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
                stack.settle_down(running.engine)
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
    return arguments.parsed(parser, clients=90, seconds=120, rounds=20, logins=20)


if __name__ == "__main__":
    sys.exit(main())
