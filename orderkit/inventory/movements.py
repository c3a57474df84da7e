"""Reading why stock is what it is: a product's movements, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, func, select, tuple_
from sqlmodel import Session, col

from orderkit.inventory.models import StockMovement


class Position(NamedTuple):
    """Where a page ended; the id decides among movements of one instant."""

    created_at: datetime
    id: UUID


def position(movement: StockMovement) -> Position:
    return Position(movement.created_at, movement.id)


def of_product(sku: str, *, limit: int, after: Position | None = None) -> Select[Any]:
    """The query for at most `limit` movements of a product, those after `after`. Walks ix_stock_movements_sku backwards."""
    at, identity = col(StockMovement.created_at), col(StockMovement.id)
    query = select(StockMovement).where(col(StockMovement.sku) == sku).order_by(at.desc(), identity.desc()).limit(limit)
    query = query.execution_options(query="stock.movements")
    return query if after is None else query.where(tuple_(at, identity) < tuple_(*after))


def total(session: Session, sku: str) -> int:
    """What all movements of a product come to, which is its stock and what the orders that hold goods took."""
    found = select(func.sum(col(StockMovement.delta))).where(col(StockMovement.sku) == sku)
    return int(session.scalar(found) or 0)


def page(session: Session, sku: str, *, limit: int, after: Position | None = None) -> Sequence[StockMovement]:
    return session.scalars(of_product(sku, limit=limit, after=after)).all()
