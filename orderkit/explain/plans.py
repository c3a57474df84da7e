"""How an engine would answer a statement, or did: a tree of steps, which is the same for PostgreSQL and SQLite."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, UniqueConstraint

from orderkit.explain.capture import Captured
from orderkit.schema import metadata


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan. `cost` and `rows` are PostgreSQL's estimates, the rest is what happened, if it did.

    `ms` and `actual_rows` are of all its loops, with what is below it. `scans` is the table that it reads from end to end.
    """

    what: str
    index: str | None = None
    scans: str | None = None
    sorts: bool = False
    conditions: tuple[str, ...] = ()
    cost: float | None = None
    rows: float | None = None
    ms: float | None = None
    actual_rows: float | None = None
    steps: tuple[Step, ...] = ()

    def all(self) -> Iterator[Step]:
        yield self
        for step in self.steps:
            yield from step.all()

    def lines(self, depth: int = 0) -> Iterator[str]:
        """The tree as text, two spaces for each level."""
        yield "  " * depth + " ".join((self.what, *self.figures()))
        for condition in self.conditions:
            yield "  " * (depth + 2) + condition
        for step in self.steps:
            yield from step.lines(depth + 1)

    def figures(self) -> Iterator[str]:
        if self.cost is not None:
            yield f"(cost {self.cost:,.2f}, rows {self.rows:,.0f})"
        if self.ms is not None:
            yield f"({self.ms:,.3f} ms, rows {self.actual_rows:,.0f})"


@dataclass(frozen=True, slots=True)
class Plan:
    """What an engine does. `ms` and `steps_run` (of SQLite's machine) where it was executed."""

    top: tuple[Step, ...]
    ms: float | None = None
    work: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    def all(self) -> Iterator[Step]:
        for step in self.top:
            yield from step.all()

    @property
    def indexes(self) -> Sequence[str]:
        return list(dict.fromkeys(step.index for step in self.all() if step.index))

    @property
    def scans(self) -> Sequence[str]:
        return list(dict.fromkeys(step.scans for step in self.all() if step.scans))

    @property
    def sorts(self) -> bool:
        return any(step.sorts for step in self.all())

    @property
    def cost(self) -> float | None:
        return self.top[0].cost if self.top else None

    def text(self) -> str:
        return "\n".join(line for step in self.top for line in step.lines())


# ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────────────────────────────

_CONDITIONS = ("Index Cond", "Recheck Cond", "Filter", "Hash Cond", "Merge Cond", "Join Filter", "Sort Key")
_ROWS_LONG = 110


def of_postgresql(connection: Connection, captured: Captured, *, analyze: bool = False) -> Plan:
    """The plan of a statement; with `analyze` it is executed, in the caller's transaction."""
    options = "ANALYZE, BUFFERS, TIMING, FORMAT JSON" if analyze else "FORMAT JSON"
    found = connection.exec_driver_sql(f"EXPLAIN ({options}) {captured.statement}", captured.parameters).scalar_one()
    [told] = json.loads(found) if isinstance(found, str) else found
    return Plan((_step(told["Plan"]),), told.get("Execution Time"), detail=told)


def _step(node: Mapping[str, Any]) -> Step:
    kind, table, index = node["Node Type"], node.get("Relation Name"), node.get("Index Name")
    if kind == "ModifyTable":
        kind = node.get("Operation", kind)
    said = [kind if "Join Type" not in node else f"{kind} ({node['Join Type']})"]
    if node.get("Scan Direction") == "Backward":
        said.append("backward")
    said += [f"using {index}"] if index and table else [f"on {index}"] if index else []
    said += [f"on {table}"] if table else []
    arbiters = node.get("Conflict Arbiter Indexes", [])
    conditions = [f"{name}: {_short(_text(node[name]))}" for name in _CONDITIONS if name in node]
    if node.get("Rows Removed by Filter"):
        conditions.append(f"looked at {node['Rows Removed by Filter'] * node['Actual Loops']:,.0f} rows in vain")
    loops = node.get("Actual Loops", 0)
    return Step(
        " ".join(said),
        index or (arbiters[0] if arbiters else None),
        table if kind == "Seq Scan" else None,
        kind in ("Sort", "Incremental Sort"),
        tuple(conditions),
        node.get("Total Cost"),
        node.get("Plan Rows"),
        node["Actual Total Time"] * loops if "Actual Total Time" in node else None,
        node["Actual Rows"] * loops if "Actual Rows" in node else None,
        tuple(map(_step, node.get("Plans", ()))),
    )


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def _short(text: str) -> str:
    return text if len(text) <= _ROWS_LONG else f"{text[: _ROWS_LONG - 1]}…"


# ── SQLite ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_USES = re.compile(r" USING (?:COVERING )?INDEX (\w+)")
_AUTOMATIC = re.compile(r"\bsqlite_autoindex_\w+?_\d+\b")
_WHOLE = re.compile(r"^SCAN (\w+)$")
_SORTS = re.compile(r"^USE TEMP B-TREE FOR .*ORDER BY")


def of_sqlite(connection: Any, captured: Captured) -> Plan:
    """The plan of a statement, by a driver's connection."""
    rows = connection.execute(f"EXPLAIN QUERY PLAN {captured.statement}", captured.parameters).fetchall()
    names = constraint_names(connection)
    below: dict[int, list[tuple[int, str]]] = {}
    for number, parent, _unused, detail in rows:
        told = _AUTOMATIC.sub(lambda found: names.get(found[0], found[0]), detail)
        below.setdefault(parent, []).append((number, told))

    def steps(parent: int) -> tuple[Step, ...]:
        return tuple(_of_detail(detail, steps(number)) for number, detail in below.get(parent, ()))

    return Plan(steps(0))


def _of_detail(detail: str, below: tuple[Step, ...]) -> Step:
    uses, whole = _USES.search(detail), _WHOLE.match(detail)
    scans = whole[1] if whole and whole[1] in metadata.tables else None
    return Step(detail, uses[1] if uses else None, scans, _SORTS.match(detail) is not None, steps=below)


def constraint_names(connection: Any) -> dict[str, str]:
    """SQLite's own names of the indexes of keys and UNIQUE constraints, and what the models call them."""
    names: dict[str, str] = {}
    for table in metadata.tables.values():
        by_columns = {
            tuple(column.name for column in one.columns): str(one.name)
            for one in table.constraints
            if isinstance(one, UniqueConstraint) and one.name
        }
        primary = tuple(column.name for column in table.primary_key.columns)
        for row in connection.execute(f"PRAGMA index_list({table.name})").fetchall():
            name, origin = row[1], row[3]
            if origin in ("pk", "u"):
                info = connection.execute(f"PRAGMA index_info({name})").fetchall()
                columns = tuple(one[2] for one in info)
                names[name] = (
                    f"pk_{table.name}" if origin == "pk" and columns == primary else by_columns.get(columns, name)
                )
    return names
