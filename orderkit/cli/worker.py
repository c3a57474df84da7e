"""`orderkit worker`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from orderkit.cli.database import opened_database

app = typer.Typer()


@app.command(epilog="Example: orderkit worker --workers 32")
def worker(
    workers: Annotated[int, typer.Option(min=1, max=256, help="How many things it does at once.")] = 16,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Port for /metrics; 0 takes a free one. ORDERKIT_WORKER_METRICS_PORT else."
        ),
    ] = None,
) -> None:
    """Ship paid orders and settle what is open, in the background.

    Needs a migrated database. Any number of workers may run. SIGTERM drains: what is under way is finished, then it exits 0.
    """
    # A folder in which the processes of the API add up their numbers is not for the worker's, which has a port of its own. It
    # is looked for when the first number is made.
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    from orderkit.migrating import require_current
    from orderkit.observability import setup
    from orderkit.settings import load_settings
    from orderkit.worker.app import run

    given = {} if metrics_port is None else {"worker_metrics_port": metrics_port}
    settings = load_settings(**given)
    setup.start(settings, "worker")
    with opened_database(settings) as database:
        require_current(database)
    run(settings, workers)
