"""A PostgreSQL that can be stopped in the middle of things, as far as its clients can tell."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import parse_qs, unquote, urlsplit


class Between:
    """Listens on `port` and passes on what it hears to a server's socket file and back, unless it is to be `silent`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._speaks = threading.Event()
        self._speaks.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def silent(self) -> None:
        self._speaks.clear()

    def speak(self) -> None:
        self._speaks.set()

    def close(self) -> None:
        self.speak()
        self._listener.close()
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._speaks.wait()
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._path)
        self._open += [client, server]
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._speaks.wait()
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def between(url: str) -> Iterator[tuple[Between, str]]:
    """Stands before the server of `url`, which has a socket file; and the URL of the same database through it."""
    parts = urlsplit(url)
    (folder,) = parse_qs(parts.query)["host"]
    standing = Between(f"{unquote(folder)}/.s.PGSQL.{parts.port or 5432}")
    try:
        yield standing, f"postgresql+psycopg://{parts.username}@127.0.0.1:{standing.port}{parts.path}"
    finally:
        standing.close()
