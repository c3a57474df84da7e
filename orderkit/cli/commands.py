"""`orderkit commands`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orderkit.cli import printing

app = typer.Typer()


@app.command(epilog="Example: orderkit commands -o docs/cli.md")
def commands(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it here instead of to stdout.")] = None,
) -> None:
    """Print, as Markdown, what every command takes, with an example and its exit codes.

    Needs no database.
    """
    from orderkit.cli import cli_page

    printing.write(cli_page.text(), output)
