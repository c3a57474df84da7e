"""Products."""

from __future__ import annotations

from orderkit.catalog.models import Product
from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.inventory import stock as stocks


def make_product(
    database: Database,
    *,
    sku: str | None = None,
    name: str = "Assam tea, 250 g",
    unit_price: int = 1999,
    currency: str = "GBP",
    stock: int = 100,
    low_stock_at: int | None = None,
) -> Product:
    """A product with `stock` pieces, which came in by a movement; `unit_price` in minor units."""
    sku = sku or f"SKU-{new_id().hex}"
    with database.transaction() as session:
        product = Product(
            sku=sku, name=name, unit_price=unit_price, currency=currency, stock=0, low_stock_at=low_stock_at
        )
        session.add(product)
        session.flush()
        if stock:
            stocks.move(session, sku, stock, "opening stock", None)
    return product
