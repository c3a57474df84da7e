"""`orderkit demo`."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from orderkit.demo.narrating import Narrator
    from orderkit.demo.playing import Ending

app = typer.Typer()

ORDERS = 40


@app.command(epilog="Example: orderkit demo --exit --orders 200")
def demo(
    exit_: Annotated[bool, typer.Option("--exit", help="End once the counts are in, instead of staying up.")] = False,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the API; else a free one.")] = None,
    orders: Annotated[int, typer.Option(help="Orders to ask for in all.")] = ORDERS,
    json_: Annotated[bool, typer.Option("--json", help="Print nothing but the counts, as JSON.")] = False,
    record: Annotated[
        Path | None, typer.Option(help="Write what the terminal shows at the end to this file, as an SVG picture.")
    ] = None,
) -> None:
    """Show the whole story on this machine: orders, duplicates, failures, and that the counts agree.

    Starts API, worker and a simulator of payment provider and carrier on a SQLite database of their own, in a temporary
    folder that is removed at the end. Customers order, repeat themselves, are declined, run into timeouts and failures,
    and change their minds; staff refunds, and the carrier delivers. Exits 0 only when customers, database and provider
    count the same. Stays up for a browser until Ctrl-C, unless --exit.
    """
    from orderkit.demo import playing, script
    from orderkit.demo.processes import Died

    if not script.MIN_ORDERS <= orders <= script.MAX_ORDERS:
        raise typer.BadParameter(
            f"is not in the range {script.MIN_ORDERS}<=x<={script.MAX_ORDERS}", param_hint="--orders"
        )
    if record is not None:
        _make(record)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows no ✓ gets a ?
    console = _console()
    try:
        holds = playing.play(
            orders=orders,
            port=port,
            narrator=_narrator(console, json_=json_),
            show=lambda ending: _show(console, ending, stays=not exit_, json_=json_, record=record),
            leave=None if exit_ else lambda: typer.echo("\nstopping; all of it will be gone", err=True),
        )
    except playing.Interrupted as interruption:
        typer.echo("interrupted before the counts were in; everything was stopped and removed", err=True)
        raise typer.Exit(128 + interruption.number) from None
    except Died as error:
        typer.echo(f"error: {error.detail}; {'it said last:' if error.log else 'it said nothing'}", err=True)
        for line in error.log:
            typer.echo(f"  {line}", err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(0 if holds else 1)


def _make(record: Path) -> None:
    """Before anything else, so that a path that cannot be written stops here."""
    from orderkit.errors import Invalid

    try:
        record.touch()
    except OSError as error:
        raise Invalid(f"cannot write {record}: {error.strerror}") from None


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def _live(console: Console) -> bool:
    """Whether to draw: not into a pipe, nor where colour is unwanted or the terminal cannot."""
    return console.is_terminal and not console.is_dumb_terminal and not console.no_color


def _narrator(console: Console, *, json_: bool) -> Narrator:
    from orderkit.demo import narrating

    if json_:
        return narrating.Silent()
    return narrating.Screen(console) if _live(console) else narrating.Lines(console)


def _show(console: Console, ending: Ending, *, stays: bool, json_: bool, record: Path | None) -> None:
    from orderkit.demo import ending as endings

    if record is not None:
        record.write_text(endings.picture(ending), encoding="utf-8")
    if json_:
        from orderkit.cli import printing

        printing.as_json(endings.as_dict(ending))
        sys.stdout.flush()
        return
    endings.show(console, ending, told_already=not _live(console), stays=stays)
