"""`orderkit orders`: orders, in the hands of whoever operates the shop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from orderkit.cli import printing
from orderkit.cli.database import opened_database

if TYPE_CHECKING:
    from orderkit.db import Database
    from orderkit.orders.reading import Wanted

app = typer.Typer(no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


@app.callback()
def orders() -> None:
    """Find orders and look after them."""


@app.command("list", epilog="Example: orderkit orders list --status paid --limit 50")
def list_(
    status: Annotated[str | None, typer.Option(help="Only those that are this now: pending, paid, shipped …")] = None,
    email: Annotated[str | None, typer.Option(help="Only those of the user with this address.")] = None,
    number: Annotated[int | None, typer.Option(min=1, max=2**63 - 1, help="Only the one with this number.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100,
    after: Annotated[UUID | None, typer.Option(help="Go on after the order with this id.")] = None,
    json_: Json = False,
) -> None:
    """List orders, newest first."""
    from orderkit.errors import NotFound
    from orderkit.orders import reading

    with opened_database() as database:
        wanted = _wanted(database, status, email, number)
        with database.reading() as session:
            connection = session.connection()
            start = None
            if after is not None:
                last = reading.find(connection, after)
                if last is None:
                    raise NotFound(f"there is no order {after} to go on after")
                start = reading.position(last)
            found = reading.page(connection, wanted, limit=limit, after=start)
            if json_:
                from orderkit.api import answers

                printing.as_json(answers.orders(connection, found.orders, to_staff=True))
                return
    if not found.orders:
        typer.echo("none")
        return
    rows = [
        (one.number, one.id, one.status, one.total, one.currency, printing.instant(one.created_at), one.user_id)
        for one in found.orders
    ]
    printing.table(("number", "id", "status", "total", "currency", "created_at", "user_id"), rows)
    if found.more_after is not None:
        typer.echo(f"there are more: add --after {found.more_after.id}", err=True)


def _wanted(database: Database, status: str | None, email: str | None, number: int | None) -> Wanted:
    """Raises Invalid for a status that there is not and for what is no address, NotFound for an address nobody has."""
    from orderkit.auth import accounts
    from orderkit.errors import Invalid, NotFound
    from orderkit.orders.reading import Wanted
    from orderkit.orders.states import OrderStatus

    known = [one.value for one in OrderStatus]
    if status is not None and status not in known:
        raise Invalid(f"an order is never {status}; it is one of {', '.join(known)}")
    user = None if email is None else accounts.find_by_email(database, email)
    if email is not None and user is None:
        raise NotFound(f"there is no user {email}")
    return Wanted(user_id=user.id if user else None, status=status, number=number)
