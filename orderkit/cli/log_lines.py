"""Lines of logs as people read them: what happened first, then what is known of it. No id is ever cut or broken."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from orderkit.cli import printing
from orderkit.observability.logs import on_one_line

Line = dict[str, Any]

_QUIET = ("INFO", "DEBUG", None)
_COLOURS = {"WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
IDS = (
    *("order_number", "order_id", "user_id", "payment_id", "fulfillment_id", "refund_id", "dead_letter_id"),
    *("request_id", "trace_id"),
)
"""Said once above a journey, where all of it has the same."""
TOLD = ("attempt", "ms", "detail", "code", "key")
"""Not who the provider is: the message says it."""
_SHOWN = {"at", "process", "message", "level"}
LEAST_WIDTH, MOST_WIDTH = 40, 200


def show(lines: Sequence[Line], named: Sequence[str], *, journey: bool) -> None:
    """Prints them. `named` are the facts that were asked about, which are always shown."""
    named = [name for name in dict.fromkeys(named) if name not in _SHOWN]
    if printing.in_terminal():
        lines = list(_without_ids_of_others(lines)) if journey else lines
        common = _common(lines) if journey else {}
        width = min(max(shutil.get_terminal_size().columns, LEAST_WIDTH), MOST_WIDTH)
        sys.stdout.writelines(f"{one}\n" for one in _for_reading(lines, named, common, width))
    else:
        _table(lines, named)


def _common(lines: Sequence[Line]) -> dict[str, str]:
    """The ids of which there is one in all of the lines."""
    found: dict[str, set[str]] = {name: {_text(line[name]) for line in lines if line.get(name)} for name in IDS}
    return {name: values.pop() for name, values in found.items() if len(values) == 1}


def _without_ids_of_others(lines: Sequence[Line]) -> Iterator[Line]:
    """What a provider calls a request that came without an id is its own, and nothing else is found by it."""
    ours = {line.get("request_id") for line in lines if line.get("process") != "simulator"}
    for line in lines:
        yield line if line.get("request_id") in ours else {n: said for n, said in line.items() if n != "request_id"}


def _for_reading(lines: Sequence[Line], named: Sequence[str], common: dict[str, str], width: int) -> Iterator[str]:
    times = [datetime.fromisoformat(str(line["at"])) for line in lines]
    first, one_day = min(times), len({at.date() for at in times}) == 1
    for name, value in common.items():
        yield f"{name:15}{value}"
    yield f"{'from':15}{first:%Y-%m-%d %H:%M:%S} UTC"
    yield ""
    processes = max(len(_text(line.get("process"))) for line in lines)
    for at, line in zip(times, lines, strict=True):
        when = f"{at:%H:%M:%S.%f}"[:-3] if one_day else f"{at:%Y-%m-%d %H:%M:%S.%f}"[:-3]
        lead = f"{when}  {(at - first).total_seconds() * 1000:>6.0f}  {_text(line.get('process')):{processes}}  "
        facts = [f"{name}={_text(line[name])}" for name in _facts(line, named, common)]
        yield from _wrapped(lead, _what(line), facts, width, _COLOURS.get(str(line.get("level"))))


def _facts(line: Line, named: Sequence[str], common: dict[str, str]) -> list[str]:
    """The names of those to show of a line: what was asked about, what it met, and ids that are not above."""
    said = set(common.values())
    names = [*named, *TOLD, *(name for name in IDS if name not in ("user_id", "trace_id") or "order_id" not in line)]
    known = [name for name in dict.fromkeys(names) if line.get(name) is not None]
    as_id = {_text(line[name]) for name in known if name in IDS}

    def is_news(name: str) -> bool:
        value = _text(line[name])
        return name in named or (value not in said | as_id if name == "key" else name in TOLD or value not in said)

    return [name for name in known if is_news(name)]


def _wrapped(lead: str, what: str, facts: Sequence[str], width: int, colour: str | None) -> Iterator[str]:
    """What happened behind when and where, then the facts, which are not broken; further lines are indented below it."""
    indent = " " * (len(lead) if width - len(lead) >= LEAST_WIDTH else 4)
    rows = textwrap.wrap(what, max(width - len(lead), LEAST_WIDTH // 2)) or [""]
    shown = [f"\033[{colour}m{row}\033[0m" if colour else row for row in rows]
    taken = len(lead if len(rows) == 1 else indent) + len(rows[-1])
    for fact in facts:
        taken += 2 + len(fact)
        if taken <= width:
            shown[-1] += f"  {fact}"
        else:
            shown.append(fact)
            taken = len(indent) + len(fact)
    yield f"{lead}{shown[0]}"
    yield from (f"{indent}{row}" for row in shown[1:])


def _table(lines: Sequence[Line], named: Sequence[str]) -> None:
    """One line each, for what comes next in a pipe."""
    columns = list(dict.fromkeys(("attempt", "ms", *named, "order_id", "request_id")))
    more = [name for name in dict.fromkeys((*TOLD, "provider", *IDS)) if name not in columns]
    first = min(datetime.fromisoformat(str(line["at"])) for line in lines)
    rows = []
    for line in lines:
        at = datetime.fromisoformat(str(line["at"]))
        rows.append(
            (
                f"{at:%Y-%m-%dT%H:%M:%S.%f}"[:-3],
                f"{(at - first).total_seconds() * 1000:.0f}",
                _text(line.get("process")),
                _what(line),
                *(_text(line.get(name)) for name in columns),
                " ".join(f"{name}={_text(line[name])}" for name in more if line.get(name) is not None),
            )
        )
    printing.table(("at", "after_ms", "process", "what", *columns, "more"), rows)


def _what(line: Line) -> str:
    level = line.get("level")
    return _text(line["message"] if level in _QUIET else f"{level} {line['message']}")


def _text(value: Any) -> str:
    """As it can be shown: what a caller was quoted with is not for the terminal to obey."""
    return "" if value is None else on_one_line(str(value))
