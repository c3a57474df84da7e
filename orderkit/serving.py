"""Serving HTTP until told to stop: a signal drains, and the process then ends as one that did what it was asked."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.server import HANDLED_SIGNALS

from orderkit.errors import ConfigurationError, Unavailable

BACKLOG = 2048
DRAIN_S = 25
"""A request takes 5 s at most, and whoever stops us waits 30 s before it kills."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that accepts connections from now on; port 0 takes a free one. Raises ConfigurationError if it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        if not 0 <= port <= 65535:
            raise OSError(0, "not a port")
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigurationError(
            f"cannot listen on {host} port {port} ({reason}); choose another --host or --port"
        ) from None


def serve_until_signalled(
    app: Any,
    *,
    host: str,
    port: int,
    listener: socket.socket | None = None,
    on_drain: Callable[[], None] | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Serves the ASGI `app` on this thread and returns once SIGTERM or SIGINT has come and what was under way is answered.

    Requests get DRAIN_S seconds for that. `on_drain` is called on the event loop when it begins, for an app that holds
    connections open. `listener` is a socket from `listen`, in place of host and port. `options` are further options of
    uvicorn. Prints nothing: uvicorn's loggers are left as the caller has set them up.

    Raises ConfigurationError if it cannot listen, Unavailable if the app does not start.
    """
    settings: dict[str, Any] = {
        "access_log": False,
        "log_config": None,
        "server_header": False,
        "lifespan": "on",
        "backlog": BACKLOG,
        "timeout_graceful_shutdown": DRAIN_S,
        **(options or {}),
    }
    with listener or listen(host, port) as accepting:
        try:
            _Server(uvicorn.Config(app, **settings), on_drain).run(sockets=[accepting])
        except SystemExit:  # uvicorn's word for an app whose startup raised; it has logged the reason
            raise Unavailable("the server could not start; the log above says why") from None


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_drain: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._on_drain = on_drain

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

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._on_drain is not None:
            self._on_drain()
        await super().shutdown(sockets)
