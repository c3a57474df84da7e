"""`orderkit users`: the first admin is made here, and never by default."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from orderkit.cli import printing
from orderkit.cli.database import opened_database

app = typer.Typer(no_args_is_help=True)

GENERATED_BYTES = 18


@app.callback()
def users() -> None:
    """Make and list accounts."""


@app.command(epilog="Example: orderkit users create ada@example.com --admin")
def create(
    email: Annotated[str, typer.Argument(help="What they log in with.")],
    name: Annotated[str | None, typer.Option(help="Their name; else the part of the address before the @.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="The same as --role admin.")] = False,
    role: Annotated[str, typer.Option(help="customer or admin.")] = "customer",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from the first line of stdin.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the account as JSON.")] = False,
) -> None:
    """Make an account.

    In a terminal it asks for a password. An empty one, or no terminal, makes one up and prints it, this once.
    """
    from orderkit.auth import accounts
    from orderkit.auth.models import ADMIN

    with opened_database() as database:
        given = _password(from_stdin=password_stdin)
        password = given or _generated()
        user = accounts.create(database, email, name or email.partition("@")[0], password, ADMIN if admin else role)
    made = {"id": user.id, "email": user.email, "name": user.name, "role": user.role}
    if not given:
        made["password"] = password
    if json_:
        printing.as_json(made)
        return
    typer.echo(f"created {user.email} ({user.role})")
    if not given:
        typer.echo(f"password: {password}  (shown this once)")


def _password(*, from_stdin: bool) -> str:
    """What was given; empty when there is to be a generated one. Raises Invalid."""
    from orderkit.errors import Invalid

    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise Invalid("there is no password on stdin; write it there in one line")
        return password
    if not sys.stdin.isatty():
        return ""
    password = str(
        typer.prompt("Password (empty: make one up)", default="", hide_input=True, show_default=False, err=True)
    )
    if password and password != typer.prompt("Once more", hide_input=True, err=True):
        raise Invalid("the two passwords are not the same")
    return password


def _generated() -> str:
    import secrets

    return secrets.token_urlsafe(GENERATED_BYTES)


@app.command("list", epilog="Example: orderkit users list --json")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100,
    after: Annotated[str | None, typer.Option(help="Only those whose address comes after this one.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List accounts by e-mail address."""
    from orderkit.auth import accounts

    with opened_database() as database:
        found = accounts.page(database, limit=limit, after=after)
    rows = [(one.email, one.name, one.role, one.id, f"{one.created_at:%Y-%m-%dT%H:%M:%SZ}") for one in found]
    printing.table(("email", "name", "role", "id", "created_at"), rows, json_=json_)
    if len(found) == limit and not json_:
        typer.echo(f"more may follow: orderkit users list --after {found[-1].email}", err=True)
