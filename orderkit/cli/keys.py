"""`orderkit keys`: the keys that sign access tokens, replaced without logging anybody out."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from orderkit.cli import printing
from orderkit.cli.acting import acting
from orderkit.cli.database import opened_database

app = typer.Typer(no_args_is_help=True)


@app.callback(epilog="Example: orderkit keys list")
def keys() -> None:
    """Replace the keys that sign access tokens."""


@app.command(epilog="Example: orderkit keys rotate")
def rotate() -> None:
    """Make a new key, which signs from now on; tokens of the others are still good."""
    from orderkit.auth import signing_keys
    from orderkit.settings import load_settings

    settings = load_settings()
    with opened_database(settings) as database:
        made = signing_keys.rotate(database, acting())
    typer.echo(f"made {made}; it signs from now on, and every process knows it within a second")
    typer.echo(
        f"The keys before it stay good. Their last tokens expire in {settings.access_token_minutes} minutes;"
        " then, or at once if one leaked: orderkit keys retire"
    )


@app.command("list", epilog="Example: orderkit keys list --json")
def list_(json_: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False) -> None:
    """List the keys there are and were, newest first."""
    from orderkit.auth import signing_keys

    with opened_database() as database:
        found = signing_keys.listing(database)
    if json_:
        printing.as_json([one._asdict() for one in found])
    elif not found:
        typer.echo("none; the first is made when orderkit serve starts")
    else:
        rows = [
            (one.id, printing.instant(one.created_at), printing.instant(one.retired_at), "yes" if one.signs else "")
            for one in found
        ]
        printing.table(("id", "made", "retired", "signs"), rows)


@app.command(epilog="Example: orderkit keys retire 0199b2d0-7c5e-7a3f-9d3e-0a6f3c1b2d4e")
def retire(
    key_id: Annotated[
        UUID | None, typer.Argument(help="Id of the key, as `list` shows it; else all but the one that signs.")
    ] = None,
) -> None:
    """Retire a key, or all but the one that signs: tokens that they signed are refused within a second.

    Refresh tokens are not signed: they still work, and whoever has one gets a new access token for it.
    """
    from orderkit.auth import signing_keys

    with opened_database() as database:
        retired = signing_keys.retire(database, acting(), key_id)
    if not retired:
        typer.echo("nothing to retire: the key that signs is the only one that is good")
        return
    for one in retired:
        typer.echo(f"retired {one}")
    typer.echo(
        "Every process refuses their access tokens within a second. Refresh tokens still work: nobody is logged out."
    )
