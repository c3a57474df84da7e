"""Which pieces of an order a refund is for: all refunds together never for more than were ordered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, delete, select

from orderkit.errors import Conflict, Invalid
from orderkit.orders.pricing import PricedLine
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
            _missing(asked[strange[0]], len(ordered)),
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


def _missing(one: AskedLine, ordered: int) -> str:
    if one.line is None:
        return f"{one.sku!r} is not on this order"
    return f"line {one.line} is not on this order, which has {ordered}"


def _named(one: AskedLine, ordered: Sequence[PricedLine]) -> list[int]:
    if one.line is not None:
        return [one.line] if 1 <= one.line <= len(ordered) else []
    return [number for number, line in enumerate(ordered, start=1) if line.sku == one.sku]


def free(ordered: Sequence[PricedLine], taken: Mapping[int, int]) -> tuple[Pieces, ...]:
    """The pieces that no refund is for yet, by line; `taken` as in `allocate`."""
    left = [(number, line.sku, line.quantity - taken.get(number, 0)) for number, line in enumerate(ordered, start=1)]
    return tuple(Pieces(*one) for one in left if one[2] > 0)


def taken(connection: Connection, payment_id: UUID) -> Counter[int]:
    """Pieces by line that refunds are for which have not failed."""
    found = select(_lines.c.line, _lines.c.quantity).join(_refunds, _refunds.c.id == _lines.c.refund_id)
    found = found.where(_refunds.c.payment_id == payment_id, _refunds.c.status != RefundStatus.FAILED.value)
    pieces: Counter[int] = Counter()
    for line, quantity in connection.execute(found.execution_options(query="refunds.taken")):
        pieces[line] += quantity
    return pieces


def keep_free(connection: Connection, refund_id: UUID, ordered: Sequence[PricedLine], taken: Mapping[int, int]) -> None:
    """Takes from a refund those of its lines that are no longer free in whole; `taken` counts the pieces of others."""
    left = {one.line: one.quantity for one in free(ordered, taken)}
    mine = of_refunds(connection, [refund_id])[refund_id]
    if gone := [line for line, quantity in mine if quantity > left.get(line, 0)]:
        connection.execute(delete(_lines).where(_lines.c.refund_id == refund_id, _lines.c.line.in_(gone)))


def of_refunds(connection: Connection, refund_ids: Sequence[UUID]) -> dict[UUID, list[tuple[int, int]]]:
    """Line and quantity, in the order of lines, of each of those refunds; those without lines have an empty list."""
    lines: dict[UUID, list[tuple[int, int]]] = {one: [] for one in refund_ids}
    found = select(_lines).where(any_of(connection, _lines.c.refund_id, refund_ids))
    ordered = found.order_by(_lines.c.refund_id, _lines.c.line)
    for row in connection.execute(ordered.execution_options(query="refunds.lines")):
        lines[row.refund_id].append((row.line, row.quantity))
    return lines
