"""Finding things in logs that were written as JSON: one order's way through all processes, and lines by what they say.

Logs are read from end to end, line by line, more than once and never whole: they may be longer than memory. What stands before
the brace of a line, as a collector of several containers' logs puts it there, is passed over.
"""

from __future__ import annotations

import json
import operator
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from orderkit.errors import Invalid

Line = dict[str, Any]
Read = Callable[[], Iterable[str]]
"""Begins anew each time it is called."""

KEYS = ("key", "payment_id", "fulfillment_id", "refund_id")
"""Facts that say whose a call to a provider is, where its line has no order."""
OF_WORK = ("order_id", "request_id", "trace_id", *KEYS, "dead_letter_id", "mail_id", "row_id")
"""Ids of what is done for an order, from each of which its journey is found."""
NUMBER = "order_number"
"""The one by which people call an order, an integer; an order's first line has it."""

_CONDITION = re.compile(r"([a-z_]+)(<=|>=|!=|=|<|>|~)(.*)", re.DOTALL)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """What a fact of a line is to be. A line without the fact meets only `!=`."""

    name: str
    operator: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """`status>=500`, `route=/orders`, `outcome!=captured`, `message~refund`. Raises Invalid."""
        found = _CONDITION.fullmatch(text)
        if found is None:
            raise Invalid(f"{text!r} is no condition; try 'status>=500', 'route=/orders' or 'message~refund'")
        if found[2] in _COMPARE and _number(found[3]) is None and found[1] != "at":
            raise Invalid(f"{text!r} compares with what is no number")
        return cls(*found.groups())

    def holds(self, line: Line) -> bool:
        said = line.get(self.name)
        if self.operator == "!=":
            return said is None or str(said) != self.value
        if said is None:
            return False
        if self.operator == "=":
            return str(said) == self.value
        if self.operator == "~":
            return self.value in str(said)
        if self.name == "at":  # all in UTC and written alike, so that their order is that of their text
            return _COMPARE[self.operator](str(said), self.value)
        number, bound = _number(said), _number(self.value)
        return number is not None and bound is not None and _COMPARE[self.operator](number, bound)


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def parsed(texts: Iterable[str]) -> Iterator[Line]:
    """Those that are lines of orderkit's."""
    for text in texts:
        start = text.find("{")
        if start < 0:
            continue
        try:
            line = json.loads(text[start:])
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and _is_ours(line):
            yield line


def _is_ours(line: Line) -> bool:
    """Whether it has what all lines have, as they have it: other programs' lines may lie between, and name things alike."""
    try:
        at = datetime.fromisoformat(str(line["at"]))
    except (KeyError, ValueError):
        return False
    ids = (value for name, value in line.items() if name.endswith("_id"))
    return "message" in line and at.tzinfo is not None and all(isinstance(one, str | None) for one in ids)


def meeting(lines: Iterable[Line], conditions: Sequence[Condition]) -> Iterator[Line]:
    """Lines that meet all conditions, as they come."""
    return (line for line in lines if all(one.holds(line) for one in conditions))


def counted(lines: Iterable[Line], name: str) -> list[tuple[str, int]]:
    """How many lines there are for each value of a fact, the most first; `-` for those that do not say."""
    found = Counter(str(line.get(name, "-")) for line in lines)
    return sorted(found.items(), key=lambda one: (-one[1], one[0]))


def of(read: Read, wanted: str) -> list[Line]:
    """The journey of an order, in order of time, by an id of it or of anything that is done for it, its number, or a request's.

    To it belong the lines that name the order, whichever request they are of, and those of its traces that name no other: a
    caller may place several orders in one trace. With the id of a trace it is all that is in the trace. Where no order is
    named, as by a request that was refused, it is what has the id.
    """
    seeds = [line for line in _having(read, {wanted}) if _is_of(line, wanted)]
    orders = {line["order_id"] for line in seeds if line.get("order_id")}
    if wanted in orders:
        orders = {wanted}
    elif any(line.get("trace_id") == wanted for line in seeds):
        return in_time(seeds)
    elif not orders:  # a provider's own line need not know whose the key is, but knows the request
        requests = {line["request_id"] for line in seeds if line.get("request_id")}
        around = [line for line in _having(read, requests) if line.get("request_id") in requests]
        orders = {line["order_id"] for line in around if line.get("order_id")}
        if len(orders) != 1:
            return in_time(seeds)
    return _journey(read, orders, wanted)


def _journey(read: Read, orders: set[str], wanted: str) -> list[Line]:
    naming = [line for line in _having(read, orders) if line.get("order_id") in orders]
    traces = {line["trace_id"] for line in naming if "trace_id" in line}
    requests = {line["request_id"] for line in naming if "request_id" in line}
    around = list(_having(read, traces | orders))
    ours = _keys(line for line in around if line.get("order_id") in orders)
    others = _keys(line for line in around if line.get("order_id", wanted) not in {*orders, wanted})

    def belongs(line: Line) -> bool:
        if "order_id" in line:
            return line["order_id"] in orders
        if line.get("trace_id") not in traces:
            return False
        if "key" in line:
            return line["key"] in ours or line["key"] not in others
        return line.get("request_id") is None or line["request_id"] in requests

    return in_time(line for line in around if belongs(line))


def _having(read: Read, ids: Collection[str]) -> Iterator[Line]:
    """Lines with one of those anywhere in them; only these are taken apart."""
    return parsed(text for text in read() if any(one in text for one in ids))


def _is_of(line: Line, wanted: str) -> bool:
    if any(line.get(name) == wanted for name in OF_WORK):
        return True
    number = line.get(NUMBER)
    return number is not None and str(number) == wanted


def named_otherwise(read: Read, wanted: str) -> list[str]:
    """The facts that have this very value, none of which leads to an order, such as `user_id`; in order of their names."""
    return sorted({name for line in _having(read, {wanted}) for name, value in line.items() if value == wanted})


class Extent(NamedTuple):
    """How many lines there are, how many of them are orderkit's as JSON, of which processes, and from when to when."""

    lines: int
    ours: int
    processes: list[str]
    first: str
    last: str


def extent(read: Read) -> Extent:
    """What there is to search."""
    lines = ours = 0
    processes: set[str] = set()
    first = last = ""

    def counting() -> Iterator[str]:
        nonlocal lines
        for text in read():
            lines += 1
            yield text

    for line in parsed(counting()):
        ours += 1
        processes.add(str(line.get("process") or "unknown"))
        at = str(line["at"])
        first, last = min(first or at, at), max(last, at)
    return Extent(lines, ours, sorted(processes), first, last)


def _keys(lines: Iterable[Line]) -> set[Any]:
    return {line[name] for line in lines for name in KEYS if name in line}


def in_time(lines: Iterable[Line]) -> list[Line]:
    """The earliest first; those of one instant as they came."""
    return sorted(lines, key=lambda line: str(line["at"]))
