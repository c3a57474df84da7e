"""The worker's scrape port: GET /metrics, and nothing else, from threads that no task waits for."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Thread
from typing import Any

from loguru import logger

from orderkit.errors import ConfigurationError
from orderkit.observability import metrics
from orderkit.settings import Settings
from orderkit.system.numbers import Numbers
from orderkit.system.reader import Reader

SILENT_S = 5.0
"""Whoever says nothing for so long is hung up on."""
AT_ONCE = 8


@contextmanager
def scraped(settings: Settings) -> Iterator[None]:
    """Answers scrapes meanwhile, where the settings name a port. Raises ConfigurationError if nobody can listen there."""
    if settings.worker_metrics_port is None:
        yield
        return
    host, port = settings.worker_metrics_host, settings.worker_metrics_port
    with closing(Reader(settings)) as reader:
        try:
            server = _Server((host, port), settings, Numbers(reader))
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            raise ConfigurationError(
                f"cannot listen on {host} port {port} ({reason}); choose another ORDERKIT_WORKER_METRICS_PORT"
            ) from None
        shown = f"[{host}]" if ":" in host else host
        logger.info("metrics on http://{}:{}/metrics", shown, server.server_address[1])
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], settings: Settings, numbers: Numbers) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.token = settings.metrics_token
        self.numbers = numbers
        self._places = BoundedSemaphore(AT_ONCE)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up in the middle is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = SILENT_S

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self._answer(HTTPStatus.NOT_FOUND, b"there is only /metrics\n")
            return
        sent = self.headers.get("authorization", "").encode("latin-1", "replace")
        if not metrics.may_scrape(sent, self.server.token):
            self._answer(HTTPStatus.UNAUTHORIZED, b"the metrics need their own token\n", ("WWW-Authenticate", "Bearer"))
            return
        self._answer(
            HTTPStatus.OK, metrics.exposition("worker", self.server.numbers), ("Content-Type", metrics.MEDIA_TYPE)
        )

    do_HEAD = do_GET

    def _answer(self, status: HTTPStatus, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response_only(status)
        for name, value in (*headers, ("Content-Length", str(len(body))), ("Connection", "close")):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a scrape every few seconds is no news."""
