"""What a page of a list of orders costs among few orders and among many.

    python -m loadtests.lists

Fills a new database with orders, half of them one customer's, reads each list again and again, adds orders and reads them
once more. The number is the ratio of the two medians: it is to stay near 1, however many orders there are. Times are those of
`reading.page` with 20 orders and their lines, without HTTP.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from statistics import median
from uuid import UUID

from loadtests import stack
from loadtests.stack import Engine, Stack
from orderkit.clock import now
from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.orders import reading
from orderkit.orders.models import Order, OrderItem
from orderkit.orders.reading import Found, Position, Sort, Wanted
from orderkit.orders.states import OrderStatus
from orderkit.payments.models import Payment
from orderkit.rows import insert_rows
from orderkit.settings import Settings

CUSTOMERS = 100
BIG = UUID(int=1)
"""The customer whose orders are half of all."""
LIMIT = 20
BATCH = 1_000
START = datetime(2025, 1, 1, tzinfo=UTC)
DAYS = 365
STATUSES = tuple(OrderStatus)
SHARES = {
    "delivered": 80,
    "shipped": 10,
    "paid": 5,
    "payment_failed": 2,
    "cancelled": 1.5,
    "refunded": 1,
    "pending": 0.5,
}
MOST = 20_000
"""The dearest order, in minor units."""


@dataclass(frozen=True)
class Case:
    name: str
    wanted: Wanted
    sort: Sort = "created_at"
    descending: bool = True
    after: Position | None = None


MIDDLE = START + timedelta(days=DAYS / 2)
A_DAY = Wanted(created_from=MIDDLE, created_to=MIDDLE + timedelta(days=1))
CASES = (
    Case("newest", Wanted()),
    Case("oldest", Wanted(), descending=False),
    Case("newest, from the middle on", Wanted(), after=reading.ByTime(MIDDLE, BIG)),
    Case("dearest", Wanted(), "total"),
    Case("dearest, from the middle on", Wanted(), "total", after=reading.ByTotal(MOST // 2, BIG)),
    Case("one day", A_DAY),
    Case("of a common status", Wanted(status="delivered")),
    Case("of a rare status", Wanted(status="pending")),
    Case("of one customer", Wanted(user_id=BIG)),
    Case("of one customer, of a rare status", Wanted(user_id=BIG, status="pending")),
    Case("of one customer, dearest", Wanted(user_id=BIG), "total"),
    Case("by number", Wanted(number=500)),
    Case("totals of the upper half, newest", Wanted(min_total=MOST // 2)),
    Case("totals of the highest hundredth, newest", Wanted(min_total=MOST // 100 * 99)),
    Case("totals above all, newest", Wanted(min_total=MOST + 1)),
    Case("of one customer, totals above all, newest", Wanted(user_id=BIG, min_total=MOST + 1)),
    Case("one day, dearest", A_DAY, "total"),
    Case("of a common status, dearest", Wanted(status="delivered"), "total"),
    Case("of a rare status, dearest", Wanted(status="pending"), "total"),
    Case("of one customer, of a rare status, dearest", Wanted(user_id=BIG, status="pending"), "total"),
)


def fill(database: Database, start: int, stop: int) -> None:
    """Adds orders number `start` to `stop`, each with one line, spread over a year."""
    draw = Random(start)
    of = stack.sku(1)
    for first in range(start, stop, BATCH):
        at, orders, items, payments = now(), [], [], []
        for number in range(first, min(first + BATCH, stop)):
            order_id, total = new_id(), draw.randint(1, MOST)
            user_id = BIG if draw.random() < 0.5 else UUID(int=draw.randint(2, CUSTOMERS))
            [status] = draw.choices(STATUSES, [SHARES[one] for one in STATUSES])
            created_at = START + timedelta(seconds=draw.randrange(DAYS * 86_400))
            orders.append(
                {
                    "id": order_id,
                    "user_id": user_id,
                    "idempotency_key": order_id.hex,
                    "status": status.value,
                    "currency": "GBP",
                    "total": total,
                    "number": number,
                    "version": 1,
                    "created_at": created_at,
                    "updated_at": at,
                }
            )
            items.append(
                {
                    "order_id": order_id,
                    "line": 1,
                    "sku": of,
                    "name": "Something",
                    "quantity": 1,
                    "unit_price": total,
                    "line_total": total,
                }
            )
            payments.append(
                {
                    "id": new_id(),
                    "order_id": order_id,
                    "status": "imported",
                    "method": "imported",
                    "amount": total,
                    "currency": "GBP",
                    "refunded": 0,
                    "attempts": 0,
                    "run_at": at,
                    "created_at": created_at,
                    "updated_at": at,
                }
            )
        with database.transaction() as session:
            connection = session.connection()
            insert_rows(connection, Order, orders)
            insert_rows(connection, OrderItem, items)
            insert_rows(connection, Payment, payments)


def timed(database: Database, case: Case, times: int) -> tuple[float, int]:
    """The median of `times` readings in ms, and how many orders the page has."""
    taken, orders = [], 0
    for _ in range(times + 1):
        started = time.perf_counter()
        orders = len(_read(database, case).orders)
        taken.append((time.perf_counter() - started) * 1e3)
    return median(taken[1:]), orders


def _read(database: Database, case: Case) -> Found:
    with database.reading() as session:
        return reading.page(
            session.connection(),
            case.wanted,
            limit=LIMIT,
            sort=case.sort,
            descending=case.descending,
            after=case.after,
        )


def measure(engine: Engine, chosen: argparse.Namespace, say: Callable[[str], None]) -> None:
    database = Database(Settings(database_url=engine.url))
    try:
        results = []
        for start, stop in ((1, chosen.few + 1), (chosen.few + 1, chosen.many + 1)):
            fill(database, start, stop)
            stack.settle_down(engine)
            results.append([timed(database, case, chosen.times) for case in CASES])
    finally:
        database.dispose()
    width = max(len(case.name) for case in CASES)
    say(f"{engine.name} · {os.cpu_count()} cores shared by all · median of {chosen.times}, ms (orders on the page)")
    say(f"{'list':{width}}  {chosen.few:>14,}  {chosen.many:>14,}  ratio")
    for case, (few, shown_few), (many, shown_many) in zip(CASES, *results, strict=True):
        say(f"{case.name:{width}}  {few:9.2f} ({shown_few:2})  {many:9.2f} ({shown_many:2})  {many / few:5.2f}")


def main() -> int:
    chosen = _arguments()
    with stack.tidy_when_told_to_stop(), ExitStack() as until_done:
        running = until_done.enter_context(Stack.migrated(sqlite=not chosen.postgresql))
        running.seed(products=1, users=CUSTOMERS)
        measure(running.engine, chosen, lambda line: print(line, flush=True))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.lists", description=__doc__.splitlines()[0])
    parser.add_argument("--postgresql", action="store_true", help="on PostgreSQL instead of SQLite")
    parser.add_argument("--few", type=int, default=1_000, metavar="N", help="orders at first (1,000)")
    parser.add_argument("--many", type=int, default=100_000, metavar="N", help="orders in the end (100,000)")
    parser.add_argument("--times", type=int, default=25, metavar="N", help="readings of each list (25)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
