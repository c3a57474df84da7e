"""What an import will do, worked out from the whole file before anything is written.

Pure: lines in, plan out, the same for the same file whatever the database holds. That is what lets a killed import be run
again, and what `--dry-run` shows. Every line of the file ends in exactly one place: in an order, as a cancellation that
an order is refunded for, or among the rejected with a reason.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from orderkit.money import MAX_AMOUNT
from orderkit.orders.sources.lines import Format, SourceLine, Unfit, check_text
from orderkit.orders.sources.records import CsvFile, Record


@dataclass(frozen=True, slots=True)
class Rejected:
    record: Record
    reason: str


@dataclass(frozen=True, slots=True)
class PlannedRefund:
    """A cancellation line and what it gives back: `amount` minor units, which is 0 for goods that cost nothing.

    `number` names the line for ever: format, cancellation and its place therein. `whole` is whether all its pieces matched.
    """

    number: str
    line: SourceLine
    amount: int
    whole: bool


@dataclass(slots=True)
class PlannedOrder:
    """An order of the file, its lines in file order, and the refunds that later cancellations made of it."""

    number: str
    lines: list[SourceLine]
    total: int
    refunds: list[PlannedRefund] = field(default_factory=list)

    @property
    def first(self) -> SourceLine:
        """Whose customer, date, currency and country are the order's."""
        return self.lines[0]

    def all_lines(self) -> Iterator[SourceLine]:
        yield from self.lines
        yield from (refund.line for refund in self.refunds)


@dataclass(slots=True)
class Plan:
    """`orders` by date; `rejected` as found. Each of `read` records is in one of them."""

    format: Format
    header: tuple[str, ...]
    read: int
    currency: str
    orders: list[PlannedOrder]
    rejected: list[Rejected]


@dataclass(slots=True)
class _Left:
    """Pieces of one product that an order holds and no cancellation has taken back."""

    order: PlannedOrder
    pieces: int


class _Planner:
    def __init__(self, source: Format) -> None:
        self._source = source
        self.orders: list[PlannedOrder] = []
        self.rejected: list[Rejected] = []
        self._left: defaultdict[tuple[str, str], list[_Left]] = defaultdict(list)
        self._money_left: dict[str, int] = {}

    def reject(self, lines: Iterable[SourceLine], reason: str) -> None:
        self.rejected += [Rejected(line.record, reason) for line in lines]

    def order(self, number: str, lines: list[SourceLine]) -> None:
        total = sum(line.quantity * line.unit_price for line in lines)
        if total <= 0:
            return self.reject(lines, "the order's total is not positive")
        if total > MAX_AMOUNT:
            return self.reject(lines, "the order's total is more than can be counted")
        order = PlannedOrder(number, lines, total)
        self.orders.append(order)
        self._money_left[number] = total
        pieces: Counter[str] = Counter()
        for line in lines:
            pieces[line.sku] += line.quantity
        for sku, quantity in pieces.items():
            self._left[order.first.customer, sku].append(_Left(order, quantity))
        return None

    def cancellation(self, number: str, lines: list[tuple[int, SourceLine]]) -> None:
        """Gives back what each line names, to the latest order before it of the same customer and code with pieces left.

        At the cancellation's own price, up to the pieces and the money that are left of that one order.
        """
        for place, line in lines:
            candidates = self._left[line.customer, line.sku]
            while candidates and candidates[-1].pieces == 0:
                candidates.pop()
            if not candidates:
                self.reject(
                    [line], "the cancellation matches no earlier order of this customer and code with anything left"
                )
                continue
            left = candidates[-1]
            order = left.order
            pieces = min(line.quantity, left.pieces)
            amount = min(pieces * line.unit_price, self._money_left[order.number])
            if amount == 0 and line.unit_price > 0:
                self.reject([line], "the order that the cancellation matches is already refunded in full")
                continue
            left.pieces -= pieces
            self._money_left[order.number] -= amount
            whole = amount == line.quantity * line.unit_price
            order.refunds.append(PlannedRefund(f"{self._source.name}:{number}:{place}", line, amount, whole))


def plan(file: CsvFile, source: Format, *, at: datetime) -> Plan:
    """Plans the import of `file` as it stands at the instant `at`. Raises Unfit if the header lacks a column of the format."""
    planner = _Planner(source)
    lines = _fit_lines(planner, file, source, at)
    currency = lines[0].currency if lines else ""
    groups = _groups(planner, lines, currency)
    for number, group in sorted(groups.items(), key=lambda item: (item[1][0][1].placed_at, item[1][0][1].record.line)):
        if group[0][1].cancels:
            planner.cancellation(number, group)
        else:
            planner.order(number, [line for _, line in group])
    return Plan(source, file.header, len(file.records), currency, planner.orders, planner.rejected)


def _fit_lines(planner: _Planner, file: CsvFile, source: Format, at: datetime) -> list[SourceLine]:
    missing = [column for column in source.columns if column not in file.header]
    if missing:
        raise Unfit(f"has no column {', '.join(missing)}; format {source.name} has {', '.join(source.columns)}")
    positions = [file.header.index(column) for column in source.columns]
    lines: list[SourceLine] = []
    for record in file.records:
        try:
            if record.fault:
                raise Unfit(record.fault)
            values = [record.fields[position].strip() for position in positions]
            check_text(values)
            line = source.read(record, values)
            if line.placed_at > at:
                raise Unfit("the date is in the future")
        except Unfit as unfit:
            planner.rejected.append(Rejected(record, str(unfit)))
        else:
            lines.append(line)
    return lines


Group = list[tuple[int, SourceLine]]
"""Lines with one number, each with its place among all lines that could be read of that number, from 1."""


def _groups(planner: _Planner, lines: Sequence[SourceLine], currency: str) -> dict[str, Group]:
    """Lines by number, without those that contradict the first of their number or the file's currency."""
    groups: dict[str, Group] = {}
    places: Counter[str] = Counter()
    for line in lines:
        places[line.order] += 1
        group = groups.get(line.order)
        if line.currency != currency:
            planner.reject(
                [line], f"the currency is not {currency}, in which the file begins; import it as a file of its own"
            )
        elif group is None:
            groups[line.order] = [(places[line.order], line)]
        elif group[0][1].customer != line.customer:
            planner.reject([line], "the customer is another one than on the first line of this order")
        else:
            group.append((places[line.order], line))
    return groups
