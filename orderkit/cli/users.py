"""`orderkit users`: accounts, in the hands of whoever runs the shop. The first admin is made here, and never by default."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from orderkit.cli import printing
from orderkit.cli.acting import acting, require_meant
from orderkit.cli.database import opened_database

if TYPE_CHECKING:
    from orderkit.auth.directory import Account
    from orderkit.db import Database

app = typer.Typer(no_args_is_help=True)

GENERATED_BYTES = 18


Email = Annotated[str, typer.Argument(help="What they log in with.")]
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from the first line of stdin.")]


@app.callback(epilog="Example: orderkit users list")
def users() -> None:
    """Make, find, ban and delete accounts, and give them roles."""


@app.command(epilog="Example: orderkit users create ada@example.com --admin")
def create(
    email: Email,
    name: Annotated[str | None, typer.Option(help="Their name; else the part of the address before the @.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="The same as --role admin.")] = False,
    role: Annotated[
        str | None, typer.Option(help="What they may do: a role that `orderkit roles list` shows; else customer.")
    ] = None,
    password_stdin: FromStdin = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the account as JSON.")] = False,
) -> None:
    """Make an account.

    In a terminal it asks for a password. An empty one, or no terminal, makes one up and prints it, this once.
    """
    from orderkit.auth import accounts
    from orderkit.auth.models import ADMIN, CUSTOMER
    from orderkit.errors import Invalid

    if admin and role not in (None, ADMIN):
        raise Invalid(f"--admin and --role {role} are two roles; an account has one")
    with opened_database() as database:
        given = _password(from_stdin=password_stdin)
        password = given or _generated()
        wanted = ADMIN if admin else role or CUSTOMER
        called = email.partition("@")[0] if name is None else name
        user = accounts.create(database, email, called, password, wanted, actor=acting())
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
        try:
            password = sys.stdin.readline().rstrip("\r\n")
        except UnicodeDecodeError:
            raise Invalid("the password on stdin is not text in UTF-8") from None
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


@app.command("list", epilog="Example: orderkit users list --q ada --json")
def list_(
    q: Annotated[
        str, typer.Option("--q", help="Only those whose address or name begins so, in whatever case, or of this id.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=printing.MOST, help="How many at most.")] = 100,
    after: Annotated[str | None, typer.Option(help="Only those whose address comes after this one.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List accounts by e-mail address; with --q those that fit, by address first, then by name."""
    from orderkit.auth import directory
    from orderkit.errors import Invalid

    if q and after is not None:
        raise Invalid("--q and --after do not go together; ask for more with --limit")
    start = None if after is None else directory.Position("email", after.lower(), directory.NOBODY)
    with opened_database() as database, database.reading() as session:
        found, more = directory.page(session.connection(), limit=limit, q=q.strip(), after=start)
    rows = [(one.email, one.name, one.role, _state(one), one.id, _instant(one.created_at)) for one in found]
    printing.table(("email", "name", "role", "state", "id", "created_at"), rows, json_=json_)
    if more is not None and not json_:
        searched, last = shlex.quote(q), shlex.quote(found[-1].email if found else "")
        rest = f"--q={searched} --limit {printing.more_than(limit)}" if q else f"--after={last}"
        typer.echo(f"more may follow: orderkit users list {rest}", err=True)


@app.command(epilog="Example: orderkit users show ada@example.com")
def show(email: Email, json_: Json = False) -> None:
    """Show an account and what it may do."""
    from dataclasses import asdict

    from orderkit.auth import directory, permissions

    with opened_database() as database, database.reading() as session:
        found = directory.get(session.connection(), _id(database, email))
        allowed = sorted(permissions.of_role(session.connection(), found.role))
    if json_:
        printing.as_json(asdict(found) | {"permissions": allowed})
        return
    for name, value in asdict(found).items():
        typer.echo(f"{name:13}{_instant(value) if name.endswith('_at') else value or ''}".rstrip())
    typer.echo(f"{'permissions':13}{', '.join(allowed)}".rstrip())


@app.command(epilog="Example: orderkit users grant ada@example.com support")
def grant(
    email: Email, role: Annotated[str, typer.Argument(help="A role, as `orderkit roles list` shows it.")]
) -> None:
    """Give an account another role; it counts from their next request on."""
    _change(email, role=role)
    typer.echo(f"{email} has the role {role}")


@app.command(epilog="Example: orderkit users ban mallory@example.com")
def ban(email: Email) -> None:
    """Ban an account: all its sessions end, and it cannot log in."""
    _change(email, banned=True)
    typer.echo(f"{email} is banned")


@app.command(epilog="Example: orderkit users unban mallory@example.com")
def unban(email: Email) -> None:
    """Let a banned account log in again."""
    _change(email, banned=False)
    typer.echo(f"{email} is no longer banned")


@app.command("permissions", epilog="Example: orderkit users permissions ada@example.com")
def permissions_(email: Email, json_: Json = False) -> None:
    """Show what an account may do, by its role, besides handling its own orders."""
    from orderkit.auth import directory, permissions

    with opened_database() as database, database.reading() as session:
        role = directory.get(session.connection(), _id(database, email)).role
        allowed = sorted(permissions.of_role(session.connection(), role))
    rows = [(one, permissions.PERMISSIONS[one]) for one in allowed]
    if not rows and not json_:
        typer.echo(f"{role}: nothing but what every account may", err=True)
        return
    printing.table(("permission", "description"), rows, json_=json_)


@app.command(epilog="Example: orderkit users delete ada@example.com --yes")
def delete(
    email: Email, yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether that is meant.")] = False
) -> None:
    """Delete an account and what says whose it was; its orders stay. This cannot be undone."""
    from orderkit.auth import moderation
    from orderkit.orders import erasure

    with opened_database() as database:
        user_id = _id(database, email)
        require_meant(yes, f"Delete {email} for good?", "this cannot be undone")
        with database.transaction() as session:
            moderation.delete(session.connection(), acting(), user_id, by=None)
            erasure.erase(session.connection(), user_id)
        _warn(database)
    typer.echo(f"deleted {email}; an order that is still to be shipped keeps its address until it is, or is cancelled")


@app.command(epilog="Example: orderkit users password ada@example.com --password-stdin < password.txt")
def password(email: Email, password_stdin: FromStdin = False) -> None:
    """Set a new password and end all sessions.

    In a terminal it asks for it. An empty one, or no terminal, makes one up and prints it, this once.
    """
    from orderkit.auth import password_change

    with opened_database() as database:
        _id(database, email)  # before anybody types a password for nobody
        given = _password(from_stdin=password_stdin)
        new = given or _generated()
        password_change.set_new(database, acting(), email, new)
    typer.echo(f"{email} has a new password, and all sessions ended")
    if not given:
        typer.echo(f"password: {new}  (shown this once)")


def _change(email: str, *, role: str | None = None, banned: bool | None = None) -> None:
    from orderkit.auth import moderation

    with opened_database() as database:
        user_id = _id(database, email)
        with database.transaction() as session:
            moderation.change(session.connection(), acting(), user_id, by=None, role=role, banned=banned)
        _warn(database)


def _warn(database: Database) -> None:
    from orderkit.auth import moderation

    with database.reading() as session:
        if moderation.is_without_admin(session.connection()):
            typer.echo("no admin is left who can log in; make one: orderkit users create EMAIL --admin", err=True)


def _id(database: Database, email: str) -> UUID:
    from orderkit.auth import accounts
    from orderkit.errors import NotFound

    found = accounts.find_by_email(database, email)
    if found is None or found.deleted_at:
        raise NotFound(f"there is no user {email}; see: orderkit users list --q={shlex.quote(email[:3])}")
    return found.id


def _state(one: Account) -> str:
    return "banned" if one.banned else "verified" if one.verified else ""


def _instant(at: object) -> str:
    from datetime import datetime

    return f"{at:%Y-%m-%dT%H:%M:%SZ}" if isinstance(at, datetime) else ""
