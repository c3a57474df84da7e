"""Data of JSON as YAML to be read: members in the order that they have, prose in blocks, quotes only where they are needed.

Written here because it is all of YAML that orderkit writes; tests read it back with a library.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from typing import Any

WIDTH = 100
"""Longer prose is folded, counted from where it begins."""

_PLAIN = re.compile(r"[A-Za-z_/$]([^\n:#]|:(?=[^ \n])|(?<=[^ ])#)*")
_OTHER_THINGS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
"""Texts that one version of YAML or another takes for something else."""


def text(value: Any) -> str:
    """`value` as a document of YAML 1.2, which ends with a line break; the same for the same value."""
    return "\n".join(_lines(value)) + "\n"


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for name, member in value.items():
            first, *rest = _member(member)
            yield f"{_scalar(str(name))}:{first}"
            yield from rest
    elif isinstance(value, list) and value:
        for one in value:
            first, *rest = _lines(one)
            yield f"- {first}"
            yield from (f"  {line}" if line else "" for line in rest)
    else:
        yield from _scalar_lines(value)


def _member(value: Any) -> Iterator[str]:
    """What comes after a name and its colon, and the lines below."""
    if isinstance(value, dict | list) and value:
        yield ""
        yield from (f"  {line}" if line else "" for line in _lines(value))
    else:
        first, *rest = _scalar_lines(value)
        yield f" {first}"
        yield from rest


def _scalar_lines(value: Any) -> list[str]:
    """A scalar: in one line, or the mark of a block and its lines, which are further in."""
    if isinstance(value, str) and _is_prose(value):
        if "\n" in value:
            return ["|-", *(f"  {line}" if line else "" for line in value.split("\n"))]
        if len(value) > WIDTH and "  " not in value:
            wrapped = textwrap.wrap(value, WIDTH, break_long_words=False, break_on_hyphens=False)
            return [">-", *(f"  {line}" for line in wrapped)]
    return [_scalar(value)]


def _is_prose(value: str) -> bool:
    """Whether a block can hold it: nothing but what is seen, and no space or line break at either end."""
    return value == value.strip() and all(line.isprintable() for line in value.split("\n"))


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and not value.endswith(" ") and value.lower() not in _OTHER_THINGS
        if plain and value.isprintable():
            return value
        quoted = json.dumps(value, ensure_ascii=False)
        return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in quoted)
    return json.dumps(value)
