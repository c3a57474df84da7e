"""What commands print on stdout: tables for people, plain columns for pipes, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

PROSE_WIDTH = 24
"""Text that may be wrapped gets at least so many columns of a table."""


MOST = 10_000
"""Rows that a list shows at most."""


def more_than(limit: int) -> int:
    """What to ask for after a list that ended at `limit` rows."""
    return min(10 * limit, MOST)


def as_json(value: Any) -> None:
    """One JSON value; times, ids and paths as text."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def instant(at: datetime | None) -> str:
    """To the second, in UTC, as times are stored; nothing for None."""
    return "" if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"


def write(text: str, output: Path | None) -> None:
    """To a file as it is, or to stdout. Raises Invalid for a file that cannot be written."""
    from orderkit.errors import Invalid

    if output is None:
        sys.stdout.write(text)
        return
    try:
        with output.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
    except OSError as error:
        raise Invalid(f"cannot write {output}: {error.strerror}") from None


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, json_: bool = False) -> None:
    """Rows under their headings. With `json_` a JSON list of objects instead, with the headings as names."""
    if json_:
        as_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif in_terminal():
        _rich(columns, rows)
    else:
        _plain(columns, rows)


def in_terminal() -> bool:
    return sys.stdout.isatty()


def _plain(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    texts = [[_text(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(len(row[n]) for row in texts) for n in range(len(columns))]
    for row in texts:
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")


def _rich(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table where the terminal is wide enough for it, else one block for each row. Nothing is cut: ids are to be copied."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    texts = [[_text(cell) for cell in row] for row in rows]
    prose = [any(" " in row[n] for row in texts) for n in range(len(columns))]
    longest = [max(len(row[n]) for row in (columns, *texts)) for n in range(len(columns))]
    least = [min(width, PROSE_WIDTH) if wraps else width for width, wraps in zip(longest, prose, strict=True)]
    if sum(least) + 2 * (len(columns) - 1) <= console.width:
        shown = Table(box=None, header_style="bold", pad_edge=False)
        for column, wraps in zip(columns, prose, strict=True):
            shown.add_column(column, no_wrap=not wraps, overflow="fold")
        for row in texts:
            shown.add_row(*map(Text, row))  # Text: what is in it is no markup
        console.print(shown)
        return
    for number, row in enumerate(texts):
        block = Table.grid(padding=(0, 2, 0, 0))
        block.add_column(style="bold", no_wrap=True, width=max(map(len, columns)))
        block.add_column(overflow="fold")
        for column, text in zip(columns, row, strict=True):
            if text:
                block.add_row(column, Text(text))
        console.print(*([""] if number else []), block, sep="\n")


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell)
