"""`orderkit simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command(epilog="Example: orderkit simulate --port 8090 --store simulator.db")
def simulate(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8090,
    store: Annotated[
        Path | None, typer.Option(help="File of its ledger; simulator.db in ORDERKIT_HOME unless given.")
    ] = None,
) -> None:
    """Play payment provider and carrier, with a ledger of what they took and failures on demand."""
    from orderkit.observability import setup
    from orderkit.settings import load_settings
    from orderkit.simulator.server import run

    settings = load_settings()
    setup.start(settings, "simulator")
    run(host, port, store or settings.home / "simulator.db", settings)
