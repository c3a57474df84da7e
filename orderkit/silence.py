"""Servers that say nothing any more: how long PostgreSQL is waited for, and how it is found out whether it is still there."""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

import psycopg

KNOCKING_S = 2.0
"""A server that is there has answered somebody who knocks by then."""

_WILL_YOU_TLS = struct.pack("!ii", 8, 80877103)


class Heard(psycopg.Connection[Any]):
    """A connection that is given up when its server says nothing any more: neither here, nor to somebody who knocks.

    What the server's own timeouts end is ended by them. But a server that is stopped, or cut off, ends nothing, and the driver
    would wait for it for ever.
    """

    silent_s = 5.0
    """So long the server may say nothing before it is asked whether it is there. A statement may still take longer."""

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        return super().wait(self._listening(gen), *arguments, **options)

    def _listening(self, gen: Any) -> Any:
        """Passes on what the driver waits for, and every 100 ms in which nothing came."""
        until = time.monotonic() + self.silent_s
        try:
            wanted = next(gen)
            while True:
                came = yield wanted
                if not came and time.monotonic() > until:
                    if not _answers_knocks(self.info):
                        self.pgconn.finish()
                        raise psycopg.OperationalError(f"the server has said nothing for {self.silent_s:g} s")
                    until = time.monotonic() + self.silent_s
                wanted = gen.send(came)
        except StopIteration as done:
            return done.value


def _answers_knocks(server: psycopg.ConnectionInfo) -> bool:
    """Whether the server answers a newcomer who asks for TLS: with yes or no, before it wants to know who that is."""
    try:
        path = f"{server.host}/.s.PGSQL.{server.port}"
        with (
            socket.socket(socket.AF_UNIX)
            if server.host.startswith("/")
            else socket.socket(socket.AF_INET6 if ":" in server.hostaddr else socket.AF_INET) as knocking
        ):
            knocking.settimeout(KNOCKING_S)
            knocking.connect(path if server.host.startswith("/") else (server.hostaddr, server.port))
            knocking.sendall(_WILL_YOU_TLS)
            return bool(knocking.recv(1))
    except OSError:
        return False
