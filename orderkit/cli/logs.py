"""`orderkit logs`."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from orderkit.cli import printing
from orderkit.cli.main import DOES_NOT_HOLD

if TYPE_CHECKING:
    from orderkit.observability import journey

app = typer.Typer()

ALL = "all"


@app.command(
    epilog="Example: orderkit logs 01a1ff1e-5e66-735f-ad12-83b0ad94d44b api.log worker.log simulator.log · "
    "orderkit logs all api.log --where 'status>=500' --count route"
)
def logs(
    wanted: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Of an order or its number; of a request, trace, payment, fulfillment, refund or dead letter; or `all`.",
        ),
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
    payment provider and carrier, in order of time. Exit code 1: nothing was found, and stderr says why.
    """
    from orderkit.cli import log_lines
    from orderkit.errors import Invalid
    from orderkit.observability import journey

    conditions = [journey.Condition.parse(one) for one in where or []]
    if not files and sys.stdin.isatty():
        raise Invalid("name files with logs, or pipe logs in, as in: docker compose logs | orderkit logs ID")
    with ExitStack() as stack:
        sources = [_opened(stack, path) for path in files or [Path("-")]]

        def read() -> Iterator[str]:
            for source in sources:
                source.seek(0)
                yield from source

        whole = journey.parsed(read()) if wanted == ALL else journey.of(read, wanted)
        found = journey.meeting(whole, conditions)
        if count is not None:
            counted = journey.counted(found, count)[:limit]
            printing.table([count, "lines"], counted, json_=json_)
            some = bool(counted)
        else:
            lines = _first(found, sort, limit)
            if json_:
                printing.as_json(lines)
            elif lines:
                named = [one.name for one in conditions] if sort is None else [sort, *(one.name for one in conditions)]
                log_lines.show(lines, named, journey=wanted != ALL)
            some = bool(lines)
        if not some:
            of_it = 0 if isinstance(whole, Iterator) else len(whole)
            typer.echo(_why_nothing(read, wanted, of_it, sort, where=bool(conditions)), err=True)
            raise typer.Exit(DOES_NOT_HOLD)


def _why_nothing(read: journey.Read, wanted: str, of_it: int, sort: str | None, *, where: bool) -> str:
    """Which of the reasons there may be it is, and what to do. `of_it` lines are about `wanted`."""
    from orderkit.observability import journey

    there = journey.extent(read)
    if not there.lines:
        return "these logs are empty: no line was written, or what was piped in said nothing"
    if not there.ours:
        return f"none of {there.lines:,} lines is one of orderkit's as JSON; were they written with ORDERKIT_LOG_FORMAT=json?"
    of = f"{there.ours:,} lines of {', '.join(there.processes)}, {there.first[:19]} to {there.last[:19]} UTC"
    if wanted == ALL or of_it:
        looked = f"{of_it:,} lines are about {wanted}, and" if of_it else f"of {of}"
        wants = [*(["meets every --where"] if where else []), *([f"has a number for {sort}"] if sort else [])]
        return f"{looked} none {' and '.join(wants)}; --count NAME shows which values a fact has"
    if others := journey.named_otherwise(read, wanted):
        name = others[0]
        return f"{wanted} is a {name}, which no journey is found by; try: orderkit logs all FILE… --where '{name}={wanted}'"
    hint = "; an order's id is told by: orderkit orders show NUMBER" if wanted.isdigit() else ""
    return f"nothing about {wanted} in {of}; name the logs of all processes and of that time{hint}"


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
