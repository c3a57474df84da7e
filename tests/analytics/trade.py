"""Orders with any history that orders can have, and a count of them that shares no code with what is tested."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from sqlalchemy import delete, text
from sqlalchemy import event as listener
from sqlmodel import col, select

from orderkit import clock
from orderkit.analytics import facts, rollups
from orderkit.analytics.models import Rollup
from orderkit.auth.models import User
from orderkit.db import Database
from orderkit.errors import OrderkitError
from orderkit.events.models import OutboxEvent
from orderkit.ids import new_id
from orderkit.orders import cancellation, changes, editing, refunds, snapshot
from orderkit.orders.changes import Change
from orderkit.orders.past import PastOrder, PastOrders, PastRefund
from orderkit.orders.placement import Placement
from orderkit.orders.pricing import Line, PricedLine
from orderkit.orders.refunds import DueRefund
from orderkit.orders.settlement import Settle, Settlement
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.orders.states import OrderStatus
from orderkit.payments.charging import Attempt, Operation
from orderkit.payments.gateways import Captured, Declined, Refunded, RefundRefused, Voided
from orderkit.payments.models import Payment, Refund
from orderkit.schema import metadata
from orderkit.settings import Settings
from orderkit.worker.relay import Relay
from tests.factories import make_product, make_user, to_place

COUNTRIES = ("GB", "FR", "JP")
PRODUCTS = {"TEA": ("GBP", 500), "MUG": ("GBP", 1199), "ÇAY": ("EUR", 333)}
Counted = dict[tuple[str, str, str], tuple[int, ...]]
"""By kind, currency and key: orders, gross, refunds, refunded, pieces; without those of which all are 0."""


class Trade:
    """Acts on orders by their number, the oldest first; an act that is not allowed, or on no order, does nothing."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database, self.settings = database, settings
        for sku, (currency, price) in PRODUCTS.items():
            make_product(database, sku=sku, currency=currency, unit_price=price, stock=10**6)
        self.users: list[User] = [make_user(database) for _ in range(2)]
        self.orders: list[UUID] = []
        self.relay = Relay(database)

    def place(self, sku: str = "TEA", quantity: int = 1, *, country: str | None = "GB", user: int = 0) -> UUID:
        """A pending order."""
        address = {"name": "A", "line1": "1 Road", "city": "C", "country": country, "postal_code": "AB1"}
        lines = (Line(sku, quantity), *([Line("MUG", 1)] if sku == "TEA" and quantity > 2 else ()))
        request = to_place(self.users[user], sku, items=lines, shipping_address=address if country else None)
        (placed,) = Placement(self.database, self.settings).place([request])
        assert isinstance(placed, OrderSnapshot), placed
        self.orders.append(placed.id)
        return placed.id

    def paid(self, *args: Any, **more: Any) -> UUID:
        order_id = self.place(*args, **more)
        self.settle(order_id, "capture")
        return order_id

    def settle(self, order_id: UUID, how: str) -> None:
        result: Any = {
            "capture": Captured(f"ch_{order_id.hex}"),
            "capture when it is to be voided": Captured(f"ch_{order_id.hex}"),
            "decline": Declined("no"),
            "void": Voided(),
        }[how]
        operation: Operation = "void" if "void" in how else "charge"
        attempt = Attempt(1, operation, "captured", None, clock.now(), 1)
        [settled] = Settlement(self.database, self.settings).settle([Settle(order_id, result, [attempt])])
        assert not isinstance(settled, Exception), settled

    def cancel(self, order_id: UUID) -> None:
        with self.database.transaction() as session:
            cancellation.cancel(session.connection(), order_id, reason="changed my mind")

    def ask_refund(self, order_id: UUID, amount: int | None) -> None:
        with self.database.transaction() as session:
            refunds.request(session.connection(), order_id, amount=amount, reason="broken")

    def pay_back(self, order_id: UUID, *, refused: bool = False) -> None:
        """Settles every refund of the order that is open."""
        of_order = select(Refund, Payment).where(Refund.payment_id == Payment.id, Payment.order_id == order_id)
        with self.database.reading() as session:
            pending = session.exec(of_order.where(Refund.status == "pending").order_by(col(Refund.id))).all()
        for refund, payment in pending:
            due = DueRefund(
                refund.id, payment.id, order_id, str(payment.provider_reference), refund.amount, refund.currency, 0
            )
            result = RefundRefused("too_old") if refused else Refunded(f"re_{refund.id.hex}")
            with self.database.transaction() as session:
                refunds.settle(session.connection(), due, result, [], settings=self.settings)

    def send_to(self, order_id: UUID, country: str) -> None:
        with self.database.transaction() as session:
            order = editing.lock(session.connection(), order_id, None)
            address = {"name": "B", "line1": "2 Road", "city": "C", "country": country, "postal_code": "AB2"}
            editing.send_to(session.connection(), order, address)

    def move(self, order_id: UUID, to: OrderStatus) -> None:
        with self.database.transaction() as session:
            order = snapshot.lock(session.connection(), [order_id])[order_id]
            changes.apply(session.connection(), [Change(order, to, "by hand")], at=clock.now())

    def bring_in(
        self, key: str, *, at: datetime, refunded: int = 0, declined: bool = False, country: str | None = None
    ) -> None:
        """An order of 7 pieces, or only its refunds if it is there; `refunded` in minor units, of 3500."""
        lines = (PricedLine("TEA", "Tea", 4, 500, 2000), PricedLine("TEA", "Tea", 3, 500, 1500))
        given = (
            [PastRefund(uuid5(NAMESPACE_URL, f"{key}:{refunded}"), refunded, at + timedelta(hours=7), "returned")]
            if refunded
            else []
        )
        order = PastOrder(
            order_id=new_id(),
            user_id=self.users[0].id,
            idempotency_key=key,
            lines=lines,
            currency="GBP",
            total=3500,
            placed_at=at,
            method="imported",
            country=country,
            refunds=tuple(given),
            declined=declined,
        )
        PastOrders(self.database, reason="imported", announce=True, after=rollups.add_past).bring_in([order])

    def relay_all(self) -> None:
        while self.relay.turn():
            pass

    def relay_killed(self) -> None:
        """A turn of the relay that dies when all is done but the COMMIT."""
        with dying_before_commit(self.database):
            try:
                self.relay.turn()
            except KeyboardInterrupt:
                return

    def attempt(self, act: Any, *args: Any, **more: Any) -> None:
        try:
            act(*args, **more)
        except OrderkitError:
            return


@contextmanager
def dying_before_commit(database: Database) -> Iterator[None]:
    def die(_connection: object) -> None:
        raise KeyboardInterrupt

    listener.listen(database.engine, "commit", die)
    try:
        yield
    finally:
        listener.remove(database.engine, "commit", die)


def emptied(database: Database) -> None:
    """Deletes everything but roles, so that one test can look at many histories."""
    with database.transaction() as session:
        for table in reversed(metadata.sorted_tables):
            if table.name not in ("roles", "role_permissions"):
                session.execute(delete(table))


# ── what is there ────────────────────────────────────────────────────────────────────────────────────────────────────


def recounted(database: Database, start: datetime, end: datetime) -> Counted:
    """What of that time the base tables say, row by row."""
    sums: defaultdict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0] * 5)
    orders, paid_by, items, given = (
        _all(database, f"SELECT * FROM {name}") for name in ("orders", "payments", "order_items", "refunds")
    )
    of_payment = {one["id"]: one for one in paid_by}
    of_id = {one["id"]: one for one in orders}
    status_of = {one["order_id"]: one["status"] for one in paid_by}

    def count(order: Any, *added: int) -> None:
        for kind, key in (("total", ""), ("country", order["country"] or ""), ("user", UUID(str(order["user_id"])))):
            for place, number in enumerate(added):
                sums[kind, order["currency"], str(key)][place] += number

    for order in orders:
        if start <= _instant(order["created_at"]) < end:
            if order["status"] != "pending":
                sums["status", order["currency"], order["status"]][0] += 1
            if status_of[order["id"]] in ("captured", "imported"):
                count(order, 1, order["total"])
                for item in (one for one in items if one["order_id"] == order["id"]):
                    row = sums["product", order["currency"], item["sku"]]
                    row[1] += item["line_total"]
                    row[4] += item["quantity"]
    for refund in given:
        if refund["status"] == "succeeded" and start <= _instant(refund["created_at"]) < end:
            count(of_id[of_payment[refund["payment_id"]]["order_id"]], 0, 0, 1, refund["amount"])
    return {key: tuple(values) for key, values in sums.items() if any(values)}


def _all(database: Database, query: str) -> list[dict[str, Any]]:
    with database.reading() as session:
        return [dict(row) for row in session.execute(text(query)).mappings()]


def _instant(value: Any) -> datetime:
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def known(database: Database, start: datetime, end: datetime, grain: str) -> Counted:
    """What rollups of one grain and the unsent events say of that time, which is whole buckets."""
    sums: defaultdict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0] * 5)
    with database.snapshot() as session:
        unsent = [one for one in facts.unsent(session.connection()) if start <= one.at < end]
        rows = session.exec(
            select(Rollup).where(Rollup.grain == grain, Rollup.bucket >= start, Rollup.bucket < end)
        ).all()
    for row in rows:
        values = (row.orders, row.gross, row.refunds, row.refunded, row.pieces)
        _add(sums[row.kind, row.currency, row.key], values)
    for key, added in rollups.summed(unsent).items():
        if key.grain == grain:
            _add(sums[key.kind, key.currency, key.key], added)
    return {key: tuple(values) for key, values in sums.items() if any(values)}


def _add(into: list[int], added: Any) -> None:
    for place, value in enumerate(added):
        into[place] += value


def unsent(database: Database) -> int:
    of_orders = select(OutboxEvent.id).where(col(OutboxEvent.sent_at).is_(None), col(OutboxEvent.order_id).is_not(None))
    with database.reading() as session:
        return len(session.exec(of_orders).all())
