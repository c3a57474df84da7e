"""Clients that are broken or mean to harm, and whether the server minds: `python -m loadtests.hostile`.

Bytes that are not quite HTTP, by seed; then sockets that say nothing, or a byte a second, while an honest client measures how
long it waits. The server is to answer to the end, never for a failure of its own, and to hold no more files open afterwards than
before.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import psutil

from loadtests import arguments, stack
from loadtests.overload import share
from loadtests.stack import Stack

WITHIN_S = 20.0
"""A client that gets neither an answer nor the end of its connection for so long was forgotten."""
HONEST_MS = 10.0
"""Waits below are not told apart: that much is noise."""
NOT_SPOKEN = (501, 505)
"""Who sends another coding or another version of HTTP is told so, and nothing has failed."""
FILES_TO_SPARE = 8
GONE_WITHIN_S = 15.0

BODY = b'{"email":"ada@example.com","password":"correct horse battery","name":"Ada"}'
GOOD = (
    b"GET /products?limit=5 HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n",
    b"POST /register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    % (len(BODY), BODY),
    b"POST /register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    b"POST /orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a.b.c\r\nIdempotency-Key: k\r\nContent-Length: 2\r\n\r\n{}",
    b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /products HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
)
"""What bad requests are made of."""

OTHERS = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # begins TLS
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n\r\n\x81\x05hello",
    b"GET http://[::1 HTTP/1.1\r\n\r\n",
    b"GET //////%2e%2e/%00 HTTP/1.1\r\n\r\n",
    b"\r\n" * 5000,
    b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000,
    b"GET /" + b"x" * 200_000,
    b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n",  # begins Redis
    b"",
)

Change = Callable[[random.Random, bytearray], None]


def _flip(draw: random.Random, data: bytearray) -> None:
    for _ in range(draw.randint(1, 8)):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _cut(draw: random.Random, data: bytearray) -> None:
    del data[draw.randrange(len(data)) :]


def _put_in(draw: random.Random, data: bytearray) -> None:
    strange = draw.choice((b"\0", b"\r", b"\n", b"\r\n\r\n", b"\xff\xfe", b" ", b":", b"%00", b"\t", b"\x7f" * 50))
    at = draw.randrange(len(data))
    data[at:at] = strange


def _repeat(draw: random.Random, data: bytearray) -> None:
    begin = draw.randrange(len(data))
    part = data[begin : begin + draw.randint(1, 40)]
    data[begin:begin] = part * draw.randint(1, 2000)


def _swap(draw: random.Random, data: bytearray) -> None:
    old, new = draw.choice(
        (
            (b"HTTP/1.1", b"HTTP/9.9"),
            (b"Content-Length: ", b"Content-Length: -"),
            (b"Content-Length: ", b"Content-Length: 99999999999999999999"),
            (b"Content-Length: ", b"Content-Length: 3\r\nContent-Length: "),
            (b"Content-Type", b"Transfer-Encoding: chunked\r\nContent-Type"),
            (b"chunked", b"chunked, gzip"),
            (b"chunked", b"gzip, chunked"),
            (b"HTTP/1.1", b"HTTP/2.0"),
            (b"Host: x\r\n", b""),
            (b"Host: x\r\n", b"Host: x\r\nHost: y\r\n"),
            (b"\r\n\r\n", b"\r\nExpect: the best\r\n\r\n"),
            (b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"),
            (b"\r\n", b"\n"),
            (b"GET", b"get"),
            (b"POST", b"\x00POST"),
            (b"{", b"[" * 5000),
            (b"Host", b" Host"),
            (b"\r\n\r\n", b"\r\n folded\r\n\r\n"),
        )
    )
    data[:] = bytes(data).replace(old, new, 1)


CHANGES: tuple[Change, ...] = (_flip, _cut, _put_in, _repeat, _swap)


def sequences(seed: int) -> Iterator[bytes]:
    """Bad requests without end, the same for the same seed."""
    draw = random.Random(seed)
    while True:
        kind = draw.random()
        if kind < 0.1:
            yield draw.choice(OTHERS)
        elif kind < 0.2:
            yield draw.randbytes(draw.randint(1, 3000))
        else:
            data = bytearray(draw.choice(GOOD))
            for change in draw.choices(CHANGES, k=draw.randint(1, 3)):
                if data:
                    change(draw, data)
            yield bytes(data)


@dataclass
class Seen:
    """What came back: first lines' statuses, 0 for none; and what was sent when something was wrong with that."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[bytes] = field(default_factory=list)


async def send_all(host: str, port: int, seed: int, number: int, at_once: int = 16) -> Seen:
    """Sends so many, each over a connection of its own that it then ends its side of, and reads to the end."""
    seen, bad = Seen(), sequences(seed)

    async def work() -> None:
        nonlocal number
        while number > 0:
            number -= 1
            one = next(bad)
            status = await _told(host, port, one)
            seen.statuses[status] += 1
            if status < 0 or (status >= 500 and status not in NOT_SPOKEN):
                seen.wrong.append(one[:500])

    await asyncio.gather(*(work() for _ in range(at_once)))
    return seen


async def _told(host: str, port: int, data: bytes) -> int:
    """The status that came for it: 0 for none, -1 for a connection that nobody ended, -2 for what is no HTTP."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        async with asyncio.timeout(WITHIN_S):
            with suppress(ConnectionError):
                writer.write(data)
                writer.write_eof()
                await writer.drain()
            answer = b""
            with suppress(ConnectionError):
                answer = await reader.read(1 << 20)
            if not answer:
                return 0
            return int(answer[9:12]) if answer.startswith(b"HTTP/1.") else -2
    except TimeoutError:
        return -1
    finally:
        writer.close()


async def honest(host: str, port: int, seconds: float) -> list[float]:
    """How long each of somebody's requests took, each over a new connection, a few a second. Raises what goes wrong."""
    took: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        async with asyncio.timeout(WITHIN_S):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET /products HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise AssertionError(f"an honest client was told {answer[:100]!r}")
        took.append(time.perf_counter() - began)
        await asyncio.sleep(0.02)
    return took


async def beset(host: str, port: int, *, silent: int, dripping: int, every_s: float = 1.0) -> list[asyncio.Task[None]]:
    """Sockets that say nothing, and others that send a byte each `every_s` seconds, of heads and of bodies by turns.

    Whoever is cut off comes again, until the tasks are cancelled.
    """

    async def drip(number: int) -> None:
        whole = GOOD[1]
        at_once = 0 if number % 2 else whole.index(b"\r\n\r\n") + 4
        while True:
            with suppress(ConnectionError, OSError):
                reader, writer = await asyncio.open_connection(host, port)
                try:
                    writer.write(whole[:at_once])
                    for one in whole[at_once:]:
                        writer.write(bytes([one]))
                        await writer.drain()
                        await asyncio.sleep(every_s)
                        if reader.at_eof():
                            break
                finally:
                    writer.close()
            await asyncio.sleep(0.01)

    async def be_silent() -> None:
        while True:
            with suppress(ConnectionError, OSError):
                reader, writer = await asyncio.open_connection(host, port)
                try:
                    await reader.read()
                finally:
                    writer.close()
            await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(be_silent()) for _ in range(silent)]
    tasks += [asyncio.create_task(drip(number)) for number in range(dripping)]
    await asyncio.sleep(0)
    return tasks


async def let_go(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def main() -> int:
    chosen = _arguments()
    problems: list[str] = []
    with stack.tidy_when_told_to_stop(), ExitStack() as until_done:
        running = until_done.enter_context(Stack.migrated(sqlite=not chosen.postgresql))
        running.seed(products=20, users=1)
        server = psutil.Process(until_done.enter_context(running.serving()))
        asyncio.run(honest(stack.HOST, running.port, 1))
        files, memory = server.num_fds(), server.memory_info().rss
        print(f"{running.engine.name} · seed {chosen.seed} · {files} files open, {memory / 2**20:.0f} MiB", flush=True)
        began = time.perf_counter()
        seen = asyncio.run(send_all(stack.HOST, running.port, chosen.seed, chosen.requests))
        told = ", ".join(f"{status or 'no answer'} {number}" for status, number in sorted(seen.statuses.items()))
        print(f"{chosen.requests} bad requests in {time.perf_counter() - began:.1f} s: {told}", flush=True)
        problems += [f"answered wrongly: {one!r}" for one in seen.wrong[:5]]
        alone, amid = asyncio.run(_waits(running.port, chosen))
        ratio = _ratio(alone, amid)
        print(
            f"an honest client alone: p50 {share(alone, 0.5) * 1e3:.1f} ms, p95 {share(alone, 0.95) * 1e3:.1f} ms · amid "
            f"{chosen.sockets} silent sockets and {chosen.sockets} that drip: p50 {share(amid, 0.5) * 1e3:.1f} ms, "
            f"p95 {share(amid, 0.95) * 1e3:.1f} ms, at worst {max(amid) * 1e3:.0f} ms, {len(amid)} requests"
        )
        if ratio > chosen.at_most:
            problems.append(f"an honest client waits longer than wanted: {ratio:.2f} > {chosen.at_most:.2f} times")
        left = _files_left(server, files)
        print(f"afterwards {left} files open, {server.memory_info().rss / 2**20:.0f} MiB")
        if left > files + FILES_TO_SPARE:
            problems.append(f"{left} files are open, {files} were")
        if "Traceback" in (running.within / "serve.log").read_text(errors="replace"):
            problems.append("the server's log has a traceback")
    for problem in problems:
        print(problem, file=sys.stderr)
    return int(bool(problems))


async def _waits(port: int, chosen: argparse.Namespace) -> tuple[list[float], list[float]]:
    alone = await honest(stack.HOST, port, chosen.seconds / 2)
    tasks = await beset(stack.HOST, port, silent=chosen.sockets, dripping=chosen.sockets)
    await asyncio.sleep(1)
    try:
        return alone, await honest(stack.HOST, port, chosen.seconds)
    finally:
        await let_go(tasks)


def _ratio(alone: list[float], amid: list[float]) -> float:
    at_least = HONEST_MS / 1e3
    return max(at_least, share(amid, 0.95)) / max(at_least, share(alone, 0.95))


def _files_left(server: psutil.Process, before: int) -> int:
    """How many files it has open when it has had time to close what it should."""
    until = time.monotonic() + GONE_WITHIN_S
    while server.num_fds() > before and time.monotonic() < until:
        time.sleep(0.2)
    return int(server.num_fds())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.hostile", description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=5000, help="bad requests (5000)")
    parser.add_argument("--sockets", type=int, default=200, help="silent sockets, and as many that drip (200)")
    parser.add_argument("--seconds", type=int, default=20, help="how long the honest client measures amid them (20)")
    parser.add_argument("--seed", type=int, default=1, help="of the bad requests (1)")
    parser.add_argument("--postgresql", action="store_true", help="on a PostgreSQL server of its own, not SQLite")
    parser.add_argument("--at-most", type=float, default=2.0, help="exit 1 if it waits so many times as long (2.0)")
    return arguments.parsed(parser, requests=1_000_000, sockets=400, seconds=600)


if __name__ == "__main__":
    sys.exit(main())
