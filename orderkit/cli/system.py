"""`orderkit system`: what waits and for how long, and what is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orderkit.cli import printing
from orderkit.cli.database import opened_database

app = typer.Typer(no_args_is_help=True)


@app.callback(epilog="Example: orderkit system show")
def system() -> None:
    """See what waits to be done and for how long, and what is measured."""


@app.command(epilog="Example: orderkit system show --json")
def show(json_: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False) -> None:
    """Show what waits in the database: events, payments, refunds, parcels, mails, dead letters.

    Asks the database alone, so that it tells the same when API and worker are down. Times are in seconds.
    """
    from orderkit.system import state

    with opened_database() as database, database.reading() as session:
        found = state.read(session.connection())
    ages = {kind: (found.age(one.oldest), found.age(one.due_since)) for kind, one in found.backlogs.items()}
    if json_:
        backlogs = {
            kind: {"waiting": one.waiting, "due": one.due, "oldest_seconds": oldest, "overdue_seconds": overdue}
            for (kind, one), (oldest, overdue) in zip(found.backlogs.items(), ages.values(), strict=True)
        }
        lag = found.age(found.rollups_since)
        printing.as_json({"at": found.at, "backlogs": backlogs, "rollup_lag_seconds": lag})
        return
    rows = [
        (kind, _counted(one.waiting), _counted(one.due), *(f"{age:.1f}" for age in ages[kind]))
        for kind, one in found.backlogs.items()
    ]
    printing.table(("kind", "waiting", "due", "oldest s", "overdue s"), rows)


def _counted(rows: int) -> str:
    from orderkit.system.state import MOST

    return f"over {MOST - 1:,}" if rows >= MOST else f"{rows:,}"


@app.command(epilog="Example: orderkit system metrics -o docs/metrics.md")
def metrics(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it here instead of to stdout.")] = None,
) -> None:
    """Print, as Markdown, what is measured: every metric, its labels, and who tells it.

    Needs no database.
    """
    from orderkit.cli import metrics_page

    printing.write(metrics_page.text(), output)
