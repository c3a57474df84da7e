"""`orderkit doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from orderkit.cli.main import DOES_NOT_HOLD

app = typer.Typer()

MARKS = {"fine": "✓", "warning": "!", "wrong": "✗", "not checked": "·"}


@app.command(epilog="Example: orderkit doctor && orderkit serve")
def doctor(json_: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False) -> None:
    """Say what is wrong with this installation, and what to do.

    Changes nothing, and works with wrong settings and without a database too. Exit code 1 if something is wrong (✗); what
    only should not be so (!) does not count.
    """
    from orderkit.cli import printing
    from orderkit.doctor.examining import examine
    from orderkit.doctor.findings import Verdict

    found = list(examine())
    if json_:
        rows = [(one.check, str(one.verdict), one.found, one.remedy) for one in found]
        printing.table(("check", "verdict", "found", "remedy"), rows, json_=True)
    else:
        marked = [(MARKS[one.verdict], one.check, one.found, one.remedy) for one in found]
        printing.table(("", "check", "found", "what to do"), marked)
    if any(one.verdict == Verdict.WRONG for one in found):
        raise typer.Exit(DOES_NOT_HOLD)
