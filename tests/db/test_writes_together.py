"""Writes that go together: all of them or none, in one round trip where there is one, each held to what it promised."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, event, select

from orderkit.catalog.models import Product
from orderkit.clock import now
from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.inventory.models import StockMovement
from orderkit.rows import StaleRows, Writes, insert_rows, update_rows
from tests.engines import on_postgresql
from tests.factories import make_product

_products = Product.__table__  # type: ignore[attr-defined]
_movements = StockMovement.__table__  # type: ignore[attr-defined]


def product(sku: str) -> dict[str, Any]:
    at = now()
    return {"sku": sku, "name": sku, "unit_price": 1, "currency": "GBP", "stock": 5, "created_at": at, "updated_at": at}


def found(sku: str) -> dict[str, Any]:
    return {"id": new_id(), "sku": sku, "delta": 5, "reason": "found", "created_at": now()}


def take(to: Connection | Writes, skus: list[str], *, exact: bool = True) -> int:
    rows = [{"sku": sku, "stock": -2} for sku in skus]
    return update_rows(to, Product, rows, by=("sku",), add=("stock",), only_if={"currency": ("GBP",)}, exact=exact)


def kept(database: Database) -> tuple[dict[str, int], int]:
    """Stock by SKU, and how many pieces' movements say `found`."""
    with database.reading() as session:
        connection = session.connection()
        stock = {row.sku: row.stock for row in connection.execute(select(_products.c.sku, _products.c.stock))}
        movements = connection.execute(select(_movements).where(_movements.c.reason == "found")).all()
    return stock, len(movements)


def test_nothing_is_written_before_it_is_sent_and_then_all_of_it(database: Database) -> None:
    skus = sorted(make_product(database, stock=10).sku for _ in range(3))
    with database.transaction() as session:
        connection = session.connection()
        writes = Writes(connection)
        take(writes, skus)
        insert_rows(writes, StockMovement, [found(sku) for sku in skus])
        assert set(connection.execute(select(_products.c.stock)).scalars()) == {10}
        assert writes.send() == {"products": 3, "stock_movements": 3}
        assert writes.send() == {}  # and not twice
    assert kept(database) == (dict.fromkeys(skus, 8), 3)


def test_a_row_may_refer_to_one_that_goes_in_along_with_it(database: Database) -> None:
    with database.transaction() as session:
        writes = Writes(session.connection())
        insert_rows(writes, StockMovement, [])
        insert_rows(writes, Product, [product("NEW")])
        insert_rows(writes, StockMovement, [found("NEW"), found("NEW")])
        writes.send()
    assert kept(database) == ({"NEW": 5}, 2)


def test_a_guard_that_misses_one_row_refuses_all_of_it(database: Database) -> None:
    sku = make_product(database, stock=10).sku

    def act() -> None:
        with database.transaction() as session:
            writes = Writes(session.connection())
            insert_rows(writes, StockMovement, [found(sku)])
            take(writes, [sku, "GONE"])
            writes.send()

    with pytest.raises(StaleRows, match="products: 1 of 2 rows"):
        act()
    assert kept(database) == ({sku: 10}, 0)


def test_a_guard_that_may_miss_tells_how_many_it_met(database: Database) -> None:
    sku = make_product(database, stock=10).sku
    with database.transaction() as session:
        writes = Writes(session.connection())
        take(writes, [sku, "GONE"], exact=False)
        insert_rows(writes, StockMovement, [found(sku)])
        assert writes.send() == {"products": 1, "stock_movements": 1}
    assert kept(database) == ({sku: 8}, 1)


def test_rows_tell_how_many_of_them_went_in(database: Database) -> None:
    with database.transaction() as session:
        connection = session.connection()
        assert insert_rows(connection, Product, [product("A"), product("B")]) == 2
        assert insert_rows(connection, Product, [product("B"), product("C")], skip_existing=True) == 1
        assert insert_rows(connection, Product, [product("A")], skip_existing=True) == 0
    assert kept(database) == (dict.fromkeys("ABC", 5), 0)


@on_postgresql
def test_what_goes_together_is_one_statement(database: Database) -> None:
    sku = make_product(database).sku
    statements: list[str] = []
    with database.transaction() as session:
        connection = session.connection()
        event.listen(
            connection, "before_cursor_execute", lambda _c, _cursor, statement, *_: statements.append(statement)
        )
        writes = Writes(connection)
        take(writes, [sku])
        insert_rows(writes, StockMovement, [found(sku)])
        writes.send()
    assert len(statements) == 1
