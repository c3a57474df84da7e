"""`orderkit logs`."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from orderkit.cli import printing
from orderkit.cli.main import DOES_NOT_HOLD

app = typer.Typer()

ALL = "all"
_COLUMNS = ("at", "after_ms", "process", "what", "attempt", "ms", "more")
_QUIET = ("INFO", "DEBUG", None)
_MORE = ("detail", "code", "provider", "key", "user_id", "request_id")


@app.command(
    epilog="Example: orderkit logs 01a1ff1e-5e66-735f-ad12-83b0ad94d44b api.log worker.log simulator.log · "
    "orderkit logs all api.log --where 'status>=500' --count route"
)
def logs(
    wanted: Annotated[
        str, typer.Argument(metavar="ID", help="An order, a request or a trace; or the word `all`, for every line.")
    ],
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE…", help="Logs as JSON; - or none: stdin.", show_default=False)
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="Only lines that say so: 'status>=500', 'route=/orders', 'outcome!=captured', 'message~text'."
        ),
    ] = None,
    count: Annotated[str | None, typer.Option(help="How many lines there are for each value of a fact.")] = None,
    sort: Annotated[str | None, typer.Option(help="The highest of a fact first, instead of by time.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=printing.MOST, help="How many at most.")] = 1000,
    json_: Annotated[bool, typer.Option("--json", help="The lines as they were written, as JSON.")] = False,
) -> None:
    """Follow one order through the logs of all processes, or find lines by what they say.

    Logs must have been written with ORDERKIT_LOG_FORMAT=json. An order's journey has all that was done for it by API, worker,
    payment provider and carrier, in order of time. Exit code 1: nothing was found.
    """
    from orderkit.observability import journey

    conditions = [journey.Condition.parse(one) for one in where or []]
    with ExitStack() as stack:
        sources = [_opened(stack, path) for path in files or [Path("-")]]

        def read() -> Iterator[str]:
            for source in sources:
                source.seek(0)
                yield from source

        found = journey.search(read, conditions) if wanted == ALL else journey.of(read, wanted, conditions)
        if count is not None:
            counted = journey.counted(found, count)[:limit]
            printing.table([count, "lines"], counted, json_=json_)
            some = bool(counted)
        else:
            lines = _first(found, sort, limit)
            if json_:
                printing.as_json(lines)
            elif lines:
                _show(lines)
            some = bool(lines)
    if not some:
        if not json_:
            typer.echo(
                f"nothing about {wanted} in these logs; were they written with ORDERKIT_LOG_FORMAT=json?", err=True
            )
        raise typer.Exit(DOES_NOT_HOLD)


def _first(lines: Iterable[dict[str, Any]], highest: str | None, limit: int) -> list[dict[str, Any]]:
    """The first of them in time, or those where a fact is highest; no more are kept in memory."""
    if highest is None:
        return heapq.nsmallest(limit, lines, key=lambda line: str(line["at"]))
    told = (line for line in lines if isinstance(line.get(highest), int | float))
    return heapq.nlargest(limit, told, key=lambda line: float(line[highest]))


def _kept(stack: ExitStack, passing: IO[str]) -> IO[str]:
    import shutil
    import tempfile

    kept = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))  # noqa: SIM115
    shutil.copyfileobj(passing, kept)
    return kept


def _opened(stack: ExitStack, path: Path) -> IO[str]:
    """A log that can be read again. What comes on stdin or through a pipe cannot, and is kept in a file that has no name."""
    from orderkit.errors import ConfigurationError

    if str(path) == "-":
        return _kept(stack, sys.stdin)
    try:
        file = stack.enter_context(path.open(encoding="utf-8", errors="replace"))
        return file if file.seekable() else _kept(stack, file)
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {path} ({error.strerror}); name files with logs, or - for stdin"
        ) from None


def _show(lines: list[dict[str, Any]]) -> None:
    from orderkit.observability.logs import on_one_line

    times = [datetime.fromisoformat(str(line["at"])) for line in lines]
    first = min(times)
    rows = [
        tuple(
            on_one_line(str(cell))  # what a caller was quoted with is not for the terminal to obey
            for cell in (
                f"{at:%H:%M:%S.%f}"[:-3],
                f"{(at - first).total_seconds() * 1000:.0f}",
                line.get("process", ""),
                line["message"] if line.get("level") in _QUIET else f"{line['level']} {line['message']}",
                line.get("attempt", ""),
                line.get("ms", ""),
                " ".join(f"{name}={line[name]}" for name in _MORE if line.get(name) is not None),
            )
        )
        for at, line in zip(times, lines, strict=True)
    ]
    printing.table(_COLUMNS, rows)
