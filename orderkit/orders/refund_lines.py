"""Which pieces of an order a refund is for, and which of them came back into stock: never more than were ordered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, select

from orderkit.errors import Conflict, Invalid
from orderkit.inventory import stock
from orderkit.orders import pricing
from orderkit.orders.pricing import PricedLine
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.payments.models import Refund, RefundLine, RefundStatus
from orderkit.rows import any_of

_refunds = Refund.__table__  # type: ignore[attr-defined]
_lines = RefundLine.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class AskedLine:
    """So many pieces of a line of the order, named by its number, from 1, or by its SKU: one of the two."""

    quantity: int
    line: int | None = None
    sku: str | None = None


class Pieces(NamedTuple):
    """So many pieces of a line."""

    line: int
    sku: str
    quantity: int


def allocate(
    asked: Sequence[AskedLine], ordered: Sequence[PricedLine], taken: Mapping[int, int], *, left: int
) -> tuple[Pieces, ...]:
    """The pieces that are asked for, by line. A SKU on several lines is taken from the first that has some left.

    `taken` counts, by line, the pieces of refunds that have not failed; `left` is the money, told with the refusal. Raises
    Invalid, with a pointer to each line that the order does not have, and Conflict where less is left than is asked for.
    """
    named = [_named(one, ordered) for one in asked]
    strange = [n for n, lines in enumerate(named) if not lines]
    if strange:
        raise Invalid(
            "the order does not have all these lines",
            pointers=[
                (f"#/lines/{n}/{'sku' if asked[n].line is None else 'line'}", "is not on this order") for n in strange
            ],
        )
    pieces: Counter[int] = Counter()
    for one, lines in zip(asked, named, strict=True):
        wanted = one.quantity
        for number in lines:
            free = ordered[number - 1].quantity - taken.get(number, 0) - pieces[number]
            some = min(wanted, max(free, 0))
            pieces[number] += some
            wanted -= some
        if wanted:
            what = ordered[lines[0] - 1].sku
            raise Conflict(
                f"{one.quantity} of {what} were asked for, but only {one.quantity - wanted} of them are not refunded yet",
                facts={"left": left, "sku": what, "pieces_left": one.quantity - wanted},
            )
    return tuple(Pieces(number, ordered[number - 1].sku, pieces[number]) for number in sorted(pieces) if pieces[number])


def _named(one: AskedLine, ordered: Sequence[PricedLine]) -> list[int]:
    if one.line is not None:
        return [one.line] if 1 <= one.line <= len(ordered) else []
    return [number for number, line in enumerate(ordered, start=1) if line.sku == one.sku]


def taken(connection: Connection, payment_id: UUID) -> Counter[int]:
    """Pieces by line that refunds are for which have not failed."""
    found = select(_lines.c.line, _lines.c.quantity).join(_refunds, _refunds.c.id == _lines.c.refund_id)
    found = found.where(_refunds.c.payment_id == payment_id, _refunds.c.status != RefundStatus.FAILED.value)
    pieces: Counter[int] = Counter()
    for line, quantity in connection.execute(found.execution_options(query="refunds.taken")):
        pieces[line] += quantity
    return pieces


def of_refunds(connection: Connection, refund_ids: Sequence[UUID]) -> dict[UUID, list[tuple[int, int]]]:
    """Line and quantity, in the order of lines, of each of those refunds; those without lines have an empty list."""
    lines: dict[UUID, list[tuple[int, int]]] = {one: [] for one in refund_ids}
    found = select(_lines).where(any_of(connection, _lines.c.refund_id, refund_ids))
    ordered = found.order_by(_lines.c.refund_id, _lines.c.line)
    for row in connection.execute(ordered.execution_options(query="refunds.lines")):
        lines[row.refund_id].append((row.line, row.quantity))
    return lines


def restocked(connection: Connection, order: OrderSnapshot) -> Counter[int]:
    """Pieces by line that came back into stock with refunds that succeeded. The order is locked and has its lines."""
    whole = {number: line.quantity for number, line in enumerate(order.lines, start=1)}
    found = select(_refunds.c.id).where(
        _refunds.c.payment_id == order.payment_id,
        _refunds.c.restock.is_(True),
        _refunds.c.status == RefundStatus.SUCCEEDED.value,
    )
    back: Counter[int] = Counter()
    refund_ids = connection.execute(found.execution_options(query="refunds.restocked")).scalars().all()
    for lines in of_refunds(connection, refund_ids).values():
        for line, quantity in lines or whole.items():
            back[line] = min(back[line] + quantity, whole[line])
    return back


def put_back(
    connection: Connection,
    order: OrderSnapshot,
    wanted: Sequence[tuple[int, int]] | None,
    already: Mapping[int, int],
    *,
    refund_id: UUID,
    author_id: UUID | None,
    at: datetime,
) -> None:
    """Puts goods of a locked order into stock, with a movement: `wanted` by line, or all, less those that are `already` there."""
    quantities: Counter[str] = Counter()
    asked = dict(wanted) if wanted is not None else None
    for number, line in enumerate(order.lines, start=1):
        out = line.quantity - already.get(number, 0)
        quantities[line.sku] += out if asked is None else min(out, asked.get(number, 0))
    returned = {sku: quantity for sku, quantity in quantities.items() if quantity}
    if returned:
        stock.receive(connection, returned, f"restock of refund {refund_id}", at=at, author_id=author_id)


def release(connection: Connection, order: OrderSnapshot, *, at: datetime) -> None:
    """Gives back the goods of a locked order that was cancelled just now, all of them once.

    A release is no movement. Pieces that came back with a refund before are in a movement already, so another takes them
    out again.
    """
    already: Counter[str] = Counter()
    for line, quantity in restocked(connection, order).items():
        already[order.lines[line - 1].sku] += quantity
    stock.give_back(connection, pricing.needs(order.lines))
    if already:
        undone = {sku: -quantity for sku, quantity in already.items()}
        stock.receive(connection, undone, f"restocked before order {order.id} was cancelled", at=at)
