"""The rows of an order, written and read twice over: by an ORM session and by SQLAlchemy Core.

Both send the same statements: seven and a COMMIT to write an order of two lines, two to read a page. They differ in what
Python does for them: objects that a session keeps track of, or rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.orm import Session
from sqlmodel import col

from loadtests.stack import PRICE
from orderkit.catalog.models import Product
from orderkit.clock import now
from orderkit.db import Table
from orderkit.idempotency import IdempotencyKey
from orderkit.ids import new_id
from orderkit.orders.models import Order, OrderHistory, OrderItem
from orderkit.payments.models import Payment

LINES = 2
FINGERPRINT = "f" * 64
LEASE = timedelta(seconds=10)


class Wanted(NamedTuple):
    """An order of one piece of each of LINES products, whose SKUs are sorted: so they are locked in one order by all."""

    order_id: UUID
    user_id: UUID
    skus: tuple[str, ...]


def _table(model: type[Table]) -> Any:
    return model.__table__  # type: ignore[attr-defined]


_orders, _items, _payments, _products = (_table(model) for model in (Order, OrderItem, Payment, Product))
_take = (
    _products.update()
    .where(_products.c.sku == bindparam("of"))
    .values(stock=bindparam("left"), updated_at=bindparam("at"))
)
_take = _take.execution_options(synchronize_session=False)


def _rows(one: Wanted, names: Sequence[str], at: datetime) -> dict[type[Table], list[dict[str, Any]]]:
    """The rows of a placed order, by the model whose they are. `names` are those of its products."""
    of, total = one.order_id, PRICE * len(one.skus)
    stamps = {"created_at": at, "updated_at": at}
    order = {"id": of, "user_id": one.user_id, "idempotency_key": of.hex, "status": "pending", "currency": "GBP"}
    payment = {"id": new_id(), "order_id": of, "status": "created", "method": "pm_card_visa", "amount": total}
    line = {"order_id": of, "quantity": 1, "unit_price": PRICE, "line_total": PRICE}
    return {
        Order: [{**order, "total": total, "version": 1, **stamps}],
        OrderItem: [
            {**line, "line": number, "sku": sku, "name": name}
            for number, (sku, name) in enumerate(zip(one.skus, names, strict=True), start=1)
        ],
        Payment: [{**payment, "currency": "GBP", "refunded": 0, "attempts": 0, "run_at": at + LEASE, **stamps}],
        OrderHistory: [
            {
                "order_id": of,
                "version": 1,
                "to_status": "pending",
                "actor_id": one.user_id,
                "reason": "placed",
                "at": at,
            }
        ],
    }


def _key(one: Wanted, at: datetime) -> dict[str, Any]:
    key = {"user_id": one.user_id, "key": one.order_id.hex, "fingerprint": FINGERPRINT, "resource_id": one.order_id}
    return {**key, "lease_until": at + LEASE, "created_at": at}


def write_by_core(connection: Connection, one: Wanted) -> None:
    """Within the caller's transaction."""
    at = now()
    connection.execute(_table(IdempotencyKey).insert(), _key(one, at))
    wanted = select(_products.c.sku, _products.c.name, _products.c.stock).where(_products.c.sku.in_(one.skus))
    found = connection.execute(wanted.order_by(_products.c.sku).with_for_update()).all()
    for model, rows in _rows(one, [row.name for row in found], at).items():
        connection.execute(_table(model).insert(), rows)
    connection.execute(_take, [{"of": row.sku, "left": row.stock - 1, "at": at} for row in found])


def write_by_orm(session: Session, one: Wanted) -> None:
    """Within the caller's transaction."""
    at = now()
    session.add(IdempotencyKey(**_key(one, at)))
    wanted = select(Product).where(col(Product.sku).in_(one.skus)).order_by(col(Product.sku)).with_for_update()
    found = session.scalars(wanted).all()
    for model, rows in _rows(one, [product.name for product in found], at).items():
        session.add_all([model(**row) for row in rows])
        session.flush()  # the models have no relationships, by which a session would know what goes first
    for product in found:
        product.stock -= 1
        product.updated_at = at
    session.flush()


def _newest(wanted: Any, user_id: UUID, limit: int) -> Any:
    by_time = (_orders.c.created_at.desc(), _orders.c.id.desc())
    of_user = wanted.join(_payments, _payments.c.order_id == _orders.c.id).where(_orders.c.user_id == user_id)
    return of_user.order_by(*by_time).limit(limit)


def read_by_core(connection: Connection, user_id: UUID, limit: int) -> int:
    """Reads a user's newest orders with payment and lines, as they would be answered; how many lines."""
    rows = connection.execute(_newest(_PAGE, user_id, limit)).all()
    lines: dict[UUID, list[Any]] = {row.id: [] for row in rows}
    for line in connection.execute(_items.select().where(_items.c.order_id.in_(lines))):
        lines[line.order_id].append(line)
    return sum(len(_answer(row, row, lines[row.id])["items"]) for row in rows)


_PAGE = select(*_orders.c, _payments.c.id.label("payment_id"), _payments.c.status.label("payment_status"))


def read_by_orm(session: Session, user_id: UUID, limit: int) -> int:
    """As `read_by_core`."""
    found = session.execute(_newest(select(Order, Payment), user_id, limit)).all()
    lines: dict[UUID, list[Any]] = {order.id: [] for order, _payment in found}
    for line in session.scalars(select(OrderItem).where(col(OrderItem.order_id).in_(lines))):
        lines[line.order_id].append(line)
    return sum(
        len(_answer(order, _Paid(payment.id, payment.status), lines[order.id])["items"]) for order, payment in found
    )


class _Paid(NamedTuple):
    payment_id: UUID
    payment_status: str


def _answer(order: Any, paid: Any, lines: Sequence[Any]) -> dict[str, Any]:
    return {
        "id": str(order.id),
        "status": order.status,
        "currency": order.currency,
        "total": order.total,
        "payment": {"id": str(paid.payment_id), "status": paid.payment_status},
        "items": [
            {"sku": line.sku, "name": line.name, "quantity": line.quantity, "line_total": line.line_total}
            for line in lines
        ],
        "version": order.version,
        "created_at": order.created_at.isoformat(),
        "updated_at": order.updated_at.isoformat(),
    }
