"""What the database says of each order, for the eye: read again and again while the demo runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select

from orderkit.db import Database
from orderkit.fulfillment.models import Fulfillment, FulfillmentAttempt
from orderkit.orders.models import Order, OrderHistory
from orderkit.payments.models import Payment

_orders = Order.__table__  # type: ignore[attr-defined]
_history = OrderHistory.__table__  # type: ignore[attr-defined]
_payments = Payment.__table__  # type: ignore[attr-defined]
_fulfillments = Fulfillment.__table__  # type: ignore[attr-defined]
_attempts = FulfillmentAttempt.__table__  # type: ignore[attr-defined]

_bookings = (
    select(func.count())
    .where(_attempts.c.fulfillment_id == _fulfillments.c.id)
    .correlate(_fulfillments)
    .scalar_subquery()
)
_states = (
    select(
        _orders.c.id,
        _orders.c.idempotency_key,
        _orders.c.created_at,
        _orders.c.updated_at,
        _payments.c.status.label("payment"),
        _payments.c.attempts.label("charges"),
        _fulfillments.c.status.label("parcel"),
        _bookings.label("bookings"),
    )
    .join_from(_orders, _payments, _payments.c.order_id == _orders.c.id)
    .outerjoin(_fulfillments, _fulfillments.c.order_id == _orders.c.id)
)
_paths = select(_history.c.order_id, _history.c.to_status).order_by(_history.c.order_id, _history.c.version)


@dataclass(frozen=True, slots=True)
class Seen:
    """An order as it stood. `path` is every state it has been in; `charges` and `bookings` count calls made; `seconds`
    is from its first state to its latest."""

    id: UUID
    path: tuple[str, ...]
    payment: str
    charges: int
    parcel: str | None
    bookings: int
    seconds: float

    @property
    def status(self) -> str:
        return self.path[-1]


def look(database: Database) -> Mapping[str, Seen]:
    """Every order by its idempotency key, all in one snapshot."""
    with database.reading() as session:
        connection = session.connection()
        rows = connection.execute(_states).all()
        paths: dict[UUID, list[str]] = defaultdict(list)
        for order_id, status in connection.execute(_paths):
            paths[order_id].append(status)
    return {
        row.idempotency_key: Seen(
            row.id,
            tuple(paths[row.id]),
            row.payment,
            row.charges,
            row.parcel,
            row.bookings,
            (row.updated_at - row.created_at).total_seconds(),
        )
        for row in rows
    }
