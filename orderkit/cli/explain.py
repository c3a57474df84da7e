"""`orderkit explain`: how the database answers each query that orderkit ships, and what it would cost without an index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orderkit.cli.database import opened_database

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orderkit.db import Database
    from orderkit.explain.query import Query
    from orderkit.settings import Settings

app = typer.Typer()


@app.command(epilog="Example: orderkit explain orders.of_user_by_time --without ix_orders_user_id_created_at")
def explain(
    query: Annotated[str | None, typer.Argument(help="The name of a query; without one, all.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All queries, as without a name.")] = False,
    without: Annotated[
        str | None, typer.Option(metavar="INDEX", help="Show plan and cost with this index and without it.")
    ] = None,
    analyze: Annotated[
        bool, typer.Option("--analyze", help="Execute it too, and roll it back: time and rows of each step.")
    ] = False,
    save: Annotated[Path | None, typer.Option(metavar="DIR", help="Also write it there, as text and as JSON.")] = None,
    docs: Annotated[bool, typer.Option("--docs", help="Print the page of all indexes, as Markdown.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show which index serves each query, and what it would cost without.

    Exit 1 if one does not use the index that it must. The database stays as it is, whatever is shown.
    """
    from orderkit import migrating
    from orderkit.cli import explaining
    from orderkit.errors import Invalid
    from orderkit.explain import catalog, indexes
    from orderkit.settings import load_settings

    if docs:
        typer.echo(indexes.page(), nl=False)
        return
    if query is not None and all_:
        raise Invalid("either a query, or --all")
    queries = list(catalog.CATALOG.values()) if query is None else [catalog.named(query)]
    if without is not None:
        queries = indexes.that_use(without, queries)
    settings = load_settings()
    with opened_database(settings) as database:
        migrating.require_current(database)
        if without is not None:
            shown: Any = explaining.compare(database, settings, queries, without, analyze=analyze)
        else:
            shown = _explained(database, settings, queries, analyze=analyze)
    explaining.show(shown, json_=json_, whole=query is not None or analyze)
    if save is not None:
        explaining.save(shown, save)
        if not json_:
            typer.echo(f"written to {save / shown.name}.txt and .json")
    if not shown.holds:
        typer.echo(shown.complaint, err=True)
        raise typer.Exit(1)


def _explained(database: Database, settings: Settings, queries: Sequence[Query], *, analyze: bool) -> Any:
    from orderkit.cli import explaining

    return explaining.explain(database, settings, queries, analyze=analyze)
