"""A crowd that orders at its own pace, whatever it is told: `python -m loadtests.crowd`, told what to do on stdin.

Buyers wait for their answer before they order again, so that they never ask more than is answered. A crowd does: each order is
due at its own time and sent then, over a connection that is free or over a new one. One line of JSON is what it gives.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import cast

import uvloop

GRACE_S = 30.0
"""How long after the end answers are waited for."""
TICK_S = 0.004
CONNECTIONS = 1500
"""Open at most. What is due beyond that waits, and its waiting counts."""


@dataclass(frozen=True)
class Rush:
    """Who orders what, and how fast: `phases` are seconds and orders a second, one after another."""

    host: str
    port: int
    run: str
    phases: list[tuple[float, float]]
    tokens: list[str]
    skus: list[str]


@dataclass
class Told:
    """Each order: when it was due (seconds from the start), how long until its answer, and the status; 0 for none."""

    due: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    status: list[int] = field(default_factory=list)


def rush(wanted: Rush) -> Told:
    """Has the crowd order in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "loadtests.crowd"],
        input=json.dumps(asdict(wanted)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=sum(seconds for seconds, _ in wanted.phases) + 2 * GRACE_S,
    )
    return Told(**json.loads(done.stdout))


def due_times(phases: list[tuple[float, float]]) -> list[float]:
    """When each order is due, evenly within each phase."""
    times: list[float] = []
    begins = 0.0
    for seconds, rate in phases:
        times += [begins + number / rate for number in range(int(seconds * rate))]
        begins += seconds
    return times


class _Crowd:
    def __init__(self, wanted: Rush) -> None:
        self.wanted = wanted
        self.told = Told()
        self.idle: deque[_Line] = deque()
        self.open = 0
        self.opening = 0
        self.starts = 0.0
        self._late: deque[float] = deque()
        draw = random.Random(wanted.run)
        bodies = [
            json.dumps({"items": [{"sku": one, "quantity": 1}], "payment_method": "pm_card_visa"}).encode()
            for one in wanted.skus
        ]
        draw.shuffle(bodies)
        heads = [
            (
                f"POST /orders HTTP/1.1\r\nHost: {wanted.host}:{wanted.port}\r\nAuthorization: Bearer {token}\r\n"
                f"Content-Type: application/json\r\nIdempotency-Key: {wanted.run}-"
            ).encode()
            for token in wanted.tokens
        ]
        self._requests = zip(itertools.cycle(heads), itertools.count(1), itertools.cycle(bodies), strict=False)

    def request(self) -> bytes:
        head, number, body = next(self._requests)
        return head + b"%d\r\nContent-Length: %d\r\n\r\n" % (number, len(body)) + body

    async def work(self) -> Told:
        times = deque(due_times(self.wanted.phases))
        expected = len(times)
        self.starts = time.perf_counter()
        until = self.starts + sum(seconds for seconds, _ in self.wanted.phases) + GRACE_S
        while len(self.told.status) < expected and time.perf_counter() < until:
            now = time.perf_counter() - self.starts
            while times and times[0] <= now:
                self._late.append(times.popleft())
            self.send_late()
            await asyncio.sleep(TICK_S)
        for _ in range(expected - len(self.told.status)):
            self.note(0.0, 0.0, 0)
        return self.told

    def send_late(self) -> None:
        """Sends what is due over lines that are free, the one used last first; and has as many more opened as are wanting."""
        while self._late and self.idle:
            self.idle.pop().send(self._late.popleft())
        for _ in range(min(len(self._late) - self.opening, CONNECTIONS - self.open - self.opening, 50)):
            self.opening += 1
            asyncio.ensure_future(self._open())  # noqa: RUF006 - it adds itself to what is idle

    async def _open(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: _Line(self), self.wanted.host, self.wanted.port)
        except OSError:
            if self._late:
                self.note(self._late.popleft(), 0.0, 0)
        finally:
            self.opening -= 1

    def note(self, due: float, took: float, status: int) -> None:
        self.told.due.append(round(due, 4))
        self.told.took.append(round(took, 5))
        self.told.status.append(status)


class _Line(asyncio.Protocol):
    """One connection, with at most one order under way."""

    transport: asyncio.Transport

    def __init__(self, crowd: _Crowd) -> None:
        self._crowd = crowd
        self._answer = b""
        self._due: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._crowd.open += 1
        self._crowd.idle.append(self)
        self._crowd.send_late()

    def send(self, due: float) -> None:
        self._due = due
        self.transport.write(self._crowd.request())

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r", 1)[0]):
            return
        self._tell(int(head[9:12]))
        self._answer = b""
        self._crowd.idle.append(self)

    def _tell(self, status: int) -> None:
        if self._due is not None:
            self._crowd.note(self._due, time.perf_counter() - self._crowd.starts - self._due, status)
            self._due = None

    def connection_lost(self, _error: Exception | None) -> None:
        self._crowd.open -= 1
        self._tell(0)
        if self in self._crowd.idle:
            self._crowd.idle.remove(self)


async def _work(wanted: Rush) -> Told:
    return await _Crowd(wanted).work()


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(_work(Rush(**json.loads(sys.stdin.read())))))))
