"""`orderkit serve`."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from orderkit.cli.database import opened_database

if TYPE_CHECKING:
    import socket

app = typer.Typer()

LINGER_S = 1.0
"""How long a process that is told to stop still takes new connections, and answers /health/ready with 503."""


@app.command(epilog="Example: orderkit serve --host 0.0.0.0 --port 8000 --workers 2")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that share the port.")] = 1,
) -> None:
    """Serve the HTTP API.

    Needs a migrated database. SIGTERM drains: /health/ready turns 503, requests under way are answered, then it exits 0.
    """
    from loguru import logger

    from orderkit import serving
    from orderkit.migrating import require_current
    from orderkit.observability import logs
    from orderkit.settings import load_settings

    settings = load_settings()
    logs.configure(settings, process="api")
    with opened_database(settings) as database:
        require_current(database)
    with serving.listen(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        logger.info("serving on http://{}:{} (docs: /docs)", shown, listener.getsockname()[1])
        if workers == 1:
            _serve(listener)
        else:
            with _shared_metrics():
                serving.serve_with_workers(_serve, workers, listener)
        logger.info("stopped")


def _serve(listener: socket.socket) -> None:
    """One process of the API, until it is told to stop. Reads the settings anew: it may be a process of its own."""
    from orderkit import serving
    from orderkit.api import connections
    from orderkit.app import create_app
    from orderkit.observability import setup
    from orderkit.settings import load_settings

    settings = load_settings()
    setup.start(settings, "api")
    api = create_app(settings)
    door = connections.Door(connections.limits(settings.max_in_flight), https_only=settings.is_https_only)

    def drain() -> None:
        api.state.runtime.draining = True

    host, port = listener.getsockname()[:2]
    serving.serve_until_signalled(
        api,
        host=host,
        port=port,
        listener=listener,
        on_drain=drain,
        linger_s=LINGER_S,
        trusted_proxies=settings.trusted_proxies,
        options={"http": door.connection, "ws": "none"},
    )


@contextmanager
def _shared_metrics() -> Iterator[None]:
    """A folder in which the processes add up their numbers, unless one is named already."""
    from orderkit.observability.metrics import FOLDER

    if os.environ.get(FOLDER):
        yield
        return
    os.environ[FOLDER] = tempfile.mkdtemp(prefix="orderkit-metrics-")
    try:
        yield
    finally:
        shutil.rmtree(os.environ.pop(FOLDER), ignore_errors=True)
