"""`orderkit import`: orders from a file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orderkit.cli import printing
from orderkit.cli.database import opened_database

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orderkit.orders.import_plan import Plan, Rejected
    from orderkit.orders.importing import Imported

app = typer.Typer(no_args_is_help=True)


class FormatName(StrEnum):
    """Kept by hand, so that `--help` need not load the formats; a test compares them."""

    ONLINE_RETAIL = "online-retail"
    CSV = "csv"


@app.callback(epilog="Example: orderkit import orders orders.csv --dry-run")
def import_() -> None:
    """Bring in what happened elsewhere."""


@app.command(epilog="Example: orderkit import orders orders.csv --rejects rejects.csv")
def orders(
    file: Annotated[Path, typer.Argument(help="CSV file with a header line, in UTF-8 or Windows-1252.")],
    format_: Annotated[
        FormatName | None, typer.Option("--format", help="What the file is; found out by its columns if not given.")
    ] = None,
    rejects: Annotated[
        Path | None,
        typer.Option(help="Write the lines that cannot be taken here, each with its line number and reason."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only read and plan; the database is not touched.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Import past orders, each once: run it again after an interruption, or with a file that has grown.

    Orders land delivered at their own date with payment `imported`; nothing is charged or shipped. Customers become users
    who cannot log in. Orders without a customer are the user `guest`'s. Columns of format csv: order, customer_email,
    placed_at, sku, name, quantity, unit_price, currency, country.
    """
    from orderkit.orders import importing

    plan = importing.load(file, format_ and format_.value)
    result = importing.preview(plan)
    if rejects is not None:  # before anything is imported, so that a path that cannot be written stops here
        _write_rejects(rejects, file, plan.header, result.rejected)
    if not dry_run:
        result = _execute(plan, result.taken)
    if rejects is not None and len(result.rejected) > len(plan.rejected):
        _write_rejects(rejects, file, plan.header, result.rejected)
    if json_:
        printing.as_json(_as_json(result))
    else:
        typer.echo(_as_text(result, dry_run=dry_run, rejects=rejects))


def _execute(plan: Plan, lines: int) -> Imported:
    from orderkit import migrating
    from orderkit.analytics import rollups
    from orderkit.cli.progress import progress
    from orderkit.orders import importing

    with opened_database() as database:
        migrating.require_current(database)
        with progress("importing lines", lines) as advance:
            return importing.execute(database, plan, progress=advance, after=rollups.add_past)


def _write_rejects(path: Path, source: Path, header: Sequence[str], rejected: Sequence[Rejected]) -> None:
    import csv

    from orderkit.errors import Invalid

    if path.exists() and path.samefile(source):
        raise Invalid(f"{path} is the file to import; name another one for the rejects")
    try:
        with path.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow([*header, "line", "reason"])
            writer.writerows([*one.record.fields, one.record.line, one.reason] for one in rejected)
    except OSError as error:
        raise Invalid(f"cannot write {path}: {error.strerror}") from None


def _as_json(result: Imported) -> dict[str, Any]:
    return {
        "read": result.read,
        "taken": result.taken,
        "rejected": len(result.rejected),
        "orders_created": result.orders_created,
        "gross_by_day": result.gross_by_day,
        "gross_by_country": result.gross_by_country,
    }


def _as_text(result: Imported, *, dry_run: bool, rejects: Path | None) -> str:
    from collections import Counter

    from orderkit.money import to_text

    reasons = Counter(one.reason for one in result.rejected).most_common()
    where = f"; they are in {rejects}" if rejects else "; --rejects FILE writes them down" if reasons else ""
    lines = [
        f"{result.read:>9,} lines read",
        f"{result.taken:>9,} taken"
        + (f", {result.there_before:,} of them there before" if result.there_before else ""),
        f"{len(result.rejected):>9,} rejected{where}",
        *(f"{count:>17,} {reason}" for reason, count in reasons),
    ]
    if dry_run:
        lines.append("dry run: nothing was written")
    else:
        lines += [f"{result.orders_created:>9,} orders created", f"{result.refunds_created:>9,} refunds created"]
    if result.in_part:
        lines.append(f"{result.in_part:>9,} of the cancellations name more than was left, and gave back what was")
    if result.gross_by_day:
        gross = to_text(sum(result.gross_by_day.values()), result.currency)
        first, last = min(result.gross_by_day), max(result.gross_by_day)
        countries = len(result.gross_by_country)
        lines.append(
            f"{gross} before refunds, {first} to {last}, {countries} {'country' if countries == 1 else 'countries'}"
        )
    return "\n".join(lines)
