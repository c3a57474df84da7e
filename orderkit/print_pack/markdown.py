"""Markdown of the pack as both printers take it: tables whose columns are as wide as what is in them, and no link to nowhere."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence, Set

from orderkit.errors import Invalid

WIDTH = 100
"""Dashes that stand for the whole width of a table; pandoc reads the share of each column from them."""
NARROW = 72
"""Columns of a source line up to which pandoc leaves widths to whoever prints."""
LONGEST_CELL = 160
"""A cell that is longer wraps anyway, and claims no more room for it."""

_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\[\]]*\])+)\]\(([^()\s]+)\)")
_FENCE = re.compile(r"^\s*(```|~~~)")
_RULE = re.compile(r"^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$")
_FAR = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


def fitted(text: str) -> str:
    """The same with every table that is wider than a line given columns by what is in them."""
    lines = text.split("\n")
    for start, end in _tables(lines):
        if max(len(line) for line in lines[start:end]) > NARROW:
            rows = [cells(line) for line in lines[start:end] if line != lines[start + 1]]
            lines[start + 1] = _rule(cells(lines[start + 1]), rows)
    return "\n".join(lines)


def cells(line: str) -> list[str]:
    """Of a row of a pipe table."""
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", inner)]


def without_dead_links(text: str, file: str, files: Set[str]) -> str:
    """The same, where a link to a file that is not in the pack is just what it says."""

    def kept(found: re.Match[str]) -> str:
        said, target = found.groups()
        path = target.partition("#")[0]
        if not path or _FAR.match(target):
            return found[0]
        return found[0] if posixpath.normpath(posixpath.join(posixpath.dirname(file), path)) in files else said

    return _outside_code(text, lambda part: _LINK.sub(kept, part))


def relocated(text: str, was: str, now: str, moved: Callable[[str], str]) -> str:
    """The same, moved from the file `was` to the file `now`: links follow. `moved` gives where another file went."""

    def follow(found: re.Match[str]) -> str:
        said, target = found.groups()
        path, sign, fragment = target.partition("#")
        if not path or _FAR.match(target):
            return found[0]
        there = moved(posixpath.normpath(posixpath.join(posixpath.dirname(was), path)))
        return f"[{said}]({posixpath.relpath(there, posixpath.dirname(now) or '.')}{sign}{fragment})"

    return _outside_code(text, lambda part: _LINK.sub(follow, part))


def escaped(text: str) -> str:
    """A text that is no Markdown, as Markdown, in prose or in a cell of a table."""
    return re.sub(r"([\\`*_\[\]<>|$~^@#])", r"\\\1", " ".join(text.split()))


def oneline(text: str) -> str:
    """A plan or a statement on one line, its steps set apart."""
    return " · ".join(line.strip() for line in text.splitlines() if line.strip()).replace("`", "'")


def from_heading(text: str, heading: str) -> str:
    """What comes from that heading on. Raises Invalid where there is none."""
    found = re.search(rf"(?m)^#+ {re.escape(heading)}$", text)
    if found is None:
        raise Invalid(f"there is no heading {heading}")
    return text[found.start() :]


def deeper(text: str, by: int = 1) -> str:
    """The same with its headings so many levels down, and without its first, if that is its title."""
    lines, fenced = [], False
    for number, line in enumerate(text.split("\n")):
        fenced ^= bool(_FENCE.match(line))
        if fenced or not line.startswith("#"):
            lines.append(line)
        elif number or not line.startswith("# "):
            lines.append("#" * by + line)
    return "\n".join(lines).lstrip("\n")


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """What stands in a block of code stays: a program's text is no Markdown."""
    parts: list[str | None] = []
    block: list[str] = []
    fenced = False
    for line in text.split("\n"):
        if _FENCE.match(line):
            if not fenced:
                parts.append(change("\n".join(block)) if block else None)
                block = [line]
            else:
                parts.append("\n".join([*block, line]))
                block = []
            fenced = not fenced
            continue
        block.append(line)
    if block:
        parts.append("\n".join(block) if fenced else change("\n".join(block)))
    return "\n".join(part for part in parts if part is not None)


def _tables(lines: Sequence[str]) -> list[tuple[int, int]]:
    """First line and the line behind the last of each pipe table outside code."""
    found, fenced, number = [], False, 0
    while number < len(lines):
        if _FENCE.match(lines[number]):
            fenced = not fenced
        is_head = not fenced and number + 1 < len(lines) and lines[number].lstrip().startswith("|")
        if is_head and _RULE.match(lines[number + 1]) and "|" in lines[number + 1]:
            end = number + 2
            while end < len(lines) and lines[end].lstrip().startswith("|"):
                end += 1
            found.append((number, end))
            number = end
        else:
            number += 1
    return found


def _rule(rule: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    shares = _shares(len(rule), rows)
    marked = []
    for mark, share in zip(rule, shares, strict=True):
        left, right = mark.startswith(":"), mark.endswith(":") and len(mark) > 1
        marked.append(":" * left + "-" * max(3, share - left - right) + ":" * right)
    return f"|{'|'.join(marked)}|"


def _shares(columns: int, rows: Sequence[Sequence[str]]) -> list[int]:
    """Dashes of each column: its longest word at least, if there is room, and the rest by how much is in its cells."""
    words, told = [1] * columns, [1] * columns
    for row in rows:
        for number, cell in enumerate(row[:columns]):
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", cell)
            words[number] = max(words[number], *(len(word) + 1 for word in re.split(r"[\s/_.-]+", plain)), 1)
            told[number] = max(told[number], min(len(plain), LONGEST_CELL))
    least = [min(word, WIDTH // columns) for word in words]
    wanted = [max(0, much - word) for much, word in zip(told, least, strict=True)]
    left = max(0, WIDTH - sum(least))
    every = sum(wanted) or 1
    return [word + left * more // every for word, more in zip(least, wanted, strict=True)]
