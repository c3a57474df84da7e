"""`orderkit dead-letters`: what could not be shipped, in the hands of whoever operates the shop."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from orderkit.cli import order_naming, printing
from orderkit.cli.acting import acting, confirm_in_terminal
from orderkit.cli.database import opened_database

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from orderkit.fulfillment.dead_letters import Letter

app = typer.Typer(no_args_is_help=True)

Named = Annotated[
    str, typer.Argument(metavar="LETTER", help="Number of the order, as `list` shows it, or id of the dead letter.")
]
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
    """List what waits for a decision, newest first.

    Ids are told to programs: in JSON, and where stdout is no terminal.
    """
    from orderkit.fulfillment import dead_letters as letters
    from orderkit.orders import snapshot

    with opened_database() as database, database.reading() as session:
        found = letters.page(session.connection(), limit=limit + 1, resolved=all_)
        shown = found[:limit]
        orders = snapshot.load(session.connection(), [one.order_id for one in shown])
    numbers = {order.id: order.number for order in orders.values()}
    if json_:
        printing.as_json([asdict(letter) | {"order_number": numbers[letter.order_id]} for letter in shown])
        return
    if not shown:
        typer.echo("none")
        return
    _table(shown, numbers)
    if len(found) > limit:
        every = "--all " if all_ else ""
        typer.echo(f"there are more: orderkit dead-letters list {every}--limit {printing.more_than(limit)}", err=True)


def _table(shown: Sequence[Letter], numbers: dict[UUID, int | None]) -> None:
    rows = [
        (one.id, one.order_id, one.reason, one.attempts, printing.instant(one.created_at), one.resolution)
        for one in shown
    ]
    if printing.in_terminal():
        people = [(numbers[order_id] or order_id, *rest) for _id, order_id, *rest in rows]
        printing.table(("order", "reason", "attempts", "given up at", "resolution"), people)
    else:
        printing.table(("id", "order_id", "reason", "attempts", "created_at", "resolution"), rows)


@app.command(epilog="Example: orderkit dead-letters show 1001")
def show(letter: Named, json_: Json = False) -> None:
    """Show one dead letter and every call to the carrier that led to it."""
    from orderkit.fulfillment import dead_letters as letters

    with opened_database() as database, database.reading() as session:
        found = _named(session.connection(), letter)
        calls = letters.attempts(session.connection(), found)
    if json_:
        printing.as_json(asdict(found) | {"calls": [asdict(call) for call in calls]})
        return
    for name, value in asdict(found).items():
        typer.echo(f"{name:15}{printing.instant(value) if name.endswith('_at') else value or ''}")
    typer.echo()
    rows = [(one.number, one.outcome, one.detail, printing.instant(one.started_at), one.duration_ms) for one in calls]
    printing.table(("call", "outcome", "detail", "started_at", "ms"), rows)


@app.command(
    epilog="Example: orderkit dead-letters retry 1001 · "
    "orderkit dead-letters retry --all --reason 'timed out' --since 2026-03-01"
)
def retry(
    letter: Annotated[
        str | None,
        typer.Argument(
            metavar="LETTER", help="Number of the order, or id of the dead letter; or --all.", show_default=False
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All that wait for a decision, the oldest first.")] = False,
    reason: Annotated[str | None, typer.Option(help="With --all: only those whose reason has this in it.")] = None,
    since: Annotated[
        str | None,
        typer.Option(help="With --all: only those given up from this day on, 2026-03-01 in UTC, or instant."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=printing.MOST, help="With --all: how many at most.")] = 1000,
    yes: Annotated[bool, typer.Option("--yes", help="With --all: do not ask whether that is meant.")] = False,
    json_: Json = False,
) -> None:
    """Have the worker try again; asked twice, it runs once.

    With --all, says first how many there are of which reasons, and asks. Exit code 1: some could not be retried, and stderr
    says why.
    """
    from orderkit.errors import Invalid

    if all_ == (letter is not None):
        raise Invalid("name one dead letter, or say --all")
    if letter is None:
        from orderkit.cli.dead_letters_retried import retry_all

        retry_all(reason, since, limit, yes=yes, json_=json_)
        return
    if reason is not None or since is not None:
        raise Invalid("--reason and --since go with --all")
    _retry_one(letter, json_=json_)


def _retry_one(letter: str, *, json_: bool) -> None:
    from orderkit.fulfillment import dead_letters as letters

    with opened_database() as database, database.transaction() as session:
        before = _named(session.connection(), letter)
        after = letters.retry(session.connection(), before.id)
    _say(before, after, "queued again; the worker books it within a second", json_=json_)


@app.command(epilog="Example: orderkit dead-letters discard 1001")
def discard(
    letter: Named,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, on a terminal, whether that is meant.")] = False,
    json_: Json = False,
) -> None:
    """Give it up: the order is cancelled, its money and its stock go back."""
    from orderkit.fulfillment import dead_letters as letters

    with opened_database() as database:
        with database.reading() as session:
            before = _named(session.connection(), letter)
        if before.resolution is None:
            confirm_in_terminal(yes, f"Cancel the order of dead letter {letter} and pay it back?")
        with database.transaction() as session:
            after = letters.discard(session.connection(), before.id, request_id=acting().source)
    _say(before, after, "discarded; its order is cancelled, and the worker pays back", json_=json_)


def _named(connection: Connection, letter: str) -> Letter:
    """The letter of this id, or the last of the order of this number. Raises Invalid and NotFound."""
    from orderkit.errors import Invalid, NotFound
    from orderkit.fulfillment import dead_letters as letters

    if order_naming.is_number(letter):
        found = letters.latest_of(connection, order_naming.id_of(connection, letter))
        if found is None:
            raise NotFound(f"order {letter} has no dead letter")
        return found
    try:
        letter_id = UUID(letter)
    except ValueError:
        raise Invalid(f"{letter} is neither the number of an order nor the id of a dead letter") from None
    return letters.get(connection, letter_id)


def _say(before: Letter, after: Letter, done: str, *, json_: bool) -> None:
    if json_:
        printing.as_json(asdict(after))
        return
    told = done if before.resolution is None else f"it was {after.resolution} before; nothing more is done"
    typer.echo(f"dead letter {after.id} of order {after.order_id}: {told}")
