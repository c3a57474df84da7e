"""The catalog: what there is, at which price. Stock is `inventory`'s to change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict, Unpack

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from orderkit.catalog.models import Product
from orderkit.clock import now
from orderkit.errors import Conflict, Invalid, NotFound
from orderkit.money import is_currency

_products = Product.__table__  # type: ignore[attr-defined]

MAX_SKU = 64
NO_CURRENCY = "is not an ISO 4217 currency that one can pay with, such as GBP"


def is_sku(text: str) -> bool:
    """Whether an SKU may read so: 1 to 64 printable characters, single spaces inside included, and safe in a path.

    Case counts. No slash, and not `.` or `..`, which a client's path would lose.
    """
    return (
        0 < len(text) <= MAX_SKU
        and text.isprintable()
        and text == " ".join(text.split())
        and "/" not in text
        and text not in (".", "..")
    )


def create(session: Session, *, sku: str, name: str, unit_price: int, currency: str) -> Product:
    """A new product without stock; `unit_price` in minor units of `currency`. Raises Invalid, and Conflict for a taken SKU."""
    wrong = []
    if not is_sku(sku):
        wrong.append(("#/sku", "an SKU has 1 to 64 printable characters, no slash, and no space at an end"))
    if not is_currency(currency):
        wrong.append(("#/currency", NO_CURRENCY))
    if wrong:
        raise Invalid("the product cannot be taken", pointers=wrong)
    product = Product(sku=sku, name=name, unit_price=unit_price, currency=currency, stock=0)
    session.add(product)
    try:
        session.flush()
    except IntegrityError:  # the primary key; everything else was checked above
        raise Conflict(f"there is a product {sku} already") from None
    return product


def find(session: Session, sku: str) -> Product:
    """Raises NotFound."""
    product = session.get(Product, sku)
    if product is None:
        raise NotFound(f"there is no product {sku[:MAX_SKU]}")
    return product


def locked(session: Session, sku: str) -> Product:
    """The product, locked until the transaction ends. Raises NotFound."""
    product = session.get(Product, sku, with_for_update={"key_share": True})
    if product is None:
        raise NotFound(f"there is no product {sku[:MAX_SKU]}")
    return product


class Changes(TypedDict, total=False):
    """What can be changed. `low_stock_at` None: nobody is told when stock runs low."""

    name: str
    unit_price: int
    low_stock_at: int | None


def change(session: Session, sku: str, **values: Unpack[Changes]) -> Product:
    """Sets what is given. Orders keep the price they were placed at. Raises NotFound.

    A threshold is for what comes: stock that is below it already is not told of until it has been above.
    """
    product = locked(session, sku)
    for name, value in values.items():
        setattr(product, name, value)
    product.updated_at = now()
    session.flush()
    return product


def page(session: Session, *, limit: int, after: str | None = None, low: bool = False) -> Sequence[Product]:
    """At most `limit` products by SKU, those after `after`; with `low`, of those whose stock is at its threshold or below."""
    query = select(Product).order_by(_products.c.sku).limit(limit).execution_options(query="products.by_sku")
    if after is not None:
        query = query.where(_products.c.sku > after)
    if low:
        query = query.where(_products.c.stock <= _products.c.low_stock_at)
    return session.scalars(query).all()
