"""`orderkit report`: what was sold, to whom, and what became of the orders."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from orderkit.cli import printing
from orderkit.cli.database import opened_database

if TYPE_CHECKING:
    from collections.abc import Callable

    from orderkit.analytics.asking import Asked, Names
    from orderkit.analytics.source import Source
    from orderkit.api.report_answers import Answer

app = typer.Typer(invoke_without_command=True)


class Format(StrEnum):
    """How a report is shown."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    SVG = "svg"


class SalesBy(StrEnum):
    """What sales are summed by."""

    DAY = "day"
    MONTH = "month"
    COUNTRY = "country"


class ProductsBy(StrEnum):
    """What makes a product a top one."""

    QUANTITY = "quantity"
    REVENUE = "revenue"


class Compare(StrEnum):
    """What with."""

    PREVIOUS = "previous"


From = Annotated[
    str | None,
    typer.Option("--from", help="The first day, 2026-03-01, or instant, 2026-03-01T06:00:00Z. Else all there is."),
]
To = Annotated[str | None, typer.Option("--to", help="The day or instant before which it ends.")]
Zone = Annotated[str, typer.Option(help="Whose days they are: a time zone of IANA.")]
Currency = Annotated[str | None, typer.Option(help="Only what was sold in it.")]
As = Annotated[
    Format,
    typer.Option(
        "--format", help="A table for people; JSON or CSV with amounts in minor units, as 1999; a chart as SVG."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write it here instead of to stdout.")]
Limit = Annotated[int, typer.Option(min=1, max=printing.MOST, help="How many at most.")]


@app.callback(epilog="Example: orderkit report daily --from 2026-01-01 --tz Europe/London · orderkit report --rebuild")
def report(
    context: typer.Context,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Recount what reports are made of, and put right what differs.")
    ] = False,
) -> None:
    """See what was sold, to whom, and what became of the orders.

    An order counts when it was placed, once its money came; a refund when it was asked for, once it succeeded. Currencies are
    never summed.
    """
    if rebuild and context.invoked_subcommand is not None:
        raise typer.BadParameter("--rebuild is no part of a report; run it by itself")
    if rebuild:
        _rebuild()
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def _rebuild() -> None:
    from orderkit import migrating
    from orderkit.analytics import rebuild
    from orderkit.cli.progress import progress

    with opened_database() as database:
        migrating.require_current(database)
        with progress("counting days", rebuild.extent(database)) as advance:
            put_right = rebuild.run(database, progress=advance)
    typer.echo(f"{put_right:,} sums were wrong and are put right" if put_right else "all sums were right")


@app.command(epilog="Example: orderkit report daily --from 2026-03-01 --to 2026-04-01 --tz Europe/London")
def daily(
    start: From = None,
    end: To = None,
    tz: Zone = "UTC",
    currency: Currency = None,
    format_: As = Format.TABLE,
    json_: Json = False,
    output: Output = None,
) -> None:
    """Orders and money of each day on which there were any."""
    from orderkit.api import report_answers

    read = partial(report_answers.by_time_or_country, by="day")
    _show("Sales by day", _asked(start, end, tz, currency), read, format_, json_, output)


@app.command(epilog="Example: orderkit report sales --by country --from 2026-03-01 --to 2026-04-01 --compare previous")
def sales(
    start: From = None,
    end: To = None,
    tz: Zone = "UTC",
    currency: Currency = None,
    by: Annotated[SalesBy, typer.Option(help="Country: where orders are delivered to.")] = SalesBy.DAY,
    compare: Annotated[
        Compare | None,
        typer.Option(
            help="Also the totals of the period before: as many whole months, days, or as much time. CSV has the rows alone."
        ),
    ] = None,
    format_: As = Format.TABLE,
    json_: Json = False,
    output: Output = None,
) -> None:
    """What was sold by day, by month or by country, and all in all."""
    from orderkit.analytics import asking
    from orderkit.api import report_answers

    asked = _asked(start, end, tz, currency)
    before = None if compare is None else asking.before(asked, names=_names())
    read = partial(report_answers.by_time_or_country, by=by.value, before=before)
    _show(f"Sales by {by.value}", asked, read, format_, json_, output)
    if before is not None and format_ is Format.CSV and not json_:
        typer.echo("CSV has the rows alone; the totals of the period before are in the other formats", err=True)


@app.command(epilog="Example: orderkit report revenue --from 2026-01-01 --limit 10")
def revenue(
    start: From = None,
    end: To = None,
    tz: Zone = "UTC",
    currency: Currency = None,
    limit: Limit = 20,
    format_: As = Format.TABLE,
    json_: Json = False,
    output: Output = None,
) -> None:
    """What each user brought, by net, highest first."""
    from orderkit.api import report_answers

    read = partial(report_answers.by_user, limit=limit)
    _show("Revenue by user", _asked(start, end, tz, currency), read, format_, json_, output, limit)


@app.command(epilog="Example: orderkit report status --from 2026-03-01")
def status(
    start: From = None,
    end: To = None,
    tz: Zone = "UTC",
    currency: Currency = None,
    format_: As = Format.TABLE,
    json_: Json = False,
    output: Output = None,
) -> None:
    """How many of the orders that were placed in a range are in which status now."""
    from orderkit.api import report_answers

    _show("Orders by status", _asked(start, end, tz, currency), report_answers.by_status, format_, json_, output)


@app.command(epilog="Example: orderkit report top-products --by revenue --currency GBP")
def top_products(
    start: From = None,
    end: To = None,
    tz: Zone = "UTC",
    currency: Currency = None,
    by: Annotated[ProductsBy, typer.Option(help="What the highest of comes first.")] = ProductsBy.QUANTITY,
    limit: Limit = 20,
    format_: As = Format.TABLE,
    json_: Json = False,
    output: Output = None,
) -> None:
    """What sold most."""
    from orderkit.api import report_answers

    read = partial(report_answers.by_product, by=by.value, limit=limit)
    _show(f"Top products by {by.value}", _asked(start, end, tz, currency), read, format_, json_, output, limit)


@app.command(epilog="Example: orderkit report spending customer@example.com --from 2026-01-01")
def spending(
    user: Annotated[str, typer.Argument(metavar="USER", help="E-mail address or id of the user.")],
    start: From = None,
    end: To = None,
    tz: Zone = "UTC",
    currency: Currency = None,
    format_: As = Format.TABLE,
    json_: Json = False,
    output: Output = None,
) -> None:
    """What one user spent, in each currency."""
    from orderkit.api import report_answers

    asked = _asked(start, end, tz, currency)
    with opened_database() as database:
        read = partial(report_answers.of_user, user_id=_user_id(database, user))
    _show(f"Spending of {user}", asked, read, format_, json_, output)


def _asked(start: str | None, end: str | None, tz: str, currency: str | None) -> Asked:
    from orderkit.analytics import asking

    return asking.asked(start, end, tz, currency, names=_names())


def _names() -> Names:
    from orderkit.analytics.asking import Names

    return Names("--from", "--to", "--tz", "--currency", "--compare previous")


def _user_id(database: Any, user: str) -> UUID:
    """Raises NotFound for an address that nobody has."""
    from orderkit.auth import accounts
    from orderkit.errors import NotFound

    try:
        return UUID(user)
    except ValueError:
        found = accounts.find_by_email(database, user)
    if found is None:
        raise NotFound(f"there is no user {user}; see: orderkit users list")
    return found.id


def _show(
    title: str,
    asked: Asked,
    read: Callable[[Source, Asked], Answer],
    format_: Format,
    json_: bool,
    output: Path | None,
    limit: int = 0,
) -> None:
    from orderkit.analytics.source import Source
    from orderkit.api import report_answers
    from orderkit.settings import load_settings

    if json_:
        format_ = Format.JSON
    if format_ is Format.SVG:
        from orderkit.cli import report_chart

        report_chart.require()
    settings = load_settings()
    with opened_database(settings) as database:
        source = Source(settings, database)
        try:
            answer = read(source, asked)
        finally:
            source.close()
    printing.write(_shown(title, answer, format_, output), output)
    if format_ in (Format.CSV, Format.SVG) and (told := report_answers.provenance(answer)):
        typer.echo(told, err=True)
    if answer.last is not None:
        typer.echo(f"there are more: add --limit {printing.more_than(limit)}", err=True)


def _shown(title: str, answer: Answer, format_: Format, output: Path | None) -> str:
    """The text of the report; of a table for a terminal with its colours."""
    import json

    from orderkit.api import report_answers

    match format_:
        case Format.JSON:
            return json.dumps(answer.members(), indent=2, ensure_ascii=False, default=str) + "\n"
        case Format.CSV:
            return report_answers.as_csv(answer)
        case Format.SVG:
            from orderkit.cli import report_chart

            return report_chart.draw(title, answer)
        case Format.TABLE:
            from orderkit.cli import report_table

            return report_table.draw(title, answer, for_terminal=output is None and printing.in_terminal())
