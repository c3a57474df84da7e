"""The simulator as a process of its own."""

from __future__ import annotations

from pathlib import Path

from loguru import logger

from orderkit.serving import listen, serve_until_signalled
from orderkit.settings import Settings
from orderkit.simulator.app import create_simulator

DRAIN_S = 5
"""Calls that are held are let go at once, and the slow ones take 2 s."""


def run(host: str, port: int, store: Path, settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then returns within seconds; what it answered is in `store` and survives any end.

    Raises ConfigurationError when it cannot listen or cannot keep its store.
    """
    with listen(host, port) as listener:
        app = create_simulator(store, settings)
        logger.info("simulating on http://{}:{} (books: /ledger)", host, listener.getsockname()[1])
        serve_until_signalled(
            app,
            host=host,
            port=port,
            listener=listener,
            on_drain=app.state.draining.set,
            options={"timeout_graceful_shutdown": DRAIN_S},
        )
