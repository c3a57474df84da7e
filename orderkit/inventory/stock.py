"""Taking stock and giving it back. Products are always locked by SKU in ascending order, so that A,B and B,A cannot deadlock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, select
from sqlmodel import Session

from orderkit.catalog.models import Product
from orderkit.clock import now
from orderkit.errors import Conflict, NotFound
from orderkit.events import outbox
from orderkit.ids import new_id
from orderkit.inventory import low_stock
from orderkit.inventory.models import StockMovement
from orderkit.money import MAX_AMOUNT
from orderkit.rows import Writes, in_list, insert_rows, listed, update_rows

_products = Product.__table__  # type: ignore[attr-defined]


@lru_cache
def _locking(dialect: str) -> Select[Any]:
    columns = ("sku", "name", "unit_price", "currency", "stock", "low_stock_at")
    wanted = (
        select(*(_products.c[name] for name in columns))
        .where(in_list(dialect, _products.c.sku))
        .order_by(_products.c.sku)
    )
    return wanted.with_for_update(key_share=True).execution_options(query="products.lock")


def lock(connection: Connection, skus: Iterable[str]) -> dict[str, Any]:
    """Locks those products that exist until the transaction ends; rows of sku, name, price, stock, low_stock_at."""
    rows = connection.execute(_locking(connection.dialect.name), listed(connection, _products.c.sku, sorted(set(skus))))
    return {row.sku: row for row in rows}


def change(to: Connection | Writes, deltas: Mapping[str, int]) -> None:
    """Adds to the stock of locked products; takes what is negative. The database refuses to go below zero."""
    rows = [{"sku": sku, "stock": delta} for sku, delta in sorted(deltas.items()) if delta]
    update_rows(to, Product, rows, by=("sku",), add=("stock",))


def give_back(connection: Connection, quantities: Mapping[str, int]) -> None:
    """Releases what orders held: locks the products in order, then adds."""
    if quantities:
        lock(connection, quantities)
        change(connection, quantities)


def receive(
    connection: Connection,
    quantities: Mapping[str, int],
    reason: str,
    *,
    at: datetime,
    author_id: UUID | None = None,
) -> None:
    """Puts pieces of existing products into stock, or takes out what is negative, 0 of none, and records why."""
    lock(connection, quantities)
    change(connection, quantities)
    _record(connection, quantities, reason, at, author_id)


def pass_through(connection: Connection, quantities: Mapping[str, int], reason: str, *, at: datetime) -> None:
    """Records at `at` the receipt of what past orders took: it came and went, so the stock stays as it is.

    Locks no product, so that a long import does not hold up the orders of the day.
    """
    _record(connection, quantities, reason, at)


def _record(
    connection: Connection, quantities: Mapping[str, int], reason: str, at: datetime, author_id: UUID | None = None
) -> None:
    insert_rows(
        connection,
        StockMovement,
        [
            {
                "id": new_id(),
                "sku": sku,
                "delta": quantity,
                "reason": reason,
                "author_id": author_id,
                "created_at": at,
            }
            for sku, quantity in sorted(quantities.items())
        ],
    )


def move(
    session: Session, sku: str, delta: int, reason: str, author_id: UUID | None, *, movement_id: UUID | None = None
) -> Product:
    """Records a receipt, an adjustment or a restock of `delta` pieces and changes the stock by it.

    Tells of low stock if that is what it leads to. Raises NotFound for an unknown SKU and Conflict when less than
    nothing, or more than can be counted, would be left; what is released comes back even then.
    """
    product = session.get(Product, sku, with_for_update={"key_share": True})
    if product is None:
        raise NotFound(f"there is no product {sku}")
    if product.stock + delta < 0:
        raise Conflict(f"only {product.stock} of {sku} are left; {-delta} cannot be taken away")
    if product.stock + delta > MAX_AMOUNT:
        raise Conflict(f"{sku} cannot hold more than {MAX_AMOUNT} pieces")
    at, left = now(), product.stock + delta
    outbox.record(session.connection(), low_stock.crossed({sku: product}, {sku: left}), at=at)
    product.stock, product.updated_at = left, at
    movement = StockMovement(
        id=movement_id or new_id(), sku=sku, delta=delta, reason=reason, author_id=author_id, created_at=at
    )
    session.add_all([product, movement])
    session.flush()
    return product
