"""`orderkit roles`: what each role may do, changed while everything runs, and who changed it."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orderkit.cli import printing
from orderkit.cli.acting import acting
from orderkit.cli.database import opened_database

if TYPE_CHECKING:
    from orderkit.auth.roles import Described

app = typer.Typer(no_args_is_help=True)

RoleName = Annotated[str, typer.Argument(help="A role, as `list` shows it.")]
Permissions = Annotated[list[str], typer.Argument(help="Permissions such as `orders:read`.")]
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


@app.callback(epilog="Example: orderkit roles list")
def roles() -> None:
    """See and change what each role may do, and see who changed it."""


@app.command("list", epilog="Example: orderkit roles list --json")
def list_(json_: Json = False) -> None:
    """List the roles and what each may do."""
    from orderkit.auth import roles as known

    with opened_database() as database, database.reading() as session:
        found = known.listing(session.connection())
    if json_:
        printing.as_json([asdict(one) for one in found])
        return
    rows = [(one.name, ", ".join(one.permissions), one.description) for one in found]
    printing.table(("role", "permissions", "description"), rows)


@app.command(epilog="Example: orderkit roles grant support audit:read")
def grant(role: RoleName, permissions: Permissions) -> None:
    """Let a role do more, from the next request on."""
    from orderkit.auth import roles as known

    with opened_database() as database, database.transaction() as session:
        changed = known.grant(session.connection(), acting(), role, permissions)
    _say(changed)


@app.command(epilog="Example: orderkit roles revoke support orders:refund")
def revoke(role: RoleName, permissions: Permissions) -> None:
    """Let a role do less, from the next request on."""
    from orderkit.auth import roles as known

    with opened_database() as database, database.transaction() as session:
        changed = known.revoke(session.connection(), acting(), role, permissions)
    _say(changed)


def _say(role: Described) -> None:
    typer.echo(f"{role.name} may now: {', '.join(role.permissions) or 'nothing but what every account may'}")


@app.command(epilog="Example: orderkit roles history --subject role:support")
def history(
    subject: Annotated[
        str | None,
        typer.Option(help="Only of this: `role:<name>`, `user:<id>`, `api_key:<id>`, `signing_key:<id>`."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=printing.MOST, help="How many at most.")] = 100,
    json_: Json = False,
) -> None:
    """Show the audit log, newest first: who changed what about users, roles and keys, and from where."""
    from orderkit.auth import audit_log

    with opened_database() as database, database.reading() as session:
        found = audit_log.page(session.connection(), limit=limit + 1, subject=subject)
    shown = found[:limit]
    if json_:
        printing.as_json([asdict(one) for one in shown])
        return
    if not shown:
        typer.echo("none")
        return
    rows = [
        (printing.instant(one.at), one.action, one.subject, one.actor_id, one.source, json.dumps(one.detail))
        for one in shown
    ]
    printing.table(("at", "action", "subject", "by user", "from", "detail"), rows)
    if len(found) > limit:
        of = "" if subject is None else f"--subject={shlex.quote(subject)} "
        typer.echo(f"there are more: orderkit roles history {of}--limit {printing.more_than(limit)}", err=True)


@app.command(epilog="Example: orderkit roles matrix -o docs/access.md")
def matrix(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it here instead of to stdout.")] = None,
) -> None:
    """Print, as Markdown, what each role may do and who may call what, as in a fresh installation.

    Needs no database.
    """
    from orderkit.cli import access_page

    printing.write(access_page.text(), output)
