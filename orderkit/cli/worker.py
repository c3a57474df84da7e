"""`orderkit worker`."""

from __future__ import annotations

from typing import Annotated

import typer

from orderkit.cli.database import opened_database

app = typer.Typer()


@app.command(epilog="Example: orderkit worker --workers 32")
def worker(
    workers: Annotated[int, typer.Option(min=1, max=256, help="How many things it does at once.")] = 16,
) -> None:
    """Ship paid orders and settle what is open, in the background.

    Needs a migrated database. Any number of workers may run. SIGTERM drains: what is under way is finished, then it exits 0.
    """
    from orderkit.migrating import require_current
    from orderkit.observability import logs
    from orderkit.settings import load_settings
    from orderkit.worker.app import run

    settings = load_settings()
    logs.configure(settings)
    with opened_database(settings) as database:
        require_current(database)
    run(settings, workers)
