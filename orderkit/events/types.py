"""What orderkit tells the world about orders and products. Payloads hold primitives only, so that any consumer can read them."""

from __future__ import annotations

from typing import Any

ORDER_PAID = "order.paid"
ORDER_PAYMENT_FAILED = "order.payment_failed"
ORDER_CANCELLED = "order.cancelled"
ORDER_SHIPPED = "order.shipped"
ORDER_IMPORTED = "order.imported"
ORDER_DELIVERED = "order.delivered"
ORDER_REFUNDED = "order.refunded"
ORDER_UPDATED = "order.updated"
PRODUCT_LOW_STOCK = "product.low_stock"


def order_payload(*, user_id: Any, currency: str, total: int, reason: str) -> dict[str, Any]:
    """What every event of an order says: whose it is, its total in minor units of `currency`, and why it happened."""
    return {"user_id": str(user_id), "currency": currency, "total": total, "reason": reason}


def low_stock_payload(sku: str, stock: int, threshold: int) -> dict[str, Any]:
    """Of which product so many pieces are left, and at how many or fewer somebody wants to hear of it."""
    return {"sku": sku, "stock": stock, "threshold": threshold}
