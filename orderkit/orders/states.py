"""The transition table. A status changes only as written here; the diagram in the docs is drawn from it."""

from __future__ import annotations

from enum import StrEnum

from orderkit.errors import IllegalTransition


class OrderStatus(StrEnum):
    PENDING = "pending"
    PAID = "paid"
    PAYMENT_FAILED = "payment_failed"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"


TRANSITIONS: dict[OrderStatus, frozenset[OrderStatus]] = {
    OrderStatus.PENDING: frozenset({OrderStatus.PAID, OrderStatus.PAYMENT_FAILED, OrderStatus.CANCELLED}),
    OrderStatus.PAID: frozenset({OrderStatus.SHIPPED, OrderStatus.CANCELLED, OrderStatus.REFUNDED}),
    OrderStatus.SHIPPED: frozenset({OrderStatus.DELIVERED, OrderStatus.REFUNDED}),
    OrderStatus.DELIVERED: frozenset({OrderStatus.REFUNDED}),
    OrderStatus.PAYMENT_FAILED: frozenset(),
    OrderStatus.CANCELLED: frozenset(),
    OrderStatus.REFUNDED: frozenset(),
}


def check(current: str, wanted: OrderStatus) -> None:
    """Raises IllegalTransition unless an order may go from `current` to `wanted`."""
    if wanted not in TRANSITIONS[OrderStatus(current)]:
        raise IllegalTransition(f"an order that is {current} cannot become {wanted}", facts={"status_now": current})
