"""`orderkit dead-letters`: what could not be shipped, in the hands of whoever operates the shop."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from orderkit.cli import printing
from orderkit.cli.database import opened_database

if TYPE_CHECKING:
    from orderkit.fulfillment.dead_letters import Letter

app = typer.Typer(no_args_is_help=True)

LetterId = Annotated[UUID, typer.Argument(help="Id of the dead letter, as `list` shows it.")]
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


@app.callback(epilog="Example: orderkit dead-letters list · orderkit dead-letters show ID")
def dead_letters() -> None:
    """See, retry and discard what could not be shipped."""


@app.command("list", epilog="Example: orderkit dead-letters list --json")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=printing.MOST, help="How many at most.")] = 100,
    all_: Annotated[bool, typer.Option("--all", help="Also those that were retried or discarded.")] = False,
    json_: Json = False,
) -> None:
    """List what waits for a decision, newest first."""
    from orderkit.fulfillment import dead_letters as letters

    with opened_database() as database, database.reading() as session:
        found = letters.page(session.connection(), limit=limit + 1, resolved=all_)
    shown = found[:limit]
    if json_:
        printing.as_json([asdict(letter) for letter in shown])
        return
    if not shown:
        typer.echo("none")
        return
    rows = [
        (one.id, one.order_id, one.reason, one.attempts, printing.instant(one.created_at), one.resolution)
        for one in shown
    ]
    printing.table(("id", "order_id", "reason", "attempts", "created_at", "resolution"), rows)
    if len(found) > limit:
        every = "--all " if all_ else ""
        typer.echo(f"there are more: orderkit dead-letters list {every}--limit {printing.more_than(limit)}", err=True)


@app.command(epilog="Example: orderkit dead-letters show 0199b2d0-7c5e-7a3f-9d3e-0a6f3c1b2d4e")
def show(letter_id: LetterId, json_: Json = False) -> None:
    """Show one dead letter and every call to the carrier that led to it."""
    from orderkit.fulfillment import dead_letters as letters

    with opened_database() as database, database.reading() as session:
        letter = letters.get(session.connection(), letter_id)
        calls = letters.attempts(session.connection(), letter)
    if json_:
        printing.as_json(asdict(letter) | {"calls": [asdict(call) for call in calls]})
        return
    for name, value in asdict(letter).items():
        typer.echo(f"{name:15}{printing.instant(value) if name.endswith('_at') else value or ''}")
    typer.echo()
    rows = [(one.number, one.outcome, one.detail, printing.instant(one.started_at), one.duration_ms) for one in calls]
    printing.table(("call", "outcome", "detail", "started_at", "ms"), rows)


@app.command(epilog="Example: orderkit dead-letters retry 0199b2d0-7c5e-7a3f-9d3e-0a6f3c1b2d4e")
def retry(letter_id: LetterId, json_: Json = False) -> None:
    """Have the worker try again; asked twice, it runs once."""
    from orderkit.fulfillment import dead_letters as letters

    with opened_database() as database, database.transaction() as session:
        letter = letters.retry(session.connection(), letter_id)
    _say(letter, "queued again; the worker books it within a second", json_=json_)


@app.command(epilog="Example: orderkit dead-letters discard 0199b2d0-7c5e-7a3f-9d3e-0a6f3c1b2d4e")
def discard(letter_id: LetterId, json_: Json = False) -> None:
    """Give it up: the order is cancelled, its money and its stock go back."""
    from orderkit.fulfillment import dead_letters as letters

    with opened_database() as database, database.transaction() as session:
        letter = letters.discard(session.connection(), letter_id)
    _say(letter, "discarded; its order is cancelled, and the worker pays back", json_=json_)


def _say(letter: Letter, done: str, *, json_: bool) -> None:
    if json_:
        printing.as_json(asdict(letter))
    else:
        typer.echo(f"dead letter {letter.id} of order {letter.order_id}: {done}")
