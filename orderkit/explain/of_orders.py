"""Queries about orders: lists, locks, refunds, keys, stock."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from orderkit import idempotency
from orderkit.auth import sessions
from orderkit.catalog import prices, products
from orderkit.explain.query import NOBODY, Bench, Query
from orderkit.idempotency import Claim, KeyId
from orderkit.inventory import movements, stock
from orderkit.orders import changes, erasure, reading, refund_lines, refund_reading, refunds, resolution, snapshot
from orderkit.orders.changes import Change
from orderkit.orders.reading import Walk, Wanted
from orderkit.orders.states import OrderStatus
from orderkit.payments.models import Payment, Refund
from orderkit.rows import Writes

KEY = KeyId(NOBODY, "none")
_OF_USER = ("ix_orders_user_id_created_at", "ix_orders_user_id_total", "uq_orders_user_id_idempotency_key")

WALKED_FOR = {
    "orders.by_time": "everyone's orders, by time",
    "orders.of_status_by_time": "everyone's orders of a status, by time",
    "orders.of_user_by_time": "one user's orders, by time",
    "orders.of_user_and_status_by_time": "one user's orders of a status, by time",
    "orders.by_total": "everyone's orders, by total",
    "orders.of_user_by_total": "one user's orders, by total",
}


def _walk(walk: Walk) -> Query:
    def act(bench: Bench) -> object:
        wanted: dict[str, Any] = {column: getattr(bench.order, column) for column in walk.equal}
        if "status" in wanted:  # a rare one: for one that nearly all have, an index on the time alone is as good
            wanted["status"] = OrderStatus.PENDING.value
        return reading.page(bench.connection, Wanted(**wanted), limit=20, sort=walk.sort)

    return Query(walk.name, WALKED_FOR[walk.name], walk.rides, act, ordered=True)


def _place(bench: Bench) -> None:
    writes = Writes(bench.connection, "orders.place")
    # The statement is the same where goods come in: a shop that has nothing could sell nothing.
    stock.change(writes, {bench.sku: -1 if bench.in_stock else 1})
    writes.send()


def _settle(bench: Bench) -> None:
    writes = Writes(bench.connection, "orders.settle")
    bench.order.status = OrderStatus.PENDING.value
    changes.apply(writes, [Change(bench.order, OrderStatus.PAID, "payment captured")], at=bench.at)
    writes.send()


def _claim_key(bench: Bench) -> None:
    claims = [Claim(KEY, "none", NOBODY, {"session_id": NOBODY})]
    idempotency.claim(bench.connection, claims, at=bench.at, lease=timedelta(seconds=10), provided=sessions.ADMITTED)


QUERIES = (
    *map(_walk, reading.WALKS),
    Query(
        "orders.by_number",
        "the order with a number",
        "uq_orders_number",
        lambda b: reading.page(b.connection, Wanted(number=b.order.number or 1), limit=20),
    ),
    Query(
        "orders.load",
        "orders by their ids, with their payments",
        ("pk_orders", "uq_payments_order_id"),
        lambda b: snapshot.load(b.connection, [b.order.id]),
    ),
    Query(
        "orders.lines",
        "the lines of orders",
        "pk_order_items",
        lambda b: snapshot.load_lines(b.connection, [b.order]),
    ),
    Query(
        "orders.lock",
        "orders and their payments, locked before anything about them is decided",
        ("pk_orders", "uq_payments_order_id"),
        lambda b: snapshot.lock(b.connection, [b.order.id]),
    ),
    Query("orders.place", "what placing orders writes; it takes their stock by SKU", "pk_products", _place),
    Query("orders.settle", "what settling payments writes; orders are found by id", "pk_orders", _settle),
    Query(
        "orders.to_erase",
        "closed orders of a deleted user that still say who they were",
        "ix_orders_user_id_status_created_at",
        lambda b: erasure.erase(b.connection, b.order.user_id),
        or_else=(*_OF_USER, "ix_orders_user_id_status_created_at"),
    ),
    Query(
        "payments.claim",
        "the order of a payment that a worker was woken for",
        "pk_payments",
        lambda b: resolution.claim_payment(b.connection, b.id_of(Payment), settings=b.settings),
    ),
    Query(
        "refunds.of_order",
        "refunds of an order, newest first",
        ("ix_refunds_payment_id", "uq_payments_order_id"),
        lambda b: refund_reading.page(b.connection, b.order.id, limit=20),
        ordered=True,
    ),
    Query(
        "refunds.find",
        "one refund of an order",
        "pk_refunds",
        lambda b: refund_reading.find(b.connection, b.order.id, b.id_of(Refund)),
    ),
    Query(
        "refunds.lines",
        "the lines that refunds are for",
        "pk_refund_lines",
        lambda b: refund_lines.of_refunds(b.connection, [b.id_of(Refund)]),
    ),
    Query(
        "refunds.taken",
        "pieces of an order that are refunded, or will be",
        ("ix_refunds_payment_id", "pk_refund_lines"),
        lambda b: refund_lines.taken(b.connection, b.order.payment_id),
    ),
    Query(
        "orders.cancelled_at",
        "when an order was cancelled, where a refund of it is refused",
        "pk_order_history",
        lambda b: refunds.cancelled_at(b.connection, b.order.id),
    ),
    Query(
        "refunds.claim",
        "a refund that a worker was woken for, leased",
        "pk_refunds",
        lambda b: refunds.claim(b.connection, b.id_of(Refund), settings=b.settings),
    ),
    Query(
        "keys.claim",
        "claims idempotency keys, and admits their senders",
        ("pk_users", "pk_sessions"),
        _claim_key,
    ),
    Query(
        "keys.find",
        "idempotency keys that were claimed before",
        "pk_idempotency_keys",
        lambda b: idempotency.find(b.connection, [KEY]),
    ),
    Query(
        "keys.release",
        "gives up keys whose requests came to nothing",
        "pk_idempotency_keys",
        lambda b: idempotency.release(b.connection, [KEY]),
    ),
    Query(
        "keys.forget",
        "keys that are older than they are kept, oldest first",
        "ix_idempotency_keys_created_at",
        lambda b: idempotency.forget(b.connection, before=b.at - timedelta(days=30)),
    ),
    Query(
        "keys.forget_of_user",
        "keys of a deleted user",
        "pk_idempotency_keys",
        lambda b: idempotency.forget_of(b.connection, b.order.user_id),
    ),
    Query(
        "products.by_sku",
        "the catalog, by SKU",
        "pk_products",
        lambda b: products.page(b.session, limit=20),
        ordered=True,
    ),
    Query(
        "products.lock",
        "products, locked before their stock is given out",
        "pk_products",
        lambda b: stock.lock(b.connection, [b.sku]),
    ),
    Query(
        "prices.of_products",
        "prices of products in other currencies",
        "pk_product_prices",
        lambda b: prices.of(b.connection, [b.sku]),
    ),
    Query(
        "stock.movements",
        "movements of a product's stock, newest first",
        "ix_stock_movements_sku",
        lambda b: movements.page(b.session, b.sku, limit=20),
        ordered=True,
    ),
)
