"""Putting many products into the catalog at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection

from orderkit.catalog.models import Product
from orderkit.clock import now
from orderkit.rows import insert_rows


@dataclass(frozen=True, slots=True)
class Listed:
    """A product to list; `unit_price` in minor units of `currency`."""

    sku: str
    name: str
    unit_price: int
    currency: str


def list_missing(connection: Connection, products: Iterable[Listed]) -> None:
    """Lists those products whose SKU is not in the catalog, without stock. Those that are in it stay as they are."""
    at = now()
    insert_rows(
        connection,
        Product,
        [
            {
                "sku": one.sku,
                "name": one.name,
                "unit_price": one.unit_price,
                "currency": one.currency,
                "stock": 0,
                "created_at": at,
                "updated_at": at,
            }
            for one in sorted(products, key=lambda one: one.sku)
        ],
        skip_existing=True,
    )
