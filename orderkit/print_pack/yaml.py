"""JSON data as YAML that a person can read: blocks instead of brackets, and texts in quotes only where they need them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_/{}.() ,;+-]*[A-Za-z0-9_/})]|[A-Za-z_/]")
_OTHERWISE = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
"""Texts that YAML, of one version or another, takes for something else."""


def text(data: Any) -> str:
    """`data` is what JSON can say. Ends with a line break."""
    return "\n".join(_lines(data)) + "\n"


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for name, one in value.items():
            yield from _under(f"{_scalar(str(name))}:", one, "  ")
    elif isinstance(value, list) and value:
        for one in value:
            first, *rest = _lines(one)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    else:
        yield _scalar(value)


def _under(head: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict | list) and value:
        yield head
        yield from (f"{indent}{line}" for line in _lines(value))
    else:
        yield f"{head} {_scalar(value)}"


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _OTHERWISE:
        return value
    return json.dumps(value, ensure_ascii=False)
