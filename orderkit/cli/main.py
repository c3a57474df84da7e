"""`orderkit`: which commands there are. Each is a module that is imported when it is used, and not to list it.

SQLModel, FastAPI and Huey take seconds to import; `--help` takes none of them.
"""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "Show the whole story on this machine: orders, duplicates, failures, and that the counts agree."),
    "serve": ("serve", "Serve the HTTP API."),
    "worker": ("worker", "Ship paid orders and settle what is open, in the background."),
    "simulate": (
        "simulate",
        "Play payment provider and carrier, with a ledger of what they took and failures on demand.",
    ),
    "migrate": ("migrate", "Bring the database to the schema of this version."),
    "seed": ("seed", "Fill the database with a believable past."),
    "import": ("import_", "Bring in what happened elsewhere."),
    "orders": ("orders", "Find orders and look after them."),
    "dead-letters": ("dead_letters", "See, retry and discard what could not be shipped."),
    "report": ("report", "See what was sold, to whom, and what became of the orders."),
    "stock": ("stock", "See what is left and why, and record receipts and adjustments."),
    "users": ("users", "Make, find, ban and delete accounts, and give them roles."),
    "roles": ("roles", "See and change what each role may do, and see who changed it."),
    "keys": ("keys", "Replace the keys that sign access tokens."),
    "logs": ("logs", "Follow one order through the logs of all processes, or find lines by what they say."),
    "explain": ("explain", "Show which index serves each query, and what it would cost without."),
    "system": ("system", "See what waits to be done and for how long, and what is measured."),
    "commands": ("commands", "Print, as Markdown, what every command takes, with an example and its exit codes."),
    "openapi": ("openapi", "Print the OpenAPI document of the HTTP API."),
    "config": ("config", "Show and check the configuration."),
    "doctor": ("doctor", "Say what is wrong with this installation, and what to do."),
    "print-pack": ("print_pack", "Make the pages and the PDF to show orderkit by, from what it shows when it runs."),
    "version": ("version", "Print the version."),
}
"""Name: module under `orderkit.cli`, whose `app` it is, and the first line of its help. A test compares the two."""

LONGEST_BOUND = 10**9

OK, DOES_NOT_HOLD, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


class _Commands(TyperGroup):
    """Knows the commands by name and one line; imports one when it is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, (_module, line) in COMMANDS.items():
            self.add_command(TyperCommand(name, help=line, rich_markup_mode=self.rich_markup_mode))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, listed, rest = super().resolve_command(ctx, args)
        return name, listed and load(str(name)), rest


def load(name: str) -> Any:
    """The command `name`, imported."""
    command = typer.main.get_command(import_module(f"orderkit.cli.{COMMANDS[name][0]}").app)
    command.name = name
    # Completion is installed for the whole of orderkit, not for a command of it.
    command.params = [one for one in command.params if one.name not in ("install_completion", "show_completion")]
    _mark_up(command)
    _take_whole_numbers_only(command)
    return command


def _take_whole_numbers_only(command: Any) -> None:
    """Has every integer be written in digits: Typer would take 5.0, 1_0 and the digits of any script."""
    for one in command.params:
        told = one.type_descriptor
        if told.annotation is int and told.parameter_info.parser is None:
            one.process_value = _whole(one)
    for one in getattr(command, "commands", {}).values():
        _take_whole_numbers_only(one)


def _whole(param: Any) -> Any:
    process = param.process_value

    def checked(ctx: Any, value: Any) -> Any:
        if isinstance(value, str) and not re.fullmatch(r"[-+]?[0-9]+", value):
            raise typer.BadParameter(f"{value} is not a whole number, written in digits", ctx=ctx, param=param)
        return process(ctx, value)

    return checked


def _mark_up(command: Any) -> None:
    # Markdown, because rich's own markup takes [square brackets] out of a text.
    command.rich_markup_mode = "markdown"
    for one in command.get_params(typer.Context(command)):
        _describe_briefly(one)
    for one in getattr(command, "commands", {}).values():
        _mark_up(one)


def _describe_briefly(param: Any) -> None:
    """Leaves out of the help that a flag is true or false, and bounds that are only those of a column, too long for a line."""
    if getattr(param, "is_flag", False):
        param.metavar = ""
    if max(abs(getattr(param, name, None) or 0) for name in ("min", "max")) > LONGEST_BOUND:
        param._get_number_range_help_str = lambda: None


def _say_version(wanted: bool) -> None:
    if wanted:
        from orderkit.cli.version import version

        version()
        raise typer.Exit


app = typer.Typer(cls=_Commands, add_completion=True, rich_markup_mode="markdown")


@app.callback(epilog="Example: orderkit demo · what each command takes: orderkit COMMAND --help")
def _orderkit(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_say_version)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a stack trace when something fails.")] = False,
) -> None:
    """An order backend that never loses, doubles, overcharges or oversells an order."""


def main() -> None:
    """Runs the command line and exits: 0 fine, 1 what was checked or wanted does not hold, 2 wrong use."""
    # Until a command sets up its logs: warnings only, on stderr, and no values in a traceback. Read when loguru is imported.
    for name, value in {
        "LEVEL": "WARNING",
        "FORMAT": "{level}: {message}",
        "DIAGNOSE": "NO",
        "BACKTRACE": "NO",
    }.items():
        os.environ.setdefault(f"LOGURU_{name}", value)
    arguments = sys.argv[1:] or ["--help"]
    try:
        command = typer.main.get_command(app)
        _mark_up(command)
        status = command.main(arguments, "orderkit", standalone_mode=False)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except Exception as error:
        if "--debug" in arguments[: _position_of_command(arguments)]:
            raise
        from orderkit.cli import failures

        line, status = failures.explain(error)
        if line:
            print(line, file=sys.stderr)  # noqa: T201 - this is how a command speaks
    sys.exit(status if isinstance(status, int) else OK)


def _position_of_command(arguments: list[str]) -> int:
    return next((n for n, one in enumerate(arguments) if not one.startswith("-")), len(arguments))
