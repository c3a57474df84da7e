"""`orderkit openapi`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command(epilog="Example: orderkit openapi -o openapi.json")
def openapi(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it here instead of to stdout.")] = None,
) -> None:
    """Print the OpenAPI document of the HTTP API.

    Needs no database.
    """
    import json

    from orderkit.app import create_app
    from orderkit.errors import Invalid
    from orderkit.settings import load_settings

    document = json.dumps(create_app(load_settings()).openapi(), indent=2, ensure_ascii=False) + "\n"
    if output is None:
        typer.echo(document, nl=False)
        return
    try:
        output.write_text(document, encoding="utf-8")
    except OSError as error:
        raise Invalid(f"cannot write {output}: {error.strerror}") from None
