"""The entity-relationship diagram, from the models: every table, and every relation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import CheckConstraint, Column, Index, PrimaryKeyConstraint, Table, UniqueConstraint
from sqlalchemy.schema import ColumnCollectionConstraint

from orderkit.print_pack.diagrams.drawing import SMALLEST, WIDTH, Box, path, rect, svg, text
from orderkit.schema import metadata

_UNIQUE = (PrimaryKeyConstraint, UniqueConstraint)

LANES: Sequence[Sequence[str]] = (
    (
        *("roles", "role_permissions", "users", "sessions", "api_keys"),
        *("account_mails", "audit_log", "signing_keys", "idempotency_keys"),
    ),
    (
        *("orders", "order_history", "order_items", "outbox"),
        *("products", "product_prices", "stock_movements", "rollups"),
    ),
    (
        *("payments", "payment_attempts", "refunds", "refund_lines"),
        *("fulfillments", "fulfillment_attempts", "dead_letters"),
    ),
)
"""Which tables stand below each other, so that relations are short: none skips a lane. Those in no lane stand in rows below."""

_ROW = 8.3
_HEADER = 10.6
_PADDING = 2.6
_GAP = 8.0
_LANE = 106.0
_GUTTER = (WIDTH - 2 - _LANE * len(LANES)) / (len(LANES) - 1)
_TRACK = 9.0
_A_ROW = 4


@dataclass(frozen=True, slots=True)
class Relation:
    """A foreign key: `table.column` names `parent.key`. `optional`: it may be null. `one`: no two rows name the same."""

    table: str
    column: str
    parent: str
    key: str
    optional: bool
    one: bool


def relations() -> list[Relation]:
    """All of them, in the order of their tables. Raises ValueError for a foreign key of several columns: none is drawn."""
    found = []
    for table in sorted(metadata.tables.values(), key=lambda table: table.name):
        alone = [set(rule.columns.keys()) for rule in table.constraints if isinstance(rule, _UNIQUE)]
        for foreign in sorted(table.foreign_key_constraints, key=lambda one: list(one.column_keys)):
            if len(foreign.elements) != 1:
                raise ValueError(f"{table.name} has a foreign key of several columns")
            [element] = foreign.elements
            one = {element.parent.name} in alone
            optional = bool(element.parent.nullable)
            named = element.column
            found.append(Relation(table.name, element.parent.name, named.table.name, named.name, optional, one))
    return found


def named_columns(table: Table) -> list[str]:
    """The columns that a key, a constraint or an index of their table names, in the table's order."""
    texts: list[str] = []
    named: set[str] = set()
    for rule in (*table.constraints, *table.indexes):
        if isinstance(rule, CheckConstraint):
            texts.append(str(rule.sqltext))
        elif isinstance(rule, (ColumnCollectionConstraint, Index)):
            named |= set(rule.columns.keys())
        if isinstance(rule, Index):
            texts.append(str(rule.dialect_options["postgresql"]["where"]))
    words = set(re.findall(r"\w+", " ".join(re.sub(r"'[^']*'", "", each) for each in texts)))
    return [column.name for column in table.columns if column.name in named | words]


def marks(column: Column[object]) -> str:
    """What a column is: PK and FK, and U where a unique constraint or index, alone or with others, has it."""
    rules = (*column.table.constraints, *column.table.indexes)
    unique = any(
        column.name in rule.columns
        for rule in rules
        if isinstance(rule, UniqueConstraint) or (isinstance(rule, Index) and rule.unique)
    )
    said = (("PK", column.primary_key), ("FK", bool(column.foreign_keys)), ("U", unique))
    return " ".join(mark for mark, holds in said if holds)


def lines(table: Table) -> list[tuple[str, str]]:
    """What stands in a table's box: columns with their marks, and how many more there are."""
    named = named_columns(table)
    more = len(table.columns) - len(named)
    return [(name, marks(table.columns[name])) for name in named] + ([(f"+ {more} more", "")] if more else [])


def draw() -> str:
    """The diagram as SVG."""
    boxes = _places()
    bottom = max(box.y + box.height for box in boxes.values())
    body = "".join(_relation_lines(boxes)) + "".join(_table(metadata.tables[name], box) for name, box in boxes.items())
    return svg(WIDTH, round(bottom + 2), "Tables and their relations", body + _legend(bottom))


def _height(table: Table) -> float:
    return _HEADER + _ROW * len(lines(table)) + _PADDING


def _table(table: Table, box: Box) -> str:
    drawn = rect(box, line=0.9) + rect(Box(box.x, box.y, box.width, _HEADER), fill="#e4e4e4", line=0.9)
    drawn += text(box.x + 4, box.y + 8, table.name, size=7.4, mono=True, bold=True)
    for number, (name, mark) in enumerate(lines(table), start=1):
        y = box.y + _HEADER + number * _ROW - 0.8
        drawn += text(box.x + 4, y, name, size=SMALLEST, mono=True, italic=name.startswith("+"))
        if mark:
            drawn += text(box.x + box.width - 3, y, mark, size=SMALLEST, mono=True, bold=True, anchor="end")
    return drawn


def _places() -> dict[str, Box]:
    """Where each table stands."""
    rest = dict(metadata.tables)
    lanes = [[rest.pop(name) for name in lane] for lane in LANES]
    heights = [sum(map(_height, lane)) for lane in lanes]
    whole = max(height + _GAP * (len(lane) - 1) for height, lane in zip(heights, lanes, strict=True))
    places = {}
    for number, lane in enumerate(lanes):
        y = 1.0
        for table in lane:
            places[table.name] = Box(1 + number * (_LANE + _GUTTER), y, _LANE, _height(table))
            y += _height(table) + (whole - heights[number]) / (len(lane) - 1)
    y = 1 + whole + 1.5 * _GAP
    low = sorted(rest.values(), key=lambda table: (-_height(table), table.name))
    for first in range(0, len(low), _A_ROW - 1):  # the last place of a row is the legend's
        row = low[first : first + _A_ROW - 1]
        for number, table in enumerate(row):
            places[table.name] = Box(1 + number * (_LANE + _GAP), y, _LANE, _height(table))
        y += _height(row[0]) + _GAP
    return places


def _relation_lines(boxes: Mapping[str, Box]) -> Iterator[str]:
    """For each parent and gutter one trunk, from its key to all that name it; a dot where another joins."""
    lane_of = {name: number for number, lane in enumerate(LANES) for name in lane}
    trunks: dict[tuple[int, str, str], list[Relation]] = {}
    for one in relations():
        lanes = sorted((lane_of[one.table], lane_of[one.parent]))
        if lanes[1] - lanes[0] > 1:
            raise ValueError(f"{one.table} and {one.parent} stand too far apart to be joined")
        gutter = min(lanes[0], len(LANES) - 2)
        trunks.setdefault((gutter, one.parent, one.key), []).append(one)
    taken: Counter[tuple[int, bool]] = Counter()
    for (gutter, parent, key), joined in sorted(trunks.items(), key=lambda item: (item[0][0], boxes[item[0][1]].y)):
        right = lane_of[parent] > gutter
        taken[gutter, right] += 1
        left_edge = 1 + _LANE + gutter * (_LANE + _GUTTER)
        away = 6 + _TRACK * taken[gutter, right]
        x = left_edge + (_GUTTER - away if right else away)
        yield _trunk(boxes, x, parent, key, joined)


def _trunk(boxes: Mapping[str, Box], x: float, parent: str, key: str, joined: Sequence[Relation]) -> str:
    start = _row(boxes, parent, key)
    ends = [(one, _row(boxes, one.table, one.column)) for one in joined]
    heights = [start, *(y for _one, y in ends)]
    edge, way = _side(boxes[parent], x)
    drawn = path(f"M{edge:.2f},{start:.2f}H{x:.2f}M{x:.2f},{min(heights):.2f}V{max(heights):.2f}")
    drawn += path(f"M{edge + 4 * way:.2f},{start - 3:.2f}v6")
    for one, y in ends:
        edge, way = _side(boxes[one.table], x)
        drawn += path(f"M{x:.2f},{y:.2f}H{edge:.2f}", dashes="2.5 2" if one.optional else "")
        if one.one:
            drawn += path(f"M{edge + 4 * way:.2f},{y - 3:.2f}v6")
        else:
            drawn += path(f"M{edge:.2f},{y - 3:.2f}L{edge + 6 * way:.2f},{y:.2f}L{edge:.2f},{y + 3:.2f}")
        if min(heights) < y < max(heights):
            drawn += _dot(x, y)
    return drawn + (_dot(x, start) if min(heights) < start < max(heights) else "")


def _dot(x: float, y: float) -> str:
    return f'<circle cx="{x:.2f}" cy="{y:.2f}" r="1.5"/>\n'


def _row(boxes: Mapping[str, Box], table: str, column: str) -> float:
    """The height of the middle of a column's line."""
    number = named_columns(metadata.tables[table]).index(column)
    return boxes[table].y + _HEADER + (number + 0.62) * _ROW


def _side(box: Box, x: float) -> tuple[float, int]:
    """The edge of a box that faces `x`, and the direction from there to it."""
    return (box.x + box.width, 1) if x > box.x else (box.x, -1)


def _legend(bottom: float) -> str:
    x, y = WIDTH - _LANE + 7, bottom - 25
    drawn = path(f"M{x:.2f},{y - 3:.2f}l6,3l-6,3M{x:.2f},{y:.2f}h20") + text(x + 25, y + 2.5, "many rows", size=7.5)
    y += 11
    drawn += path(f"M{x + 4:.2f},{y - 3:.2f}v6M{x:.2f},{y:.2f}h20") + text(x + 25, y + 2.5, "one row", size=7.5)
    y += 11
    drawn += path(f"M{x:.2f},{y:.2f}h20", dashes="2.5 2") + text(x + 25, y + 2.5, "may be null", size=7.5)
    return drawn
