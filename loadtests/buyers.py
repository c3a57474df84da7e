"""Buyers that order, each on a connection of its own: `python -m loadtests.buyers`, told what to do on stdin.

It shares the machine with what it measures, so it is made to cost little: requests are bytes made beforehand, answers are
read no further than needed. One line of JSON is what it gives.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import cast

import uvloop

GRACE_S = 30.0
"""How long after the end answers are waited for."""


@dataclass(frozen=True)
class Shift:
    """Which buyers order what, and for how long. Every key begins with `run` and is used once.

    They order without a pause or, with a `rate`, so many a second all together, each at its own even times.
    """

    host: str
    port: int
    run: str
    seconds: float
    tokens: list[str]
    skus: list[str]
    rate: float = 0.0


@dataclass
class Takings:
    """What became of it. Seconds from when an order was due; `elapsed` until the last answer; `lost` went unanswered."""

    elapsed: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0

    @property
    def paid(self) -> int:
        return self.statuses.get("201", 0)

    @property
    def orders_a_second(self) -> float:
        return self.paid / self.elapsed if self.elapsed else 0.0


def order(shift: Shift) -> Takings:
    """Has the buyers order in a process of their own."""
    command = [sys.executable, "-m", "loadtests.buyers"]
    done = subprocess.run(
        command,
        input=json.dumps(asdict(shift)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=shift.seconds + GRACE_S + 10,
    )
    return Takings(**json.loads(done.stdout))


class _Floor:
    """What the buyers of one shift share."""

    def __init__(self, shift: Shift) -> None:
        self.shift = shift
        self.numbers = itertools.count(1)
        self.statuses: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.lost = 0
        self.starts = time.perf_counter()
        self.until = self.starts + shift.seconds
        self.left = asyncio.Semaphore(0)
        draw = random.Random(shift.run)
        bodies = [
            json.dumps({"items": [{"sku": one, "quantity": 1}], "payment_method": "pm_card_visa"}).encode()
            for one in shift.skus
        ]
        draw.shuffle(bodies)
        self.bodies = itertools.cycle(bodies)


class _Buyer(asyncio.Protocol):
    """Orders, waits for the answer, orders again."""

    transport: asyncio.Transport

    def __init__(self, floor: _Floor, place: int, token: str) -> None:
        self._floor = floor
        self._pause = len(floor.shift.tokens) / floor.shift.rate if floor.shift.rate else 0.0
        self._due = floor.starts + self._pause * place / len(floor.shift.tokens)
        shift = floor.shift
        self._head = (
            f"POST /orders HTTP/1.1\r\nHost: {shift.host}:{shift.port}\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nIdempotency-Key: {shift.run}-"
        ).encode()
        self._answer = b""
        self._sent = 0.0
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its class
        self._next()

    def _next(self) -> None:
        now = time.perf_counter()
        if not self._pause:
            self._due = now
        if max(now, self._due) >= self._floor.until:
            self.transport.close()
        elif self._due > now:
            asyncio.get_running_loop().call_later(self._due - now, self._order)
        else:
            self._order()

    def _order(self) -> None:
        body = next(self._floor.bodies)
        rest = b"%d\r\nContent-Length: %d\r\n\r\n" % (next(self._floor.numbers), len(body))
        self._waiting, self._sent = True, self._due
        self._due += self._pause
        self.transport.write(self._head + rest + body)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r", 1)[0]):
            return
        self._floor.latencies.append(time.perf_counter() - self._sent)
        self._floor.statuses[head[9:12].decode()] += 1
        self._answer, self._waiting = b"", False
        self._next()

    def connection_lost(self, _error: Exception | None) -> None:
        self._floor.lost += self._waiting
        self._floor.left.release()


async def _work(shift: Shift) -> Takings:
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    floor = _Floor(shift)
    for place, token in enumerate(shift.tokens):
        await loop.create_connection(partial(_Buyer, floor, place, token), shift.host, shift.port)
    try:
        async with asyncio.timeout(shift.seconds + GRACE_S):
            for _ in shift.tokens:
                await floor.left.acquire()
    except TimeoutError:
        floor.lost += 1
    elapsed = time.perf_counter() - started
    sorted_ = sorted(floor.latencies) or [0.0]
    p50, p95, p99 = (sorted_[int(len(sorted_) * share)] for share in (0.50, 0.95, 0.99))
    return Takings(elapsed, dict(floor.statuses), floor.lost, p50, p95, p99)


if __name__ == "__main__":
    takings = uvloop.run(_work(Shift(**json.loads(sys.stdin.read()))))
    print(json.dumps(asdict(takings)))
