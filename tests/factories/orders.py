"""Orders, placed as a request would place them."""

from __future__ import annotations

from typing import Any

from orderkit.auth.models import User
from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.orders.placement import Placement, PlaceOrder
from orderkit.orders.pricing import Line
from orderkit.orders.snapshot import OrderSnapshot
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
