"""The page of all commands, made of the commands as they are declared."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

import typer

from orderkit.cli import main

HEAD = """\
# The command line

`orderkit COMMAND --help` says the same in the terminal, and `orderkit --install-completion` has the shell complete it.

- What a command works on, it finds in [the settings](configuration.md): which database, which queue. No option repeats them.
- Results are on stdout; questions, progress and errors on stderr. A table is for people, and plain columns where stdout is no
  terminal; `--json` prints it for programs. Money is in minor units, times are UTC.
- An error is one line that says what to do next. `orderkit --debug COMMAND …` shows the trace besides.
- What cannot be undone asks first, and takes `--yes` where nobody can be asked.

Written by: `orderkit commands -o docs/cli.md`
"""

EXIT_CODES = {
    main.OK: "done, and what was checked holds",
    main.DOES_NOT_HOLD: "it could not be done, or what was checked does not hold; stderr says what",
    main.WRONG_USE: "wrong use: an option, an argument, a setting, or a database that is not migrated; nothing was begun",
    main.INTERRUPTED: "interrupted by Ctrl-C",
}

DOES_NOT_HOLD = {
    "demo": "customers, database and provider do not count the same, or a process of it died",
    "serve": "the database does not answer, or not all was answered within 28 s of SIGTERM",
    "worker": "database or Redis do not answer at its start, its loop died, or it had not ended within 28 s of SIGTERM",
    "migrate": "with `--check`: the schema is not that of this version",
    "logs": "nothing was found",
    "explain": "a query is not answered as it must be: not by its index, for one",
    "doctor": "something is wrong",
}
"""What exit code 1 means of a command that checks something or serves; of others it is that it could not be done."""


def text() -> str:
    """The page."""
    commands = [(name, main.load(name)) for name in main.COMMANDS]
    parts = [HEAD, *_exit_codes(), "", "## Commands", "", *_overview(commands)]
    for name, command in commands:
        parts += ["", *_section(name, command, "##")]
        for inner, one in getattr(command, "commands", {}).items():
            parts += ["", *_section(f"{name} {inner}", one, "###")]
    return "\n".join((*parts, ""))


def examples(command: Any) -> list[str]:
    """Lines for a shell, from the end of the command's help."""
    told: str = command.epilog or ""
    return re.split(r"\\\n| · ", told.removeprefix("Example: ").removeprefix("Examples:\\\n"))


def _exit_codes() -> Iterator[str]:
    yield "| exit code | |"
    yield "| --- | --- |"
    for code, told in EXIT_CODES.items():
        yield f"| {code} | {told} |"


def _overview(commands: list[tuple[str, Any]]) -> Iterator[str]:
    yield "| command | |"
    yield "| --- | --- |"
    for name, command in commands:
        for typed in [f"{name} {inner}" for inner in getattr(command, "commands", {})] or [name]:
            one = getattr(command, "commands", {}).get(typed.partition(" ")[2], command)
            yield f"| [`orderkit {typed}`](#orderkit-{typed.replace(' ', '-')}) | {_cell(_first_line(one))} |"


def _section(typed: str, command: Any, heading: str) -> Iterator[str]:
    yield f"{heading} orderkit {typed}"
    yield ""
    yield command.help.strip()
    is_group = hasattr(command, "commands")
    if is_group and not command.params:
        return
    yield ""
    yield "```"
    yield _usage(typed, command, is_group=is_group)
    yield "```"
    if command.params:
        yield ""
        yield "| | | default |"
        yield "| --- | --- | --- |"
        yield from map(_row, command.params)
    if not is_group:
        yield ""
        yield from ("For example:", "", "```sh", *examples(command), "```")
    if typed in DOES_NOT_HOLD:
        yield ""
        yield f"Exit code 1: {DOES_NOT_HOLD[typed]}."


def _usage(typed: str, command: Any, *, is_group: bool) -> str:
    taken = ["[OPTIONS]"] if any(one.param_type_name == "option" for one in command.params) else []
    for one in command.params:
        if one.param_type_name == "argument":
            shown = _metavar(one) + ("..." if one.nargs == -1 else "")
            taken.append(shown if one.required else f"[{shown}]")
    return " ".join(("orderkit", typed, *taken, *(["COMMAND"] if is_group else [])))


def _row(param: Any) -> str:
    if param.param_type_name == "argument":
        shown = f"`{_metavar(param)}`"
    else:
        value = "" if param.is_flag else f" {_metavar(param)}"
        shown = ", ".join(f"`{one}`" for one in (*param.opts, *param.secondary_opts))
        shown = f"{shown[:-1]}{value}`"
    return f"| {shown} | {_cell(_told(param))} | {_default(param)} |"


def _told(param: Any) -> str:
    told = [param.help]
    if values := _values(param):
        told.append("One of " + ", ".join(f"`{one}`" for one in values) + ".")
    least, most = getattr(param, "min", None), getattr(param, "max", None)
    most = None if most is not None and most > main.LONGEST_BOUND else most
    if least is not None and most is not None:
        told.append(f"From {least:,} to {most:,}.")
    elif least is not None and least > 0:
        told.append(f"{least:,} or more.")
    return " ".join(told)


def _values(param: Any) -> list[str]:
    kind = param.type_descriptor.annotation
    return [str(one.value) for one in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []


def _metavar(param: Any) -> str:
    if param.metavar:
        return str(param.metavar)
    if param.param_type_name == "argument":
        return str(param.name).strip("_").upper()
    kind = param.type_descriptor.annotation
    return {"int": "N", "Path": "FILE"}.get(getattr(kind, "__name__", ""), "VALUE" if _values(param) else "TEXT")


def _default(param: Any) -> str:
    if param.param_type_name == "argument" and param.required:
        return "required"
    if isinstance(param.show_default, str):
        return param.show_default
    value = param.default
    if getattr(param, "is_flag", False) or value is None or value == "" or callable(value):
        return ""
    return f"`{value.value if isinstance(value, Enum) else value}`"


def _first_line(command: typer.core.TyperCommand) -> str:
    return (command.help or "").strip().splitlines()[0]


def _cell(told: str) -> str:
    return " ".join(told.replace("|", "\\|").split())
