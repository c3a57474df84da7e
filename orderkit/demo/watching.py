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
        _orders.c.version,
        _payments.c.status.label("payment"),
        _payments.c.attempts.label("charges"),
        (_payments.c.amount - _payments.c.refunded).label("left"),
        _payments.c.refunded,
        _fulfillments.c.status.label("parcel"),
        _bookings.label("bookings"),
    )
    .join_from(_orders, _payments, _payments.c.order_id == _orders.c.id)
    .outerjoin(_fulfillments, _fulfillments.c.order_id == _orders.c.id)
)
# Changes of status only: an edit, such as a refund that is asked for, leaves it as it is.
_paths = (
    select(_history.c.order_id, _history.c.to_status)
    .where(_history.c.from_status.is_distinct_from(_history.c.to_status))
    .order_by(_history.c.order_id, _history.c.version)
)

PART_BACK, PAID_BACK = "part back", "paid back"


@dataclass(frozen=True, slots=True)
class Seen:
    """An order as it stood, at its `version`.

    `path` is every state it has been in; `payment` is its payment's, or how much of it is to go back; `charges` and
    `bookings` count calls made.
    """

    id: UUID
    path: tuple[str, ...]
    payment: str
    charges: int
    parcel: str | None
    bookings: int
    version: int = 1

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
            row.payment if not row.refunded else PART_BACK if row.left else PAID_BACK,
            row.charges,
            row.parcel,
            row.bookings,
            row.version,
        )
        for row in rows
    }
