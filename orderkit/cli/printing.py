"""What commands print on stdout: tables for people, plain columns for pipes, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any


def as_json(value: Any) -> None:
    """One JSON value; times, ids and paths as text."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, json_: bool = False) -> None:
    """Rows under their headings. With `json_` a JSON list of objects instead, with the headings as names."""
    if json_:
        as_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif sys.stdout.isatty():
        _rich(columns, rows)
    else:
        _plain(columns, rows)


def _plain(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    texts = [[_text(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(len(row[n]) for row in texts) for n in range(len(columns))]
    for row in texts:
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")


def _rich(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        shown.add_row(*(Text(_text(cell)) for cell in row))  # Text: what is in it is no markup
    Console().print(shown)


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell)
