"""Telling of stock that runs low: once each time a product falls from above its threshold to it or below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orderkit.events import types
from orderkit.events.outbox import Event


def crossed(products: Mapping[str, Any], left: Mapping[str, int]) -> list[Event]:
    """The events of those locked `products` (rows with stock and low_stock_at, as they were) of which `left` remain now.

    However many orders took from a product in between, it crosses once. What lifts it above lets it cross again.
    """
    return [
        Event(None, None, types.PRODUCT_LOW_STOCK, types.low_stock_payload(sku, left[sku], product.low_stock_at))
        for sku, product in products.items()
        if product.low_stock_at is not None and left[sku] <= product.low_stock_at < product.stock
    ]
