"""Reports as tables: one for each currency, with a bar in each row where there is room for one."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orderkit import money

if TYPE_CHECKING:
    from orderkit.api.report_answers import Answer

AMOUNTS = ("gross", "refunded", "net", "average", "revenue")
NUMBERS = (*AMOUNTS, "orders", "quantity")
MEASURES = {"net": "net", "revenue": "revenue", "quantity": "pieces"}
"""What is said over bars. Orders stand beside theirs, under that name."""
MOST_BAR, LEAST_BAR = 24, 10
"""Columns of the longest bar. In fewer than 10 it would say little, and `▒ refunded` would not fit over it."""
MOST_LEGEND = 16
PLAIN_WIDTH = 1_000
"""A file or a pipe is as wide as it needs to be."""

EIGHTHS = " ▏▎▍▌▋▊▉█"
GAP = 2


def draw(title: str, answer: Answer, *, for_terminal: bool) -> str:
    """The report as text. For a terminal it has colours and fits its width, else it has neither."""
    file = io.StringIO()
    console = Console(
        file=file,
        force_terminal=for_terminal,
        no_color=None if for_terminal else True,
        width=Console(file=sys.stdout).width if for_terminal else PLAIN_WIDTH,
        highlight=False,
        soft_wrap=False,
    )
    console.print(Text(title, style="bold"), Text(_about(answer.beside), style="dim"), sep="\n")
    if (previous := answer.beside.get("previous")) is not None:
        console.print(Text(f"before: {_when(previous)}", style="dim"))
    if warning := answer.beside.get("warning"):
        console.print(Text(f"warning: {warning}", style="yellow"))
    if not answer.items:
        console.print("", "nothing", sep="\n")
    for currency, rows in _groups(answer):
        console.print()
        if currency is not None:
            console.print(Text(currency, style="bold"))
        console.print(_table(answer, currency, rows, console.width, bars=for_terminal))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def _groups(answer: Answer) -> list[tuple[str | None, list[Mapping[str, Any]]]]:
    """Rows of each currency; together where the currency is what they are of, or there is none."""
    if answer.columns[0] == "currency" or "currency" not in answer.columns:
        return [(None, [*answer.items])] if answer.items else []
    named = dict.fromkeys(item["currency"] for item in answer.items)
    return [(one, [item for item in answer.items if item["currency"] == one]) for one in named]


def _about(beside: Mapping[str, Any]) -> str:
    lag = beside["lag_seconds"]
    behind = f", {lag:g} s behind" if lag else ""
    replica = f"; from the replica{behind}" if beside["source"] == "replica" else ""
    return f"{_when(beside)}, {beside['tz']}{replica}"


def _when(period: Mapping[str, Any]) -> str:
    start, end = period["from"], period["to"]
    if start is None and end is None:
        return "all there is"
    return " ".join(([f"from {start}"] if start else []) + ([f"until before {end}"] if end else []))


def _table(answer: Answer, currency: str | None, rows: Sequence[Mapping[str, Any]], width: int, *, bars: bool) -> Table:
    columns = [name for name in answer.columns if name != "currency" or currency is None]
    if "email" in columns:
        columns.remove("user_id")
    closing = _closing(answer, currency)
    bar = _room(columns, rows, closing, width) if bars and len(rows) > 1 else 0
    if bars and "average" in columns and _needed(columns, [*rows, *closing]) > width:
        columns.remove("average")
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, GAP, 0, 0))
    for name in columns:
        number = name in NUMBERS
        table.add_column(name, justify="right" if number else "left", no_wrap=number, overflow="fold")
    if bar:
        table.add_column(_legend(answer.measure, rows, bar), no_wrap=True)
    for item in rows:
        drawn = [_bar(answer.measure, item, rows, bar)] if bar else []
        table.add_row(*(Text(_cell(item, name)) for name in columns), *drawn)
    for item in closing:
        table.add_row(*(Text(_cell(item, name), style="bold") for name in columns), *([""] if bar else []))
    return table


def _room(
    columns: list[str], rows: Sequence[Mapping[str, Any]], closing: Sequence[Mapping[str, Any]], width: int
) -> int:
    """How long bars can be. Where there is hardly room the average gives way, which other formats have."""
    room = width - _needed(columns, [*rows, *closing]) - GAP
    if room < LEAST_BAR and "average" in columns:
        columns.remove("average")
        room = width - _needed(columns, [*rows, *closing]) - GAP
    return min(room, MOST_BAR) if room >= LEAST_BAR else 0


def _needed(columns: Sequence[str], items: Sequence[Mapping[str, Any]]) -> int:
    longest = [max(len(name), *(len(_cell(item, name)) for item in items)) for name in columns]
    return sum(longest) + GAP * (len(longest) - 1)


def _cell(item: Mapping[str, Any], name: str) -> str:
    value = item[name]
    if name == "email" and value is None:
        return str(item["user_id"])
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if name in AMOUNTS:
        return f"{Decimal(value).scaleb(-money.exponent(item['currency'])):,f}"
    return f"{value:,}" if name in NUMBERS else str(value)


def _closing(answer: Answer, currency: str | None) -> list[dict[str, Any]]:
    """The totals, those of the period before, and how they compare."""
    if "totals" not in answer.beside:
        return []
    label, now = answer.columns[0], _of(answer.beside["totals"], currency)
    rows = [now | {label: "all"}]
    if (previous := answer.beside.get("previous")) is not None:
        before = _of(previous["totals"], currency)
        change = {name: _change(now[name], before[name]) for name in now if name in NUMBERS}
        rows += [before | {label: "before"}, change | {label: "change"}]
    return rows


def _of(totals: Sequence[Mapping[str, Any]], currency: str | None) -> dict[str, Any]:
    nothing = {"currency": currency, "orders": 0, "gross": 0, "refunded": 0, "net": 0, "average": None}
    return next((dict(one) for one in totals if one["currency"] == currency), nothing)


def _change(now: int | None, before: int | None) -> str:
    """By how much it is more, or less, in per cent with one decimal."""
    if not before or now is None or before < 0:
        return "–"
    thousandths = (2 * 1000 * (now - before) + before) // (2 * before)
    return f"{'+' if thousandths > 0 else '-' if thousandths < 0 else ''}{abs(thousandths) // 10:,}.{abs(thousandths) % 10} %"


def _legend(measure: str, rows: Sequence[Mapping[str, Any]], width: int) -> Text:
    """What bars are of, over them, as far as there is room."""
    told = Text(MEASURES.get(measure, ""), style="cyan")
    if measure == "net" and any(one["refunded"] > 0 for one in rows):
        refunded = Text("▒ refunded", style="red")
        return Text.assemble(("█ ", "cyan"), told, " ", refunded) if width >= MOST_LEGEND else refunded
    return told


def _bar(measure: str, item: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], width: int) -> Text:
    """What came, of which the part that went back is another colour."""
    name = "gross" if measure == "net" else measure
    longest = max(max(one[name] for one in rows), 1)
    gone = min(max(item.get("refunded", 0), 0), max(item[name], 0))
    whole, left = (max(amount, 0) * width * 8 // longest for amount in (item[name], item[name] - gone))
    text = Text(_blocks(left), style="cyan")
    return text.append("▒" * (_length(whole) - _length(left)), style="red") if gone else text


def _blocks(eighths: int) -> str:
    return "█" * (eighths // 8) + (EIGHTHS[eighths % 8] if eighths % 8 else "")


def _length(eighths: int) -> int:
    return -(-eighths // 8)
