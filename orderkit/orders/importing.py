"""Importing orders from a file: plan it whole, then write it in batches.

The plan does not ask the database, and a batch is one transaction that leaves alone what is there already. So an import that
was killed, at whatever point, is completed by running it again, and one that was completed changes nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid5

from orderkit.auth import enrolment
from orderkit.catalog import listing
from orderkit.catalog.listing import Listed
from orderkit.clock import now
from orderkit.db import Database
from orderkit.errors import Invalid
from orderkit.ids import new_id
from orderkit.orders import import_plan
from orderkit.orders.import_plan import Plan, PlannedOrder, Rejected
from orderkit.orders.past import AfterWriting, Differs, PastOrder, PastOrders, PastRefund
from orderkit.orders.pricing import PricedLine
from orderkit.orders.sources import FORMATS, records
from orderkit.orders.sources.lines import Unfit

GUEST = "guest@orderkit.invalid"
BATCH_ORDERS = 250
BATCH_LINES = 5_000
"""A batch ends with the order that reaches either: about 0.3 s of SQLite's one write lock, for which others wait up to 5 s."""

_REFUNDS = uuid5(NAMESPACE_URL, "urn:orderkit:imported-refund")

Progress = Callable[[int], None]
"""Told, after each batch, how many more lines are done."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of every line, and what the run added.

    `gross_by_day` and `gross_by_country` are the taken lines of orders, without cancellations: minor units, by date and
    country as the file has them. `in_part` counts taken cancellations of which not everything was left to give back, and
    `there_before` taken lines of which nothing was new.
    """

    read: int
    taken: int
    rejected: list[Rejected]
    orders_created: int
    refunds_created: int
    in_part: int
    there_before: int
    currency: str
    gross_by_day: dict[str, int]
    gross_by_country: dict[str, int]


def load(path: Path, format_name: str | None = None) -> Plan:
    """Reads and plans the file; without a name, in the first format whose columns the file has.

    Raises Invalid for a file or a format that cannot be read.
    """
    file = records.load(path)
    if format_name is None:
        format_name = next((one.name for one in FORMATS.values() if set(one.columns) <= set(file.header)), None)
    if format_name not in FORMATS:
        known = "; ".join(f"{one.name}: {', '.join(one.columns)}" for one in FORMATS.values())
        what = f"there is no format {format_name}" if format_name else f"{path} has the columns of no known format"
        raise Invalid(f"{what} ({known})")
    try:
        return import_plan.plan(file, FORMATS[format_name], at=now())
    except Unfit as unfit:
        raise Invalid(f"{path} {unfit}") from None


def preview(plan: Plan) -> Imported:
    """What an import of the plan into an empty database would answer, without the orders and refunds that it would create."""
    return _imported(plan, {}, orders=0, refunds=0, there_before=0)


def execute(
    database: Database, plan: Plan, *, progress: Progress = lambda _lines: None, after: AfterWriting | None = None
) -> Imported:
    """Writes what of the plan is not there yet, and calls `after` in each of its transactions.

    An order that was imported before with another total is left as it is, and its lines are rejected.
    """
    users, names = _prepare(database, plan)
    past = PastOrders(database, reason=f"imported from {plan.format.name}", announce=True, after=after)
    late: dict[str, str] = {}
    orders = refunds = there_before = 0
    for batch in _batches(plan.orders):
        members = [_past_order(plan, one, users[one.first.customer or GUEST], names) for one in batch]
        for one, outcome in zip(batch, past.bring_in(members), strict=True):
            if isinstance(outcome, Differs):
                late[one.number] = "the order was imported before with another total, and orders do not change"
            else:
                orders += outcome.created
                refunds += outcome.refunds
                if not outcome.created:
                    there_before += len(one.lines) + len(one.refunds) - outcome.refunds
        progress(sum(1 for one in batch for _ in one.all_lines()))
    return _imported(plan, late, orders=orders, refunds=refunds, there_before=there_before)


def _batches(orders: Sequence[PlannedOrder]) -> Iterator[list[PlannedOrder]]:
    batch: list[PlannedOrder] = []
    lines = 0
    for order in orders:
        batch.append(order)
        lines += len(order.lines)
        if len(batch) == BATCH_ORDERS or lines >= BATCH_LINES:
            yield batch
            batch, lines = [], 0
    if batch:
        yield batch


def _prepare(database: Database, plan: Plan) -> tuple[dict[str, UUID], dict[str, str]]:
    """Makes the users and products that the plan needs; users' ids by address, and products' names by SKU."""
    customers = {order.first.customer for order in plan.orders}
    people = {email: plan.format.user_name(email) for email in customers if email}
    products = _products(plan)
    with database.transaction() as session:
        listing.list_missing(session.connection(), products.values())
        users = enrolment.enrol(session.connection(), people | ({GUEST: "guest"} if "" in customers else {}))
    return users.ids, {sku: product.name for sku, product in products.items()}


def _products(plan: Plan) -> dict[str, Listed]:
    """Every product of the orders: the name most often given, which typing errors and remarks are not, and the latest price.

    Lines without a price are gifts and mistakes; a product costs nothing only if it never cost anything.
    """
    names: defaultdict[str, Counter[str]] = defaultdict(Counter)
    prices: dict[str, int] = {}
    for order in plan.orders:
        for line in order.lines:
            names[line.sku][line.name] += 1
            prices[line.sku] = line.unit_price or prices.get(line.sku, 0)
    for counts in names.values():
        del counts[""]
    return {
        sku: Listed(sku, names[sku].most_common(1)[0][0] if names[sku] else sku, price, plan.currency)
        for sku, price in prices.items()
    }


def _past_order(plan: Plan, order: PlannedOrder, user_id: UUID, names: Mapping[str, str]) -> PastOrder:
    first = order.first
    return PastOrder(
        order_id=new_id(),
        user_id=user_id,
        idempotency_key=f"{plan.format.name}:{order.number}",
        lines=tuple(
            PricedLine(
                line.sku, line.name or names[line.sku], line.quantity, line.unit_price, line.quantity * line.unit_price
            )
            for line in order.lines
        ),
        currency=plan.currency,
        total=order.total,
        placed_at=first.placed_at,
        method="imported",
        note=f"{plan.format.name} {order.number}" + (f", {first.country}" if first.country else ""),
        country=first.country or None,
        refunds=tuple(
            PastRefund(uuid5(_REFUNDS, one.identity), one.amount, one.line.placed_at, f"cancelled by {one.line.order}")
            for one in order.refunds
            if one.amount
        ),
    )


def _imported(plan: Plan, late: Mapping[str, str], *, orders: int, refunds: int, there_before: int) -> Imported:
    rejected = list(plan.rejected)
    by_day: Counter[str] = Counter()
    by_country: Counter[str] = Counter()
    in_part = 0
    for order in plan.orders:
        if order.number in late:
            rejected += [Rejected(line.record, late[order.number]) for line in order.all_lines()]
            continue
        in_part += sum(not one.whole for one in order.refunds)
        for line in order.lines:
            by_day[line.day] += line.quantity * line.unit_price
            by_country[line.country] += line.quantity * line.unit_price
    rejected.sort(key=lambda one: one.record.line)
    return Imported(
        read=plan.read,
        taken=plan.read - len(rejected),
        rejected=rejected,
        orders_created=orders,
        refunds_created=refunds,
        in_part=in_part,
        there_before=there_before,
        currency=plan.currency,
        gross_by_day=dict(sorted(by_day.items())),
        gross_by_country=dict(sorted(by_country.items())),
    )
