"""Reading a CSV file such that every line of it is accounted for, also the broken ones.

The whole file is held in memory, since a cancellation may point to any line before it: 50,000 lines take about 40 MB,
550,000 about 320 MB.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orderkit.errors import Invalid

MALFORMED = "the line is not well-formed CSV"
WRONG_FIELDS = "the line has another number of fields than the header"


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the file: the line it begins on (the header's is 1), its fields, and what is wrong with its form."""

    line: int
    fields: tuple[str, ...]
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class CsvFile:
    header: tuple[str, ...]
    records: list[Record]


def load(path: Path) -> CsvFile:
    """Reads a CSV file with a header: UTF-8, with or without a mark, else Windows-1252, which older spreadsheets write.

    Raises Invalid for a file that cannot be read, is no text, or has no header.
    """
    return parse(_text(path), name=str(path))


def parse(text: str, *, name: str) -> CsvFile:
    """What the file `name` says. Blank lines are no records. Raises Invalid if there is no header."""
    found = _records(list(io.StringIO(text, newline="")))
    header = next(found, None)
    if header is None:
        raise Invalid(f"{name} is empty; its first line must name the columns")
    if header.fault:
        raise Invalid(f"the first line of {name} is not well-formed CSV; it must name the columns")
    columns = tuple(column.strip() for column in header.fields)
    return CsvFile(columns, [_fitted(record, len(columns)) for record in found])


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Invalid(f"cannot read {path}: {error.strerror}") from None
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise Invalid(f"{path} is neither UTF-8 nor Windows-1252 text; save it as CSV in UTF-8")


def _records(lines: list[str]) -> Iterator[Record]:
    """Splits lines into records. A quote that is never closed costs its own line and not the rest of the file."""
    position = 0

    def feed() -> Iterator[str]:
        nonlocal position
        while position < len(lines):
            position += 1
            yield lines[position - 1]

    reader = csv.reader(feed(), strict=True)
    while True:
        begin = position
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield Record(begin + 1, (lines[begin].rstrip("\r\n"),), MALFORMED)
            position = begin + 1
            reader = csv.reader(feed(), strict=True)
            continue
        if any(fields):
            # Codes, dates and names come again and again; kept once, they need half of the memory.
            yield Record(begin + 1, tuple(map(sys.intern, fields)))


def _fitted(record: Record, width: int) -> Record:
    """The record with as many fields as the header has, so that a column can be added to its right."""
    if len(record.fields) == width:
        return record
    padded = (*record.fields, *[""] * width)[:width]
    surplus = record.fields[width:]
    fault = record.fault or WRONG_FIELDS + (f"; beyond it: {','.join(surplus)}" if surplus else "")
    return Record(record.line, padded, fault)
