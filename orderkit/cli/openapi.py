"""`orderkit openapi`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orderkit.cli import printing

app = typer.Typer()


@app.command(epilog="Example: orderkit openapi -o openapi.json · orderkit openapi --errors -o docs/errors.md")
def openapi(
    errors: Annotated[
        bool, typer.Option("--errors", help="Print instead, as Markdown, what each problem code means and what to do.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it here instead of to stdout.")] = None,
) -> None:
    """Print the OpenAPI document of the HTTP API.

    Needs no database.
    """

    printing.write(_errors() if errors else _document(), output)


def _document() -> str:
    import json

    from orderkit.app import create_app
    from orderkit.settings import load_settings

    return json.dumps(create_app(load_settings()).openapi(), indent=2, ensure_ascii=False) + "\n"


def _errors() -> str:
    from orderkit.cli import errors_page

    return errors_page.text()
