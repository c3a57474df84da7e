"""`orderkit doctor`."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from orderkit.cli import printing
from orderkit.cli.main import DOES_NOT_HOLD

if TYPE_CHECKING:
    from orderkit.doctor.findings import Finding

app = typer.Typer()

MARKS = {"fine": "✓", "warning": "!", "wrong": "✗", "not checked": "·"}
COLOURS = {"fine": "32", "warning": "33", "wrong": "31"}
MIN_WIDTH = 60


@app.command(epilog="Example: orderkit doctor && orderkit serve")
def doctor(json_: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False) -> None:
    """Say what is wrong with this installation, and what to do.

    Changes nothing, and works with wrong settings and without a database too. Exit code 1 if something is wrong (✗); what
    only should not be so (!) does not count.
    """
    from orderkit.doctor.examining import examine
    from orderkit.doctor.findings import Verdict

    found = list(examine())
    if json_:
        rows = [(one.check, str(one.verdict), one.found, one.remedy) for one in found]
        printing.table(("check", "verdict", "found", "remedy"), rows, json_=True)
    elif printing.in_terminal():
        _show(found)
    else:
        _table(found)
    if any(one.verdict == Verdict.WRONG for one in found):
        raise typer.Exit(DOES_NOT_HOLD)


def _table(found: Sequence[Finding]) -> None:
    marked = [(MARKS[one.verdict], one.check, one.found, one.remedy) for one in found]
    printing.table(("", "check", "found", "what to do"), marked)


def _show(found: Sequence[Finding]) -> None:
    """One below the other, with what to do below that which is wrong: side by side they would not fit into a terminal."""
    width = max(MIN_WIDTH, shutil.get_terminal_size().columns)
    names = max(len(one.check) for one in found)
    indent = " " * (names + 4)
    for one in found:
        colour = COLOURS.get(one.verdict)
        mark = f"\033[{colour}m{MARKS[one.verdict]}\033[0m" if colour else MARKS[one.verdict]
        lines = _wrapped(one.found, width - len(indent))
        lines += [
            f"→ {line}" if n == 0 else f"  {line}"
            for n, line in enumerate(_wrapped(one.remedy, width - len(indent) - 2))
        ]
        typer.echo(f"{mark} {one.check:{names}}  {lines[0]}")
        for line in lines[1:]:
            typer.echo(f"{indent}{line}")


def _wrapped(told: str, width: int) -> list[str]:
    """Between words alone: what is to be copied stays whole."""
    return textwrap.wrap(told, width, break_long_words=False, break_on_hyphens=False)
