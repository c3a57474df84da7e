"""A product's movements, newest first, page by page along their index."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlmodel import Session

from orderkit.catalog.models import Product
from orderkit.ids import new_id
from orderkit.inventory import movements
from orderkit.inventory.models import StockMovement
from orderkit.inventory.movements import Position
from orderkit.rows import insert_rows
from tests.plans import analyze, is_postgresql, plan

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def moved(rolled_back: Session) -> Session:
    """Products A to E with 600 movements each, of which always three are of one instant."""
    for sku in "ABCDE":
        rolled_back.add(Product(sku=sku, name=sku, unit_price=1, currency="GBP", stock=0))
    rolled_back.flush()
    rows = [
        {"id": new_id(), "sku": sku, "delta": n + 1, "reason": "count", "created_at": AT + timedelta(seconds=n // 3)}
        for n in range(600)
        for sku in "ABCDE"
    ]
    insert_rows(rolled_back.connection(), StockMovement, rows)
    analyze(rolled_back, "stock_movements")
    return rolled_back


def test_all_are_found_once_page_by_page(moved: Session) -> None:
    seen: list[int] = []
    after: Position | None = None
    while page := movements.page(moved, "C", limit=100, after=after):
        seen += [one.delta for one in page]
        after = movements.position(page[-1])
    assert seen == list(range(600, 0, -1))


@pytest.mark.parametrize(
    "after", [None, Position(AT + timedelta(seconds=100), UUID(int=2**127))], ids=["first", "next"]
)
def test_a_page_walks_the_index_and_sorts_nothing(moved: Session, after: Position | None) -> None:
    told = plan(moved, movements.of_product("C", limit=21, after=after))
    assert "ix_stock_movements_sku" in told, told
    if is_postgresql(moved):
        assert "Index Scan Backward" in told, told
        assert "Sort" not in told, told
    else:
        assert "SEARCH stock_movements" in told, told
        assert "TEMP B-TREE" not in told, told
