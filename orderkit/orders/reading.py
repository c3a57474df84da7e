"""Finding orders. What a page costs does not grow with the orders there are, whatever is filtered and however it is sorted.

A list walks an index in the order of the list, from where the page before ended: never OFFSET, never COUNT, and ties are
decided by the id, in the same direction. WALKS says which query rides which index. A filter that the walk's index cannot
apply is looked at row by row, so that the walk must be bounded; `page` says how.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, and_, literal, select, true, tuple_

from orderkit.orders import snapshot
from orderkit.orders.models import Order
from orderkit.orders.snapshot import OrderSnapshot

Sort = Literal["created_at", "total"]

_orders = Order.__table__  # type: ignore[attr-defined]

NEAR, FAR = 500, 4_000
"""Rows that a walk with filters its index cannot apply looks at: at first, and if that did not do, at most after."""


class ByTime(NamedTuple):
    """Where a page ended that is sorted by `created_at`."""

    key: datetime
    id: UUID


class ByTotal(NamedTuple):
    """Where a page ended that is sorted by `total`, in minor units of whatever currency."""

    key: int
    id: UUID


Position = ByTime | ByTotal
POSITIONS: dict[Sort, type[ByTime] | type[ByTotal]] = {"created_at": ByTime, "total": ByTotal}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which orders: those that fit all that is given. Times are half open, totals inclusive and in minor units.

    A total is compared as a number, whatever its currency: nothing here knows rates.
    """

    user_id: UUID | None = None
    status: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    min_total: int | None = None
    max_total: int | None = None
    number: int | None = None


class Walk(NamedTuple):
    """A query of a list: its name, the index it rides, the columns that are equal in all it meets, and what it is sorted by."""

    name: str
    rides: str
    equal: tuple[Literal["user_id", "status"], ...]
    sort: Sort


WALKS = (
    Walk("orders.by_time", "ix_orders_created_at", (), "created_at"),
    Walk("orders.of_status_by_time", "ix_orders_status_created_at", ("status",), "created_at"),
    Walk("orders.of_user_by_time", "ix_orders_user_id_created_at", ("user_id",), "created_at"),
    Walk(
        "orders.of_user_and_status_by_time",
        "ix_orders_user_id_status_created_at",
        ("user_id", "status"),
        "created_at",
    ),
    Walk("orders.by_total", "ix_orders_total", (), "total"),
    Walk("orders.of_user_by_total", "ix_orders_user_id_total", ("user_id",), "total"),
)
"""No index has both a status and the total: each would be written again at each change of status, for a list that staff
alone ask for, and seldom."""


class Found(NamedTuple):
    """A page, and where it ended if more may follow. It may have fewer than asked for, or none, and more follow yet."""

    orders: Sequence[OrderSnapshot]
    more_after: Position | None


def find(connection: Connection, order_id: UUID) -> OrderSnapshot | None:
    return snapshot.load(connection, [order_id]).get(order_id)


def position(order: OrderSnapshot, sort: Sort = "created_at") -> Position:
    """Where `order` stands in a list."""
    return ByTime(order.created_at, order.id) if sort == "created_at" else ByTotal(order.total, order.id)


def page(
    connection: Connection,
    wanted: Wanted,
    *,
    limit: int,
    sort: Sort = "created_at",
    descending: bool = True,
    after: Position | None = None,
) -> Found:
    """At most `limit` orders with their lines, after `after`.

    Where the index of the walk applies every filter, that is all. Where it does not (a range of totals sorted by time, or
    times or a status sorted by total):
    1. the walk looks at NEAR rows, which do wherever one in 25 fits;
    2. if there are no more than FAR orders along the other index, which applies these filters, those are sorted here;
    3. else the walk looks at FAR more rows, and the page ends there, full or not: the next goes on where it ended.
    """
    if wanted.number is not None:
        rows = connection.execute(by_number(wanted)).all()
        beyond = [row for row in rows if row.fits and _is_after(_at(row, sort), after, descending=descending)]
        return Found(_loaded(connection, wanted, beyond), None)
    rows, more_after = _keys(connection, wanted, limit, sort, descending, after)
    return Found(_loaded(connection, wanted, rows), more_after)


def _keys(
    connection: Connection, wanted: Wanted, limit: int, sort: Sort, descending: bool, after: Position | None
) -> tuple[Sequence[Any], Position | None]:
    """At most `limit` rows of `along`, and where to go on."""
    walk = walk_of(wanted, sort)
    if not _beside(walk, wanted):
        rows = connection.execute(along(walk, wanted, limit=limit + 1, descending=descending, after=after)).all()
        return rows[:limit], _at(rows[limit - 1], sort) if len(rows) > limit else None
    found: list[Any] = []
    start = after
    for count in (NEAR, FAR):
        rows = connection.execute(along(walk, wanted, limit=count, descending=descending, after=start)).all()
        found += [row for row in rows if row.fits]
        if len(found) > limit:
            return found[:limit], _at(found[limit - 1], sort)
        if len(rows) < count:
            return found, None
        start = _at(rows[-1], sort)
        if count == NEAR and (others := _gathered(connection, wanted, sort, descending, start)) is not None:
            found += others
            return found[:limit], _at(found[limit - 1], sort) if len(found) > limit else None
    return found, start


def _gathered(
    connection: Connection, wanted: Wanted, sort: Sort, descending: bool, after: Position
) -> list[Any] | None:
    """Those after `after`, found along the index of the other sort and sorted here; None if that is more than FAR rows."""
    walk = walk_of(wanted, "total" if sort == "created_at" else "created_at")
    rows = connection.execute(along(walk, wanted, limit=FAR + 1)).all()
    if len(rows) > FAR:
        return None
    fitting = (row for row in rows if row.fits and _is_after(_at(row, sort), after, descending=descending))
    return sorted(fitting, key=lambda row: _at(row, sort), reverse=descending)


def walk_of(wanted: Wanted, sort: Sort) -> Walk:
    """The walk in the order of `sort` whose index applies most of what is wanted."""
    fitting = [
        walk
        for walk in WALKS
        if walk.sort == sort and all(getattr(wanted, column) is not None for column in walk.equal)
    ]
    return max(fitting, key=lambda walk: len(walk.equal))


def along(
    walk: Walk, wanted: Wanted, *, limit: int, descending: bool = True, after: Position | None = None
) -> Select[Any]:
    """The first `limit` rows of a walk: created_at, total, id, and whether what its index cannot apply `fits`."""
    key, order_id = _orders.c[walk.sort], _orders.c.id
    conditions, beside = _conditions(wanted), _beside(walk, wanted)
    fits = and_(true(), *(conditions[name] for name in beside)).label("fits")
    query = select(_orders.c.created_at, _orders.c.total, order_id, fits)
    within = [name for name in conditions if name not in beside]
    if after is not None and _is_inside(after, wanted, walk.sort, descending=descending):
        # One bound where the walk starts: an engine that has two may start at the wider, and then every page walks again
        # what those before it did.
        within = [name for name in within if name != _BOUNDS[walk.sort][descending]]
        here = tuple_(literal(after.key, key.type), literal(after.id, order_id.type))
        query = query.where(tuple_(key, order_id) < here if descending else tuple_(key, order_id) > here)
    query = query.where(*(conditions[name] for name in within))
    order = (key.desc(), order_id.desc()) if descending else (key, order_id)
    return query.order_by(*order).limit(limit).execution_options(query=walk.name)


def by_number(wanted: Wanted) -> Select[Any]:
    """The order of that number, with the columns of `along`. Rides uq_orders_number."""
    conditions = _conditions(wanted)
    number = conditions.pop("number")
    fits = and_(true(), *conditions.values()).label("fits")
    found = select(_orders.c.created_at, _orders.c.total, _orders.c.id, fits).where(number)
    return found.execution_options(query="orders.by_number")


_BOUNDS: dict[Sort, tuple[str, str]] = {
    "created_at": ("created_from", "created_to"),
    "total": ("min_total", "max_total"),
}
"""Where a walk starts: ascending, descending."""


def _conditions(wanted: Wanted) -> dict[str, ColumnElement[bool]]:
    """What is wanted, by the name of its field."""
    of = _orders.c
    possible: dict[str, Callable[[Any], ColumnElement[bool]]] = {
        "user_id": of.user_id.__eq__,
        "status": of.status.__eq__,
        "created_from": of.created_at.__ge__,
        "created_to": of.created_at.__lt__,
        "min_total": of.total.__ge__,
        "max_total": of.total.__le__,
        "number": of.number.__eq__,
    }
    given = {name: getattr(wanted, name) for name in possible}
    return {name: possible[name](value) for name, value in given.items() if value is not None}


def _is_inside(after: Position, wanted: Wanted, sort: Sort, *, descending: bool) -> bool:
    """Whether `after` is within the bound that a walk starts at. Where it is not, all that is wanted comes after it."""
    bound = getattr(wanted, _BOUNDS[sort][descending])
    if bound is None:
        return True
    if descending and sort == "created_at":
        return bool(after.key < bound)
    return bool(after.key <= bound if descending else after.key >= bound)


def _beside(walk: Walk, wanted: Wanted) -> list[str]:
    """The fields of what is wanted that the walk's index cannot apply."""
    applied = {*walk.equal, *_BOUNDS[walk.sort]}
    return [name for name in wanted.__dataclass_fields__ if name not in applied and getattr(wanted, name) is not None]


def _at(row: Any, sort: Sort) -> Position:
    return ByTime(row.created_at, row.id) if sort == "created_at" else ByTotal(row.total, row.id)


def _is_after(one: tuple[Any, UUID], after: tuple[Any, UUID] | None, *, descending: bool) -> bool:
    # A UUID compares as its bytes do, and so do PostgreSQL's uuid and the hexadecimal text that SQLite keeps.
    return after is None or (one < after if descending else one > after)


def _loaded(connection: Connection, wanted: Wanted, rows: Sequence[Any]) -> Sequence[OrderSnapshot]:
    """The orders of those rows. PostgreSQL reads them anew: one whose status changed in between fits no more."""
    orders = snapshot.load(connection, [row.id for row in rows]) if rows else {}
    return [
        orders[row.id]
        for row in rows
        if row.id in orders and (wanted.status is None or orders[row.id].status == wanted.status)
    ]
