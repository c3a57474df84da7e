"""What orderkit tells the world about orders and products. Payloads hold primitives only, so that any consumer can read them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

ORDER_PAID = "order.paid"
ORDER_PAYMENT_FAILED = "order.payment_failed"
ORDER_CANCELLED = "order.cancelled"
ORDER_SHIPPED = "order.shipped"
ORDER_IMPORTED = "order.imported"
ORDER_DELIVERED = "order.delivered"
ORDER_REFUNDED = "order.refunded"
ORDER_UPDATED = "order.updated"
ORDER_REFUND_SUCCEEDED = "order.refund_succeeded"
ORDER_CAPTURED_LATE = "order.captured_late"
PRODUCT_LOW_STOCK = "product.low_stock"


def order_payload(*, user_id: Any, currency: str, total: int, country: str | None, reason: str) -> dict[str, Any]:
    """What every event of an order says: whose it is, its total in minor units of `currency`, the country that it then went
    to, and why it happened."""
    return {"user_id": str(user_id), "currency": currency, "total": total, "country": country, "reason": reason}


def refund_part(refund_id: Any, amount: int, created_at: datetime) -> dict[str, Any]:
    """What `order.refund_succeeded` says besides: how much went back, in minor units, and when that was asked for."""
    return {"refund": {"id": str(refund_id), "amount": amount, "created_at": created_at.isoformat()}}


def sent_elsewhere_part(country: str | None, refunds: Iterable[tuple[datetime, int]]) -> dict[str, Any]:
    """What `order.updated` says besides when an order that is paid goes to another country: which it went to before, and
    what of its money had gone back by then."""
    return {"was": {"country": country, "refunds": [[at.isoformat(), amount] for at, amount in refunds]}}


def low_stock_payload(sku: str, stock: int, threshold: int) -> dict[str, Any]:
    """Of which product so many pieces are left, and at how many or fewer somebody wants to hear of it."""
    return {"sku": sku, "stock": stock, "threshold": threshold}
