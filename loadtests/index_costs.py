"""What each index costs on write: how much longer orders take for it, in CPU time of the database.

    python -m loadtests.index_costs

Writes the life of an order (key, order, lines, payment, history, events, attempt, parcel, and the changes of status until it is
shipped) again and again, among orders that are there already, with each index and without it in turn. Each round is one
transaction that is rolled back. Writes `orderkit/explain/costs.json`, which `orderkit explain`, the comments of the indexes
and docs/indexes.md read. Indexes that an order does not write to, and keys that cannot be taken away, are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, UniqueConstraint, select, text
from sqlalchemy.exc import OperationalError
from sqlmodel import col

from loadtests import stack
from loadtests.stack import ROOT, Stack
from orderkit import idempotency
from orderkit.auth.models import User
from orderkit.clock import now
from orderkit.db import Database
from orderkit.events.models import OutboxEvent
from orderkit.explain import indexes
from orderkit.fulfillment.models import Fulfillment
from orderkit.idempotency import Claim
from orderkit.ids import new_id
from orderkit.orders import changes, placement, refunds
from orderkit.orders.changes import Change
from orderkit.orders.models import OrderHistory
from orderkit.orders.pricing import PricedLine
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.orders.states import OrderStatus
from orderkit.payments.charging import Attempt
from orderkit.payments.models import Payment
from orderkit.rows import Writes, insert_rows, update_rows
from orderkit.settings import Settings

FILE = ROOT / "orderkit" / "explain" / "costs.json"
CUSTOMERS = 200
TOGETHER = 25
"""Orders of one statement, as in a busy shop."""
WRITTEN = (
    "orders",
    "payments",
    "payment_attempts",
    "outbox",
    "fulfillments",
    "idempotency_keys",
)
"""Tables that every order writes to."""


class Life:
    """Orders of a shop, one after the other, each with two lines."""

    def __init__(self, users: list[UUID], seed: int) -> None:
        self._users, self._draw, self._number = users, Random(seed), 1

    def write(self, connection: Connection, count: int) -> None:
        for _ in range(count // TOGETHER):
            self._together(connection, [self._order() for _ in range(TOGETHER)])

    def _order(self) -> OrderSnapshot:
        at, price = now(), self._draw.randint(100, 20_000)
        self._number += 1
        lines = tuple(PricedLine(stack.sku(n), "Something", 1, price, price) for n in (1, 2))
        order = OrderSnapshot(
            new_id(), self._draw.choice(self._users), new_id().hex, "pending", "GBP", 2 * price, None, None, 1, at, at,
            new_id(), "created", "pm_card_visa", None, 0, 0,
        )  # fmt: skip
        order.number, order.items = self._number, lines
        return order

    def _together(self, connection: Connection, orders: list[OrderSnapshot]) -> None:
        at, first = now(), new_id()  # whatever comes now has a higher id: nothing is found by an index that may be away
        claims = [Claim(one.key, "0" * 64, one.id) for one in orders]
        idempotency.claim(connection, claims, at=at, lease=timedelta(seconds=10))
        writes = Writes(connection)
        placement.write_orders(writes, orders)
        insert_rows(writes, Payment, [_payment(one) for one in orders])
        insert_rows(writes, OrderHistory, [changes.history_row(_placed(one), None, 1, at) for one in orders])
        writes.send()
        writes = Writes(connection)
        captured = [
            {
                "id": one.payment_id,
                "status": "captured",
                "provider_reference": one.id.hex,
                "attempts": 1,
                "updated_at": at,
            }
            for one in orders
        ]
        update_rows(writes, Payment, captured)
        refunds.record_attempts(
            writes, [(one.payment_id, Attempt(1, "charge", "captured", None, at, 5)) for one in orders]
        )
        changes.apply(writes, [Change(one, OrderStatus.PAID, "payment captured") for one in orders], at=at)
        writes.send()
        parcels = [_parcel(one, at) for one in orders]
        insert_rows(connection, Fulfillment, parcels)
        unsent = select(OutboxEvent.id).where(col(OutboxEvent.id) > first)
        sent = [{"id": one, "sent_at": at} for one in connection.execute(unsent).scalars()]
        update_rows(connection, OutboxEvent, sent)
        booked = [{"id": one["id"], "status": "succeeded", "tracking_number": "T", "updated_at": at} for one in parcels]
        update_rows(connection, Fulfillment, booked)
        changes.apply(connection, [Change(one, OrderStatus.SHIPPED, "booked") for one in orders], at=at)


def _payment(order: OrderSnapshot) -> dict[str, Any]:
    return {
        "id": order.payment_id,
        "order_id": order.id,
        "status": order.payment_status,
        "method": order.payment_method,
        "amount": order.total,
        "currency": order.currency,
        "refunded": 0,
        "attempts": 0,
        "run_at": order.created_at,
        "created_at": order.created_at,
        "updated_at": order.created_at,
    }


def _parcel(order: OrderSnapshot, at: datetime) -> dict[str, Any]:
    return {
        "id": new_id(),
        "order_id": order.id,
        "status": "queued",
        "run_at": at,
        "token": 1,
        "attempts": 1,
        "created_at": at,
        "updated_at": at,
    }


def _placed(order: OrderSnapshot) -> Change:
    return Change(order, OrderStatus.PENDING, "placed", actor_id=order.user_id)


def measured(database: Database, life: Life, orders: int, drop: str | None) -> float | None:
    """CPU seconds of one round, without an index if one is named; None if that cannot be taken away."""
    with database.reading() as session:
        connection = session.connection()
        if not database.is_sqlite:
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        if drop is not None:
            try:
                connection.execute(text(drop))
            except OperationalError:
                return None
        life.write(connection, TOGETHER)  # what is planned and compiled once, is
        clock = _clock(database, connection)
        started = clock()
        life.write(connection, orders)
        return clock() - started


def _clock(database: Database, connection: Connection) -> Callable[[], float]:
    """CPU seconds of whoever does the work: this process on SQLite, the server's on PostgreSQL. Others do not disturb it."""
    if database.is_sqlite:
        return time.process_time
    scheduled = Path(f"/proc/{connection.execute(text('SELECT pg_backend_pid()')).scalar_one()}/schedstat")
    return lambda: int(scheduled.read_text().split()[0]) / 1e9


def _drop(name: str, table: str, index: Any, *, sqlite: bool) -> str | None:
    if isinstance(index, UniqueConstraint):
        return None if sqlite else f"ALTER TABLE {table} DROP CONSTRAINT {name}"
    return f"DROP INDEX {name}"


def shares(database: Database, chosen: argparse.Namespace, say: Callable[[str], None]) -> dict[str, float]:
    """By index, how much longer an order takes for it: the shortest round with it, against the shortest without.

    What else happens on a machine only ever makes a round longer.
    """
    with database.reading() as session:
        life = Life([*session.connection().execute(select(User.id)).scalars()], seed=1)
    with database.transaction() as session:
        life.write(session.connection(), chosen.there)
    found: dict[str, float] = {}
    for name, (table, index) in indexes.all_indexes().items():
        drop = _drop(name, table.name, index, sqlite=database.is_sqlite)
        if table.name not in WRITTEN or drop is None:
            continue
        rounds = []
        for _ in range(chosen.rounds):
            without, whole = (measured(database, life, chosen.orders, one) for one in (drop, None))
            if without is None or whole is None:
                break
            rounds.append((without, whole))
        if rounds:
            without, whole = map(min, zip(*rounds, strict=True))
            found[name] = round(max(whole / without - 1, 0.0), 3)
            each, before = (one / chosen.orders * 1e6 for one in (whole, without))
            say(f"  {name:45} {found[name]:6.1%} {each:7.1f} µs an order, {before:7.1f} without")
    return found


def main() -> int:
    chosen = _arguments()
    costs = _of_others(chosen)
    for engine_name in chosen.engines:
        with stack.tidy_when_told_to_stop(), ExitStack() as until_done:
            running = until_done.enter_context(Stack.migrated(sqlite=engine_name == "sqlite"))
            running.seed(products=2, users=CUSTOMERS)
            print(
                f"{running.engine.name}: among {chosen.there:,} orders, {chosen.rounds} pairs of {chosen.orders:,}",
                flush=True,
            )
            database = Database(Settings(database_url=running.engine.url))
            try:
                for name, share in shares(database, chosen, lambda line: print(line, flush=True)).items():
                    costs.setdefault(name, {})[engine_name] = share
            finally:
                database.dispose()
    told = {"measured_by": "python -m loadtests.index_costs", "costs": dict(sorted(costs.items()))}
    chosen.output.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 0


def _of_others(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """What was measured before of engines that are not measured now."""
    if not chosen.output.exists():
        return {}
    before: dict[str, dict[str, float]] = json.loads(chosen.output.read_text(encoding="utf-8"))["costs"]
    kept = {name: {one: share for one, share in of.items() if one not in chosen.engines} for name, of in before.items()}
    return {name: of for name, of in kept.items() if of and name in indexes.all_indexes()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.index_costs", description=__doc__.splitlines()[0])
    parser.add_argument("--there", type=int, default=10_000, metavar="N", help="orders that are there (10,000)")
    parser.add_argument("--orders", type=int, default=500, metavar="N", help="orders of a round (500)")
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="pairs of rounds for each index (15)")
    parser.add_argument("--engines", type=lambda given: given.split(","), default=["postgresql", "sqlite"])
    parser.add_argument("--output", "-o", type=Path, default=FILE, help="where to write it")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
