"""Things that tests need before they can begin. Each is committed; whatever is not said is made up, differently each time."""

from __future__ import annotations

import random
from typing import Any

from orderkit.auth.models import CUSTOMER, User
from orderkit.catalog.models import Product
from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.inventory.models import StockMovement


def make_user(database: Database, *, email: str | None = None, role: str = CUSTOMER, **more: Any) -> User:
    """A user without a password, who can act but not log in."""
    user = User(email=email or f"user-{new_id().hex}@example.com", name=more.pop("name", "A User"), role=role, **more)
    with database.transaction() as session:
        session.add(user)
    return user


def make_product(
    database: Database,
    *,
    sku: str | None = None,
    name: str | None = None,
    unit_price: int | None = None,
    currency: str = "GBP",
    stock: int = 100,
) -> Product:
    """A product, and the receipt that its stock came from. `unit_price` in minor units."""
    sku = sku or f"SKU-{random.randrange(10**9)}"
    price = random.randrange(1, 10_000) if unit_price is None else unit_price
    product = Product(sku=sku, name=name or f"Product {sku}", unit_price=price, currency=currency, stock=stock)
    with database.transaction() as session:
        session.add(product)
        session.flush()
        if stock:
            session.add(StockMovement(sku=sku, delta=stock, reason="receipt"))
    return product
