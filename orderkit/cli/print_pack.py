"""`orderkit print-pack`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from orderkit.cli.main import DOES_NOT_HOLD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orderkit.print_pack.evidence import Piece, Store
    from orderkit.print_pack.making import Made
    from orderkit.settings import Settings

app = typer.Typer()

DIRECTORY = Path("print-pack-built")


@app.command(epilog="Example: orderkit print-pack -o pack --allow-missing")
def print_pack(
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder to write; what it has of an older pack is replaced."
        ),
    ] = DIRECTORY,
    pdf_engine: Annotated[
        Literal["typst", "xelatex"], typer.Option(help="What sets the PDF; xelatex must be installed.")
    ] = "typst",
    collect: Annotated[
        bool, typer.Option("--collect", help="First make the evidence that is missing; that may take half an hour.")
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Exit 0 although pages lack evidence.")
    ] = False,
    from_: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Gather nothing; use the evidence of this pack, to build it again."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print as JSON what was made and what is missing.")] = False,
) -> None:
    """Make the pages and the PDF to show orderkit by, from what it shows when it runs.

    Gathers evidence (the API, the tables, plans, checks on a stack of its own), fills in every page, and says of each how
    many sheets it takes. A page that has no evidence says how to make it, and then the command exits 1.
    """
    from orderkit.print_pack import making
    from orderkit.print_pack.evidence import Store
    from orderkit.settings import load_settings

    making.require()
    settings = load_settings()
    store = Store.of(settings.home)
    failed = _collect(store) if collect else {}
    made = _make(_gather(settings, store) if from_ is None else making.evidence_in(from_), output, pdf_engine)
    _show(made, failed, json_=json_)
    if made.missing and not allow_missing:
        raise typer.Exit(DOES_NOT_HOLD)


def _collect(store: Store) -> dict[str, str]:
    """Makes what is missing; why some of it could not be made, by name."""
    from orderkit.print_pack import collecting
    from orderkit.print_pack.evidence import DEAR

    names = [name for name, command in DEAR.items() if command and store.find(name) is None]
    return collecting.collect(store, names, lambda name: typer.echo(f"making evidence: {name}", err=True))


def _gather(settings: Settings, store: Store) -> Mapping[str, Piece | None]:
    from orderkit.cli.progress import progress
    from orderkit.print_pack import gathering
    from orderkit.print_pack.checks import running
    from orderkit.print_pack.checks.table import CHECKS
    from orderkit.print_pack.evidence import HOW, stamped

    with progress("evidence", len(gathering.PIECES)) as each:
        for name, data in gathering.gather(settings, _commands(), each).items():
            store.keep(stamped(name, data))
    known = {name: store.find(name) for name in HOW}
    with progress("checks", len(CHECKS)) as each:
        checked = running.run(settings, evidence=known, each=lambda _name: each(1))
    return {**known, "checks": store.keep(stamped("checks", checked))}


def _make(evidence: Mapping[str, Piece | None], output: Path, engine: str) -> Made:
    from orderkit.cli.progress import progress
    from orderkit.print_pack import making
    from orderkit.print_pack.checks import context
    from orderkit.print_pack.filling import Pack

    pack = Pack(evidence, context())
    with progress("pages", making.count_pages()) as each:
        return making.make(pack, output, making.drawings(), engine=engine, each=each)


def _show(made: Made, failed: Mapping[str, str], *, json_: bool) -> None:
    from orderkit.cli import printing
    from orderkit.print_pack.building import PDF
    from orderkit.print_pack.evidence import HOW

    rows = [(one.file, one.pages, _fits(one.pages, one_page=one.one_page)) for one in made.printed]
    if json_:
        told = [
            {"artifact": one.file, "pages": one.pages, "first": one.first, "fits": one.fits} for one in made.printed
        ]
        missing = {name: {"command": HOW[name], "why": failed.get(name, "")} for name in made.missing}
        printing.as_json({"pdf": str(made.folder / PDF), "pages": made.sheets, "artifacts": told, "missing": missing})
        return
    if rows:
        printing.table(("artifact", "pages", ""), rows)
    typer.echo(f"\n{made.folder / PDF}" + (f": {made.sheets} pages" if made.sheets else ""))
    if made.missing:
        typer.echo("\nno evidence yet:", err=True)
        for name in made.missing:
            why = f" (tried: {failed[name]})" if name in failed else ""
            typer.echo(f"  {name}: {HOW[name] or 'this version has no command that makes it'}{why}", err=True)


def _fits(pages: int, *, one_page: bool) -> str:
    if not one_page:
        return ""
    return "fits 1 page" if pages == 1 else f"{pages} pages (1 was meant)"


def _commands() -> list[dict[str, Any]]:
    """The tree of the command line: each command's name, what it does, and its own commands."""
    from orderkit.cli.main import COMMANDS, load

    return [
        {
            "name": name,
            "does": line,
            "commands": [
                {"name": sub, "does": (one.help or "").splitlines()[0]}
                for sub, one in sorted(getattr(load(name), "commands", {}).items())
            ],
        }
        for name, (_module, line) in COMMANDS.items()
    ]
