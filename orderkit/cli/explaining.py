"""What `orderkit explain` finds, and how it looks: in a terminal, as text, as JSON."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from orderkit.cli import printing
from orderkit.cli.progress import progress
from orderkit.db import Database
from orderkit.errors import Invalid
from orderkit.explain import indexes, running, verdicts
from orderkit.explain.plans import Plan, Step
from orderkit.explain.query import Query
from orderkit.explain.running import Compared
from orderkit.explain.verdicts import Explained
from orderkit.settings import Settings

FEW = 8
"""So many queries are executed before anybody wonders how far it is."""
TEXT_WIDTH = 100


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What each query came to, and where they were executed, the plans of that."""

    found: Sequence[Explained]
    executed: dict[str, Plan]
    engine: str
    name = "explain"

    @property
    def holds(self) -> bool:
        return all(one.holds for one in self.found)

    @property
    def complaint(self) -> str:
        bad = [one for one in self.found if not one.holds]
        return "\n".join(f"{one.query.name}: {one.verdict}" for one in bad)

    def told(self) -> list[Any]:
        told = []
        for one in self.found:
            entry = dict(one.told())
            if (plan := self.executed.get(one.query.name)) is not None:
                entry |= {"executed": plan.text(), "executed_steps": [asdict(step) for step in plan.top], "ms": plan.ms}
            told.append(entry)
        return told

    def drawn(self, *, whole: bool) -> Group:
        parts: list[Any] = []
        for one in self.found:
            parts += _whole(one, self.executed.get(one.query.name)) if whole else _short(one)
        if len(self.found) > 1:
            bad = sum(not one.holds for one in self.found)
            said = f"{bad} of {len(self.found)} queries are not answered as they must be" if bad else "all hold"
            parts += [
                Text(),
                Text(f"{len(self.found)} queries on {self.engine}: {said}", "bold red" if bad else "bold"),
            ]
        return Group(*parts)


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Queries with an index and without it."""

    index: str
    found: Sequence[Compared]
    holds = True
    complaint = ""

    @property
    def name(self) -> str:
        return f"without-{self.index}"

    def told(self) -> list[Any]:
        return [
            {
                "name": one.query.name,
                "purpose": one.query.purpose,
                "index": one.index,
                "with": _plan_told(one.with_it),
                "without": _plan_told(one.without),
                "times": one.times,
            }
            for one in self.found
        ]

    def drawn(self, *, whole: bool) -> Group:
        parts: list[Any] = [Text(indexes.text(self.index), "dim")]
        for one in self.found:
            parts += [Text(), _title(one.query), _beside(one)]
        return Group(*parts)


def explain(database: Database, settings: Settings, queries: Sequence[Query], *, analyze: bool) -> Verdicts:
    many = analyze and len(queries) > FEW
    with progress("queries", len(queries) * (1 + analyze)) if many else nullcontext(lambda _: None) as each:
        found = verdicts.explain(database, settings, queries, each=each)
        executed: dict[str, Plan] = {}
        for number, one in enumerate(found if analyze else ()):
            if one.plan.top:  # else there is nothing to ask, or no way to
                found[number], plan = running.tried(database, settings, one)
                executed |= {} if plan is None else {one.query.name: plan}
            each(1)
    return Verdicts(found, executed, "SQLite" if database.is_sqlite else "PostgreSQL")


def compare(
    database: Database, settings: Settings, queries: Sequence[Query], index: str, *, analyze: bool
) -> Comparisons:
    with progress("queries", len(queries)) if len(queries) > 1 else nullcontext(lambda _: None) as each:
        found = []
        for query in queries:
            found.append(running.compared(database, settings, query, index, analyze=analyze))
            each(1)
    return Comparisons(index, found)


def show(shown: Verdicts | Comparisons, *, json_: bool, whole: bool) -> None:
    if json_:
        printing.as_json(shown.told())
    else:
        width = None if sys.stdout.isatty() else TEXT_WIDTH
        Console(width=width, highlight=False).print(shown.drawn(whole=whole))


def save(shown: Verdicts | Comparisons, folder: Path) -> None:
    """Writes `explain.txt` and `explain.json`, or `without-INDEX.…`. Raises Invalid where that cannot be."""
    text = io.StringIO()
    Console(file=text, width=TEXT_WIDTH, highlight=False, color_system=None).print(shown.drawn(whole=True))
    told = json.dumps(shown.told(), indent=2, ensure_ascii=False, default=str)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{shown.name}.txt").write_text(text.getvalue(), encoding="utf-8")
        (folder / f"{shown.name}.json").write_text(told + "\n", encoding="utf-8")
    except OSError as error:
        raise Invalid(f"cannot write to {folder}: {error.strerror}") from None


# ── parts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _mark(one: Explained) -> Text:
    return Text("✓ ", "bold green") if one.holds else Text("✗ ", "bold red")


def _title(query: Query) -> Text:
    return Text.assemble((query.name, "bold"), "  ", (query.purpose, "dim"))


def _short(one: Explained) -> list[Any]:
    names = ", ".join(one.query.indexes(one.engine))
    lines: list[Any] = [Text.assemble(_mark(one), (one.query.name, "bold"), "  ", (names, "cyan"))]
    lines.append(Padding(Text(one.query.purpose, "dim"), (0, 0, 0, 2)))
    if said := _said(one):
        lines.append(Padding(Text(said, "dim" if one.holds else "red"), (0, 0, 0, 2)))
    return lines


def _said(one: Explained) -> str:
    return one.remark if one.verdict == verdicts.OK else one.verdict


def _whole(one: Explained, executed: Plan | None) -> list[Any]:
    lines: list[Any] = [Text.assemble(_mark(one), _title(one.query))]
    for name in one.query.indexes(one.engine):
        lines.append(Padding(Text.assemble((name, "cyan"), "  ", (indexes.text(name), "dim")), (0, 0, 0, 2)))
    if said := _said(one):
        lines.append(Padding(Text(said, "dim" if one.holds else "bold red"), (0, 0, 0, 2)))
    lines.append(
        Padding(_tree(one.plan, "planned, by index") if executed is None else _tree(executed, "executed"), (0, 0, 0, 2))
    )
    if executed is not None:
        lines.append(Padding(Text(_took(executed), "bold"), (0, 0, 0, 2)))
    return [*lines, Text()]


def _took(plan: Plan) -> str:
    said = [] if plan.ms is None else [f"{plan.ms:,.3f} ms"]
    if plan.work is not None:
        said += [str(plan.detail["told"]), f"about {plan.work:,} steps of SQLite's machine"]
    return "took " + ", ".join(said) + ", and was rolled back" if said else "was not executed"


def _tree(plan: Plan, root: str) -> Tree:
    tree = Tree(Text(root, "dim"), guide_style="dim")
    for step in plan.top:
        _grow(tree, step)
    return tree


def _grow(tree: Tree, step: Step) -> None:
    style = "red" if step.scans else "cyan" if step.index else ""
    said = Text(step.what, style)
    for figure in step.figures():
        said.append(f" {figure}", "dim")
    for condition in step.conditions:
        said.append(f"\n{condition}", "dim")
    below = tree.add(said)
    for one in step.steps:
        _grow(below, one)


def _beside(one: Compared) -> Table:
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(ratio=1)
    table.add_column(ratio=1)
    same = one.times is not None and 0.99 <= one.times <= 1.01
    times = "" if one.times is None else " (the same)" if same else f" ({one.times:,.1f} times)"
    table.add_row(
        Panel(_side(one.with_it), title=f"with {one.index}", title_align="left", border_style="green"),
        Panel(_side(one.without), title=f"without it{times}", title_align="left", border_style="red"),
    )
    return table


def _side(plan: Plan) -> Group:
    figures = []
    if plan.cost is not None:
        figures.append(f"cost {plan.cost:,.2f}")
    if plan.work is not None:
        figures.append(f"cost {plan.work:,} steps")
    if plan.ms is not None:
        figures.append(f"{plan.ms:,.2f} ms")
    tree = Tree(Text(", ".join(figures), "bold"), guide_style="dim", hide_root=False)
    for step in plan.top:
        _grow(tree, step)
    return Group(tree)


def _plan_told(plan: Plan) -> dict[str, Any]:
    return {"plan": plan.text(), "cost": plan.cost if plan.cost is not None else plan.work, "ms": plan.ms}
