"""What products cost in currencies that are not their own. Written under the product's lock, as placement reads it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from sqlalchemy import Connection, delete, select
from sqlmodel import Session

from orderkit.catalog import products
from orderkit.catalog.models import Product, ProductPrice
from orderkit.clock import now
from orderkit.errors import Conflict, Invalid, NotFound
from orderkit.money import is_currency
from orderkit.rows import any_of

_prices = ProductPrice.__table__  # type: ignore[attr-defined]

Prices = Mapping[tuple[str, str], int]
"""Minor units by SKU and currency."""


def put(session: Session, sku: str, currency: str, unit_price: int) -> Product:
    """Prices the product in another currency, instead of what it cost there before; `unit_price` in minor units of it.

    Raises NotFound, Invalid for what is no currency, and Conflict for the product's own.
    """
    if not is_currency(currency):
        raise Invalid("the price cannot be taken", pointers=[("#/currency", products.NO_CURRENCY)])
    product = products.locked(session, sku)
    if product.currency == currency:
        raise Conflict(f"{currency} is the product's own currency; change its unit_price instead")
    session.merge(ProductPrice(sku=sku, currency=currency, unit_price=unit_price))
    product.updated_at = now()
    session.flush()
    return product


def remove(session: Session, sku: str, currency: str) -> Product:
    """The product is not sold in that currency any more. Raises NotFound, and Conflict for the product's own."""
    product = products.locked(session, sku)
    if product.currency == currency:
        raise Conflict(f"{currency} is the product's own currency, and every product has one price at least")
    gone = delete(_prices).where(_prices.c.sku == sku, _prices.c.currency == currency).returning(_prices.c.sku)
    if session.connection().execute(gone).first() is None:
        raise NotFound(f"{sku} has no price in {currency[:3]}")
    product.updated_at = now()
    session.flush()
    return product


def of(connection: Connection, skus: Collection[str]) -> dict[tuple[str, str], int]:
    """All prices of those products but the ones in their own currencies."""
    columns = (_prices.c.sku, _prices.c.currency, _prices.c.unit_price)
    wanted = select(*columns).where(any_of(connection, _prices.c.sku, sorted(skus)))
    return {
        (row.sku, row.currency): row.unit_price
        for row in connection.execute(wanted.execution_options(query="prices.of_products"))
    }


def by_product(connection: Connection, skus: Collection[str]) -> dict[str, dict[str, int]]:
    """The same by SKU and then by currency, in order; nothing for a product that has only its own."""
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for (sku, currency), unit_price in sorted(of(connection, skus).items()):
        found[sku][currency] = unit_price
    return found
