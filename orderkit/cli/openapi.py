"""`orderkit openapi`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from orderkit.cli import printing

app = typer.Typer()


YAML = (".yaml", ".yml")


@app.command(epilog="Example: orderkit openapi -o docs/openapi.yaml · orderkit openapi --errors -o docs/errors.md")
def openapi(
    errors: Annotated[
        bool, typer.Option("--errors", help="Print instead, as Markdown, what each problem code means and what to do.")
    ] = False,
    postman: Annotated[
        bool, typer.Option("--postman", help="Print instead a collection for Postman, made of the document.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write it here instead of to stdout; as YAML if it is called *.yaml."),
    ] = None,
) -> None:
    """Print the OpenAPI document of the HTTP API.

    Needs no database.
    """
    from orderkit.errors import Invalid

    if errors and postman:
        raise Invalid("--errors and --postman are two things; ask for one at a time")
    if errors:
        text = _errors()
    elif postman:
        text = _postman()
    else:
        text = _yaml() if output is not None and output.suffix.lower() in YAML else _json(_document())
    printing.write(text, output)


def _document() -> dict[str, Any]:
    from orderkit.app import create_app
    from orderkit.settings import load_settings

    return create_app(load_settings()).openapi()


def _json(value: Any) -> str:
    import json

    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _yaml() -> str:
    from orderkit import yaml_text

    return yaml_text.text(_document())


def _postman() -> str:
    from orderkit.cli import postman

    return _json(postman.collection(_document()))


def _errors() -> str:
    from orderkit.cli import errors_page

    return errors_page.text()
