"""Orders, placed as a request would place them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from orderkit.auth.models import User
from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.orders.models import Order
from orderkit.orders.placement import Placement, PlaceOrder
from orderkit.orders.pricing import Line
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.payments.models import Payment
from orderkit.rows import insert_rows
from orderkit.settings import Settings


def to_place(
    user: User,
    sku: str,
    quantity: int = 1,
    *,
    key: str | None = None,
    fingerprint: str = "same",
    payment_method: str = "pm_card_visa",
    **more: Any,
) -> PlaceOrder:
    """A request for one line, or for `items`, under a fresh key unless one is given; `more` are its other fields."""
    items = more.pop("items", (Line(sku, quantity),))
    return PlaceOrder(new_id(), user.id, key or new_id().hex, fingerprint, items, payment_method, **more)


def place_order(
    database: Database, settings: Settings, user: User, sku: str, quantity: int = 1, **more: Any
) -> OrderSnapshot:
    """A pending order whose payment nobody has asked for yet; raises what placing it raises."""
    (outcome,) = Placement(database, settings).place([to_place(user, sku, quantity, **more)])
    if isinstance(outcome, Exception):
        raise outcome
    assert isinstance(outcome, OrderSnapshot)
    return outcome


def insert_orders(connection: Connection, orders: Sequence[dict[str, Any]]) -> None:
    """Orders in bulk, without lines, each with a payment that was taken elsewhere.

    Each is given `id`, `user_id`, `status`, `total`, `created_at` and, if it likes, `currency` and `number`.
    """
    rows = [
        {
            "id": one["id"],
            "user_id": one["user_id"],
            "idempotency_key": one["id"].hex,
            "status": one["status"],
            "currency": one.get("currency", "GBP"),
            "total": one["total"],
            "number": one.get("number"),
            "version": 1,
            "created_at": one["created_at"],
            "updated_at": one["created_at"],
        }
        for one in orders
    ]
    insert_rows(connection, Order, rows)
    payments = [
        {
            "id": new_id(),
            "order_id": row["id"],
            "status": "imported",
            "method": "imported",
            "amount": row["total"],
            "currency": row["currency"],
            "refunded": 0,
            "attempts": 0,
            "run_at": row["created_at"],
            "created_at": row["created_at"],
            "updated_at": row["created_at"],
        }
        for row in rows
    ]
    insert_rows(connection, Payment, payments)
