"""What can be ordered."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Text
from sqlmodel import Field

from orderkit.clock import now
from orderkit.db import Table, UtcDateTime
from orderkit.money import MAX_AMOUNT


class Product(Table, table=True):
    """A product and what is left of it. `stock` is one number: taken at placement, given back on release.

    Who falls to `low_stock_at` or below is told of, once each time.
    """

    __tablename__ = "products"
    __table_args__ = (
        CheckConstraint("stock >= 0", name="stock_not_negative"),
        CheckConstraint(f"unit_price BETWEEN 0 AND {MAX_AMOUNT}", name="unit_price_in_bounds"),
        CheckConstraint("length(currency) = 3", name="currency_iso"),
        CheckConstraint("length(sku) BETWEEN 1 AND 64", name="sku_length"),
        CheckConstraint(f"low_stock_at BETWEEN 0 AND {MAX_AMOUNT}", name="low_stock_at_in_bounds"),
    )

    sku: str = Field(sa_type=Text, primary_key=True)
    name: str = Field(sa_type=Text)
    unit_price: int = Field(sa_type=BigInteger)
    currency: str = Field(sa_type=Text)
    stock: int = Field(sa_type=BigInteger)
    low_stock_at: int | None = Field(default=None, sa_type=BigInteger)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    updated_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class ProductPrice(Table, table=True):
    """What a product costs in a currency that is not its own, in minor units."""

    __tablename__ = "product_prices"
    __table_args__ = (
        CheckConstraint(f"unit_price BETWEEN 0 AND {MAX_AMOUNT}", name="unit_price_in_bounds"),
        CheckConstraint("length(currency) = 3", name="currency_iso"),
    )

    sku: str = Field(sa_type=Text, foreign_key="products.sku", primary_key=True)
    currency: str = Field(sa_type=Text, primary_key=True)
    unit_price: int = Field(sa_type=BigInteger)
