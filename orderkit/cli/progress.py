"""How far a long command is: a bar in a terminal, a line now and then elsewhere. On stderr, so that stdout stays the result."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LINES = 10
"""Plain lines that one run prints at most."""


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function to be told how many more of `total` are done."""
    if not sys.stderr.isatty():
        yield _Lines(what, total).advance
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda more: bar.advance(task, more)


class _Lines:
    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._done, self._told = what, total, 0, 0

    def advance(self, more: int) -> None:
        self._done += more
        tenths = self._done * LINES // max(self._total, 1)
        if tenths > self._told:
            self._told = tenths
            sys.stderr.write(f"{self._what}: {self._done:,} of {self._total:,}\n")
            sys.stderr.flush()
