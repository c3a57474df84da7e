"""Serving HTTP until told to stop: a signal drains, and the process then ends as one that did what it was asked."""

from __future__ import annotations

import errno
import faulthandler
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import uvicorn
from loguru import logger
from uvicorn.server import HANDLED_SIGNALS

from orderkit.errors import ConfigurationError, Unavailable

BACKLOG = 2048
ACCEPTED_AT_ONCE = 16
"""libuv takes one connection of a listener in each turn of the loop. Turns are long while there is much to do, and the last of
1,000 newcomers waited for six seconds; so the listener is there several times. For the simulator too: an API that starts to be
busy opens as many connections to it at once."""
DRAIN_S = 25
"""A request takes 20 s at most, unless ORDERKIT_REQUEST_TIMEOUT says more, and whoever stops us waits 30 s before it kills."""
ENDED_WITHIN_S = DRAIN_S + 3
STOPPED_WITHIN_S = DRAIN_S + 4
STARTED_WITHIN_S = 3
"""A worker that ends on its own before this has not failed by accident, and would fail again."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that accepts connections from now on; port 0 takes a free one.

    Raises Unavailable for a port that is taken, ConfigurationError for an address that cannot be listened on at all.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        if not 0 <= port <= 65535:
            raise OSError(0, "not a port")
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error.strerror or error
        kind = Unavailable if error.errno == errno.EADDRINUSE else ConfigurationError
        raise kind(f"cannot listen on {host} port {port} ({reason}); choose another --host or --port") from None


def end_within(seconds: float) -> None:
    """This process ends in so many seconds, whatever hangs in it: with 1, and on stderr where each of its threads was.

    For handlers of signals. There is no way back: it holds while the interpreter waits for threads, which it does last.
    """
    faulthandler.dump_traceback_later(seconds, exit=True)


def serve_until_signalled(
    app: Any,
    *,
    host: str,
    port: int,
    listener: socket.socket | None = None,
    on_drain: Callable[[], None] | None = None,
    linger_s: float = 0.0,
    trusted_proxies: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Serves the ASGI `app` on this thread and returns once SIGTERM or SIGINT has come and what was under way is answered.

    Requests get DRAIN_S seconds for that. `on_drain` is called on the event loop when it begins, for an app that holds
    connections open or tells that it is not ready. After SIGTERM, connections are accepted for another `linger_s` seconds,
    so that a load balancer sees the latter first. `listener` is a socket from `listen`, in place of host and port.
    X-Forwarded-For and -Proto are believed of `trusted_proxies`, addresses or networks by commas, and of nobody else.
    `options` are further options of uvicorn. Prints nothing: uvicorn's loggers are left as the caller has set them up.

    Raises ConfigurationError or Unavailable if it cannot listen, Unavailable if the app does not start.
    """
    settings: dict[str, Any] = {
        "access_log": False,
        "log_config": None,
        "server_header": False,
        # Said both: uvicorn on its own believes 127.0.0.1, and whom the variable FORWARDED_ALLOW_IPS names.
        "proxy_headers": trusted_proxies is not None,
        "forwarded_allow_ips": trusted_proxies or "",
        "lifespan": "on",
        "backlog": BACKLOG,
        "timeout_graceful_shutdown": DRAIN_S,
        **(options or {}),
    }
    with listener or listen(host, port) as accepting:
        listeners = several(accepting)
        try:
            _Server(uvicorn.Config(app, **settings), on_drain, linger_s).run(sockets=listeners)
        except SystemExit:  # uvicorn's word for an app whose startup raised; it has logged the reason
            raise Unavailable("the server could not start; the log above says why") from None
        finally:
            for one in listeners:
                one.close()


def several(listener: socket.socket) -> list[socket.socket]:
    """The listener several times.

    Whether it blocks is one flag for all of them and for all processes that have it. A duplicate of one that blocks makes it
    block: another worker would then wait in accept, with a connection in its hands that it answers when the next one comes.
    """
    listener.setblocking(False)
    return [listener, *(listener.dup() for _ in range(ACCEPTED_AT_ONCE - 1))]


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_drain: Callable[[], None] | None, linger_s: float) -> None:
        super().__init__(config)
        self._on_drain = on_drain
        self._linger_s = linger_s
        self._leave_at: float | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a signal that was obeyed is not raised again: the exit code would be 143 for a clean stop."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            end_within(ENDED_WITHIN_S)
        if sig == signal.SIGINT:  # someone sits there and waits
            self._linger_s = 0.0
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if not await super().on_tick(counter):
            return False
        if self._leave_at is None:
            self._leave_at = time.monotonic() + self._linger_s
            self._drain()
        return time.monotonic() >= self._leave_at or self.force_exit

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._drain()
        await super().shutdown(sockets)

    def _drain(self) -> None:
        if self._on_drain is not None:
            self._on_drain()
            self._on_drain = None


def serve_with_workers(work: Callable[[socket.socket], None], count: int, listener: socket.socket) -> None:
    """Runs `work(listener)` in `count` processes until SIGTERM or SIGINT, which is passed on to them, and waits for them.

    `work` is a function of a module, because the processes are started anew and import it; it obeys SIGTERM as
    `serve_until_signalled` does. One that dies is replaced. uvicorn's own supervisor does not do: its servers end with 143
    and do not tell when they drain. Raises Unavailable when a worker does not even start.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks and database connections
    stopping = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopping.set()) for number in HANDLED_SIGNALS}
    workers: list[tuple[BaseProcess, float]] = []

    def start() -> tuple[BaseProcess, float]:
        process = context.Process(target=_work, args=(work, listener))
        process.start()
        return process, time.monotonic()

    try:
        workers = [start() for _ in range(count)]
        while not stopping.wait(0.2):
            for number, (process, started) in enumerate(workers):
                if process.is_alive():
                    continue
                if time.monotonic() - started < STARTED_WITHIN_S:
                    raise Unavailable("a worker could not start; the log above says why")
                logger.error("worker {} ended with {}; starting another", process.pid, process.exitcode)
                workers[number] = start()
    finally:
        listener.close()  # the workers have it too, and close it when they have lingered
        _stop([process for process, _started in workers])
        for number, handler in before.items():
            signal.signal(number, handler)


def _work(work: Callable[[socket.socket], None], listener: socket.socket) -> None:
    # Ctrl-C in a terminal reaches the whole group; the supervisor answers it with SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    work(listener)


def _stop(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    until = time.monotonic() + STOPPED_WITHIN_S
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
        if process.is_alive():
            logger.error("worker {} did not stop in time and is killed", process.pid)
            process.kill()
            process.join()
