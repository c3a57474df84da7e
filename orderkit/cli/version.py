"""`orderkit version`."""

from __future__ import annotations

from typing import Annotated

import typer

import orderkit
from orderkit.cli import printing

app = typer.Typer()


@app.command(epilog="Example: orderkit version")
def version(json_: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False) -> None:
    """Print the version."""
    if json_:
        printing.as_json({"orderkit": orderkit.__version__})
    else:
        typer.echo(f"orderkit {orderkit.__version__}")
