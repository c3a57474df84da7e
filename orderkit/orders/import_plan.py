"""What an import will do, worked out from the whole file before anything is written.

Pure: lines in, plan out, the same for the same file whatever the database holds. That is what lets a killed import be run
again, and what `--dry-run` shows. Every line of the file ends in exactly one place: in an order, as a cancellation that
an order is refunded for, or among the rejected with a reason.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from orderkit.money import MAX_AMOUNT
from orderkit.orders.sources.lines import Format, SourceLine, Unfit, check_text
from orderkit.orders.sources.records import CsvFile, Record

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""No shop took orders by computer before; a date of the year 1 or 1900 is how a spreadsheet says that it knows none."""


@dataclass(frozen=True, slots=True)
class Rejected:
    record: Record
    reason: str


@dataclass(frozen=True, slots=True)
class PlannedRefund:
    """A cancellation line and what it gives back: `amount` minor units, which is 0 for goods that cost nothing.

    `identity` names the line for ever, also in a file that was mended elsewhere. `whole` is whether all of it was left to
    be given back.
    """

    identity: str
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
        self.broken: set[str] = set()
        self._left: defaultdict[tuple[str, str], list[_Left]] = defaultdict(list)
        self._money_left: dict[str, int] = {}

    def reject(self, lines: Iterable[SourceLine], reason: str) -> None:
        for line in lines:
            self.reject_record(line.record, line.order, reason)

    def reject_record(self, record: Record, number: str, reason: str) -> None:
        self.rejected.append(Rejected(record, reason))
        self.broken.add(number)

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

    def cancellation(self, lines: Iterable[SourceLine]) -> None:
        """Gives back what each line names, to the latest order before it of the same customer and code with pieces left.

        At the cancellation's own price, up to the pieces and the money that are left of that one order.
        """
        alike: Counter[str] = Counter()
        for line in lines:
            content = f"{self._source.name}:{line.order}:{line.sku}:{line.quantity}:{line.unit_price}"
            alike[content] += 1
            left = self._latest_with_pieces(line)
            if left is None:
                self.reject(
                    [line], "the cancellation matches no earlier order of this customer and code with anything left"
                )
                continue
            pieces = min(line.quantity, left.pieces)
            amount = min(pieces * line.unit_price, self._money_left[left.order.number])
            if amount == 0 and line.unit_price > 0:
                self.reject([line], "the order that the cancellation matches is already refunded in full")
                continue
            left.pieces -= pieces
            self._money_left[left.order.number] -= amount
            whole = amount == line.quantity * line.unit_price
            left.order.refunds.append(PlannedRefund(f"{content}:{alike[content]}", line, amount, whole))

    def _latest_with_pieces(self, line: SourceLine) -> _Left | None:
        candidates = self._left[line.customer, line.sku]
        while candidates and candidates[-1].pieces == 0:
            candidates.pop()
        return candidates[-1] if candidates else None


def plan(file: CsvFile, source: Format, *, at: datetime) -> Plan:
    """Plans the import of `file` as it stands at the instant `at`. Raises Unfit if the header lacks a column of the format."""
    planner = _Planner(source)
    lines = _fit_lines(planner, file, source, at)
    currency = lines[0].currency if lines else ""
    groups = _groups(planner, lines, currency)
    for number, group in sorted(groups.items(), key=lambda item: (item[1][0].placed_at, item[1][0].record.line)):
        if source.whole_orders and number in planner.broken:
            planner.reject(group, "another line of this order cannot be taken")
        elif group[0].cancels:
            planner.cancellation(group)
        else:
            planner.order(number, group)
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
            if line.placed_at < EARLIEST:
                raise Unfit(f"the date is before {EARLIEST.year}")
        except Unfit as unfit:
            planner.reject_record(record, record.fields[positions[0]].strip(), str(unfit))
        else:
            lines.append(line)
    return lines


def _groups(planner: _Planner, lines: Sequence[SourceLine], currency: str) -> dict[str, list[SourceLine]]:
    """Lines by number, without those that contradict the first of their number or the file's currency."""
    groups: dict[str, list[SourceLine]] = {}
    for line in lines:
        group = groups.setdefault(line.order, [])
        if line.currency != currency:
            planner.reject([line], f"the currency is not the file's first, {currency}; import it as a file of its own")
        elif group and group[0].customer != line.customer:
            planner.reject([line], "the customer is another one than on the first line of this order")
        else:
            group.append(line)
    return {number: group for number, group in groups.items() if group}
