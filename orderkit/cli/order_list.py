"""`orderkit orders list`: what `GET /orders` finds, for whoever operates the shop."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from orderkit.cli import order_naming, printing
from orderkit.cli.database import opened_database

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Connection

    from orderkit.db import Database
    from orderkit.orders.reading import Found, Position, Wanted
    from orderkit.orders.snapshot import OrderSnapshot


class Sort(StrEnum):
    """What orders are sorted by."""

    CREATED_AT = "created_at"
    TOTAL = "total"


class Direction(StrEnum):
    """Which comes first."""

    DESC = "desc"
    ASC = "asc"


Amount = typer.Option(min=0, max=2**53 - 1, metavar="AMOUNT", help="In minor units, itself included.")


def list_(
    status: Annotated[str | None, typer.Option(help="Only those that are this now: pending, paid, shipped …")] = None,
    email: Annotated[str | None, typer.Option(help="Only those of the user with this address.")] = None,
    number: Annotated[
        int | None, typer.Option(min=1, max=order_naming.MAX_NUMBER, help="Only the one with this number.")
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Placed from this day on, 2026-03-01 in UTC, or instant, 2026-03-01T06:00:00Z."),
    ] = None,
    to: Annotated[str | None, typer.Option(help="Placed before this day or instant.")] = None,
    min_total: Annotated[int | None, Amount] = None,
    max_total: Annotated[int | None, Amount] = None,
    sort: Annotated[Sort, typer.Option(help="By time, or by total, as a number whatever the currency.")] = (
        Sort.CREATED_AT
    ),
    order: Annotated[Direction, typer.Option(help="Newest or largest first, or last.")] = Direction.DESC,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100,
    after: Annotated[
        str | None, typer.Option(metavar="ORDER", help="Go on after this one, by number or id; with the same options.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """List orders, newest first unless asked otherwise.

    In JSON, money is in minor units. Ids are told to programs: in JSON, and where stdout is no terminal.
    """
    from orderkit.orders import reading

    start, end = instant(from_, "--from"), instant(to, "--to")
    if start is not None and end is not None and start > end:
        raise typer.BadParameter(f"{to} is before {from_}, where it begins", param_hint="--to")
    if min_total is not None and max_total is not None and min_total > max_total:
        raise typer.BadParameter(f"{max_total} is less than --min-total", param_hint="--max-total")
    with opened_database() as database:
        wanted = reading.Wanted(
            user_id=None if email is None else _user(database, email),
            status=_status(status),
            created_from=start,
            created_to=end,
            min_total=min_total,
            max_total=max_total,
            number=number,
        )
        with database.reading() as session:
            connection = session.connection()
            found = _page(connection, wanted, limit, sort, descending=order is Direction.DESC, after=after)
            _print(connection, found.orders, json_=json_)
    if found.more_after is not None and not json_:
        last = found.orders[-1]
        typer.echo(f"there are more: add --after {last.number or last.id}", err=True)


def _page(
    connection: Connection, wanted: Wanted, limit: int, sort: Sort, *, descending: bool, after: str | None
) -> Found:
    """As many as there are, up to `limit`; a page of `reading` may be short and more follow."""
    from orderkit.errors import NotFound
    from orderkit.orders import reading

    by: reading.Sort = "total" if sort is Sort.TOTAL else "created_at"
    start: Position | None = None
    if after is not None:
        last_id = order_naming.found(connection, after)
        last = None if last_id is None else reading.find(connection, last_id)
        if last is None:
            raise NotFound(f"there is no order {after} to go on after")
        start = reading.position(last, by)
    orders: list[OrderSnapshot] = []
    while True:
        left = limit - len(orders)
        found = reading.page(connection, wanted, limit=left, sort=by, descending=descending, after=start)
        orders += found.orders
        start = found.more_after
        if start is None or len(orders) == limit:
            return reading.Found(orders, start)


def _print(connection: Connection, orders: Sequence[OrderSnapshot], *, json_: bool) -> None:
    from orderkit import money

    if json_:
        from orderkit.api import answers

        printing.as_json(answers.orders(connection, orders, to_staff=True))
        return
    if not orders:
        typer.echo("none")
        return
    if printing.in_terminal():
        from orderkit.auth import directory

        emails = directory.emails(connection, {one.user_id for one in orders})
        people = [
            (
                one.number or one.id,
                one.status,
                money.to_text(one.total, one.currency),
                f"{one.created_at:%Y-%m-%d %H:%M}",
                emails[one.user_id],
            )
            for one in orders
        ]
        printing.table(("number", "status", "total", "placed (UTC)", "e-mail"), people)
        return
    rows = [
        (
            one.number,
            one.id,
            one.status,
            money.to_text(one.total, one.currency),
            printing.instant(one.created_at),
            one.user_id,
        )
        for one in orders
    ]
    printing.table(("number", "id", "status", "total", "created_at", "user_id"), rows)


def instant(text: str | None, option: str) -> datetime | None:
    """Raises BadParameter."""
    from datetime import UTC

    from orderkit.analytics import asking, periods

    if text is None:
        return None
    try:
        return periods.instant(asking.bound(text), UTC)
    except ValueError as error:
        raise typer.BadParameter(f"{text}: {error}", param_hint=option) from None


def _status(status: str | None) -> str | None:
    """Raises Invalid for a status that there is not."""
    from orderkit.errors import Invalid
    from orderkit.orders.states import OrderStatus

    known = [one.value for one in OrderStatus]
    if status is not None and status not in known:
        raise Invalid(f"an order is never {status}; it is one of {', '.join(known)}")
    return status


def _user(database: Database, email: str) -> UUID:
    """Raises Invalid for what is no address, NotFound for an address nobody has."""
    from orderkit.auth import accounts
    from orderkit.errors import NotFound

    user = accounts.find_by_email(database, email)
    if user is None:
        raise NotFound(f"there is no user {email}")
    return user.id
