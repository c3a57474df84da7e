"""``orderkit migrate``."""

from __future__ import annotations

from typing import Annotated

import typer

from orderkit.cli.database import opened_database

app = typer.Typer()


@app.command(epilog="Example: orderkit migrate --check || orderkit migrate")
def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Only tell whether the database is up to date; exit 1 if not.")
    ] = False,
    sql: Annotated[bool, typer.Option("--sql", help="Only print the SQL.")] = False,
    to: Annotated[str, typer.Option("--to", metavar="REV", help="The revision to go to, up or down.")] = "head",
) -> None:
    """Bring the database to the schema of this version."""
    from orderkit import migrating
    from orderkit.errors import ConfigurationError
    from orderkit.explain import indexes
    from orderkit.settings import load_settings

    if check:
        settings = load_settings()
        try:
            with opened_database(settings) as database:
                migrating.require_current(database)
        except ConfigurationError as error:
            typer.echo(error.detail, err=True)
            raise typer.Exit(1) from None
        typer.echo(f"the database is up to date, at revision {migrating.head()}")
        return
    with opened_database(new=True) as database:
        if sql:
            typer.echo(migrating.sql(database, to), nl=False)
        else:
            before, after = migrating.migrate(database, to)
            indexes.comment(database)
            told = f"already at revision {after}" if before == after else f"now at revision {after or 'base'}"
            typer.echo(f"the database is {told}")
