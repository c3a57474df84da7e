"""`orderkit config`: what is set, by what, and whether it will do. Secrets are never printed."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

    from orderkit.settings import Settings

app = typer.Typer(invoke_without_command=True)

ENV_EXAMPLE_HEAD = """\
# Every setting of orderkit with its default. Copy this file to .env and change what you need, or set environment
# variables of the same names, which win. `orderkit config show` says what is in effect.
#
# Written by: orderkit config env-example -o .env.example
"""

NOT_SHOWN = "(set, not shown)"
_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+]*)://(?:[^/?#]*@)?(?P<host>(?:[\w.,-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?)"
    r"(?P<path>(?:/[^?#@]*)?)(?:\?[^@]*)?"
)
"""What is shown of a URL is scheme, host, port and path. User, password and query are dropped; where a stray / ? # or @ leaves
in doubt what they are, so is all of it."""


class Described(NamedTuple):
    """One setting. `value` is text, as it was written; of a URL, where it leads; `source` is environment, .env or default."""

    name: str
    value: str
    source: str
    description: str


@app.callback(epilog="Example: orderkit config show · orderkit config check")
def config(ctx: typer.Context) -> None:
    """Show and check the configuration."""
    if ctx.invoked_subcommand is None:
        show(json_=False)


@app.command(epilog="Example: orderkit config show --json")
def show(json_: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False) -> None:
    """Show every setting, its value, and where that comes from.

    Works with a wrong configuration too, and then says what is wrong.
    """
    from orderkit.cli import printing
    from orderkit.settings import load_settings

    printing.table(Described._fields, describe(), json_=json_)
    load_settings()


@app.command(epilog="Example: orderkit config check && orderkit serve")
def check() -> None:
    """Check the configuration; exit code 2 and one line that names everything wrong with it."""
    from orderkit.settings import load_settings

    settings = load_settings()
    for note in _notes(settings):
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"fine: {settings.env}, {settings.gateway} gateway, {settings.carrier_name} carrier")


def _notes(settings: Settings) -> Iterator[str]:
    """What production can do without, and seldom should."""
    from orderkit.doctor import production

    if settings.env == "production" and settings.mail_url is None:
        yield "ORDERKIT_MAIL_URL is unset: mails, reset links among them, become files in ORDERKIT_HOME/outbox"
    if settings.links_lead_nowhere:
        yield f"ORDERKIT_PUBLIC_URL is {settings.public_url}: links in mails lead there"
    yield from (told for told, _remedy in production.notes(settings))


@app.command(epilog="Example: orderkit config env-example -o .env.example")
def env_example(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it here instead of to stdout.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Print a `.env` with every setting, its default and what it means."""
    from orderkit.errors import Invalid

    if output is None:
        typer.echo(env_example_text(), nl=False)
        return
    try:
        with output.open("w" if force else "x", encoding="utf-8") as file:
            file.write(env_example_text())
    except FileExistsError:
        raise Invalid(f"{output} is there already; --force writes over it") from None
    except OSError as error:
        raise Invalid(f"cannot write {output}: {error.strerror}") from None


@app.command(epilog="Example: orderkit config docs -o docs/configuration.md")
def docs(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it here instead of to stdout.")] = None,
) -> None:
    """Print, as Markdown, what every setting is for, its bounds, and which process reads it.

    Says nothing of the configuration that there is.
    """
    from orderkit.cli import printing, settings_page

    printing.write(settings_page.text(), output)


def describe() -> list[Described]:
    """All settings as they are now, read without checking them."""
    from orderkit.settings import PREFIX, Settings, read_env_file

    environment = {name.upper(): value for name, value in os.environ.items()}
    file = {name.upper(): value for name, value in read_env_file().values.items()}
    found = []
    for name, field in Settings.model_fields.items():
        variable = PREFIX + name.upper()
        if variable in environment:
            value, source = environment[variable], "environment"
        elif variable in file:
            value, source = file[variable] or "", ".env"
        else:
            value, source = default(field), "default"
        found.append(
            Described(
                variable, _without_secrets(value, field, is_url=name.endswith("_url")), source, field.description or ""
            )
        )
    return found


def env_example_text() -> str:
    """The content of `.env.example`."""
    from orderkit.settings import PREFIX, Settings

    parts = [ENV_EXAMPLE_HEAD]
    for name, field in Settings.model_fields.items():
        values = choices(field.annotation)
        told = f"{field.description} One of: {', '.join(values)}." if values else str(field.description)
        comment = textwrap.indent(textwrap.fill(told, 116, break_on_hyphens=False), "# ")
        parts.append(f"{comment}\n#{PREFIX}{name.upper()}={default(field)}\n")
    return "\n".join(parts)


def default(field: FieldInfo) -> str:
    """A default as it is written in the environment; nothing where there is none."""
    value = field.default
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value)


def choices(annotation: Any) -> list[str]:
    """The values of a Literal, also of one that may be None."""
    values = [one for part in get_args(annotation) for one in (get_args(part) or (part,))]
    return [one for one in values if isinstance(one, str)]


def _without_secrets(value: str, field: FieldInfo, *, is_url: bool) -> str:
    if "SecretStr" in str(field.annotation):
        return NOT_SHOWN if value else ""
    if not value or not (is_url or "://" in value):
        return value
    found = _URL.fullmatch(value)
    return f"{found['scheme']}://{found['host']}{found['path']}" if found else NOT_SHOWN
