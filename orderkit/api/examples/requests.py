"""Examples of what is sent: bodies and parameters. Tests send every one of them to a running application."""

from __future__ import annotations

from typing import Any

from orderkit.api.examples import world

_ORDER: dict[str, Any] = {
    "items": [{"sku": world.SKU, "quantity": 2}],
    "payment_method": "pm_card_visa",
    "shipping_address": world.ADDRESS,
}

BODIES: dict[str, dict[str, Any]] = {
    "POST /orders": {
        "Two packets of tea": _ORDER,
        "At no other price than was seen": _ORDER
        | {"expected_total": 2 * world.PRICE, "note": "Please ring twice.", "metadata": {"basket": "b-1042"}},
        "Priced in another currency": _ORDER | {"currency": "EUR"},
    },
    "PATCH /orders/{order_id}": {
        "The parcel arrived": {"status": "delivered"},
        "A note for colleagues": {"staff_note": "Called about the delivery time."},
    },
    "POST /orders/{order_id}/cancel": {"With a reason": {"reason": "ordered twice by mistake"}},
    "POST /orders/{order_id}/refunds": {
        "One packet, which comes back": {
            "lines": [{"sku": world.SKU, "quantity": 1}],
            "restock": True,
            "reason": "arrived broken",
        },
        "A sum": {"amount": 500, "reason": "came late"},
        "All that is left": {"reason": "never arrived"},
    },
    "POST /products": {
        "A new product": {
            "sku": "TEA-003",
            "name": "White tea, 50 g",
            "unit_price": 2450,
            "currency": "GBP",
            "stock": 40,
        }
    },
    "PATCH /products/{sku}": {
        "Another price": {"unit_price": 2199},
        "Tell of low stock": {"low_stock_at": 10},
    },
    "PUT /products/{sku}/prices/{currency}": {"In euros": {"unit_price": 2399}},
    "POST /products/{sku}/stock": {
        "A delivery came": {"delta": 48, "reason": "delivery 4711"},
        "Counted fewer": {"delta": -2, "reason": "stocktaking"},
    },
    "POST /token": {
        "A customer": {"grant_type": "password", "username": world.EMAIL, "password": world.PASSWORD},
    },
    "POST /token/refresh": {"The token of the last answer": {"refresh_token": world.REFRESH_TOKEN}},
    "POST /token/revoke": {"Logging out": {"token": world.REFRESH_TOKEN}},
    "POST /register": {
        "A new customer": {"email": "grace@example.com", "password": world.PASSWORD, "name": "Grace Example"}
    },
    "PATCH /users/me": {"What others see": {"name": world.NAME, "bio": "Drinks green tea.", "avatar_url": None}},
    "POST /users/me/password": {
        "A new one": {"current_password": world.PASSWORD, "new_password": world.NEW_PASSWORD},
    },
    "POST /users/me/api-keys": {
        "For a nightly export": {
            "name": "nightly export",
            "permissions": ["orders:own"],
            "expires_in_days": 90,
            "current_password": world.PASSWORD,
        }
    },
    "PATCH /users/{user_id}": {"Another role": {"role": "support"}, "A ban": {"banned": True}},
    "POST /email/verify": {"The token of the link": {"token": world.LINK_TOKEN}},
    "POST /password/forgot": {"An address": {"email": world.EMAIL}},
    "POST /password/reset": {
        "The token of the link": {"token": world.LINK_TOKEN, "password": world.NEW_PASSWORD},
    },
    "POST /webhooks/carrier": {
        "A parcel was delivered": {
            "type": "shipment.delivered",
            "timestamp": "2026-03-04T11:20:00Z",
            "data": {"key": world.FULFILLMENT_ID},
        }
    },
    "PUT /roles/{name}/permissions": {
        "What support may": {"permissions": ["orders:read", "orders:write", "orders:refund"]},
    },
}
"""For each operation, by what they are about; of a form, its fields."""

IN_PATHS: dict[str, tuple[str, Any]] = {
    "order_id": ("The order.", world.ORDER_ID),
    "refund_id": ("The refund.", world.REFUND_ID),
    "sku": ("The product; case counts.", world.SKU),
    "currency": ("ISO 4217; another than the product's own.", "EUR"),
    "session_id": ("The login, one of one's own.", world.SESSION_ID),
    "key_id": ("The key, by its id and not by its text.", world.KEY_ID),
    "user_id": ("The user.", world.CUSTOMER_ID),
    "letter_id": ("The dead letter.", world.LETTER_ID),
    "name": ("The role.", "support"),
    "code": ("The `code` of a problem document.", "out_of_stock"),
}
"""Parameters of paths, which are the same wherever they are: what they mean, and an example."""

IN_QUERIES: dict[str, Any] = {
    "limit": 20,
    "status": "shipped",
    "created_from": "2026-01-01T00:00:00Z",
    "created_to": "2027-01-01T00:00:00Z",
    "user_id": world.CUSTOMER_ID,
    "email": world.EMAIL,
    "min_total": 1000,
    "max_total": 50_000,
    "number": 1042,
    "sort": "created_at",
    "order": "desc",
    "q": "ada",
    "resolved": True,
    "from": "2026-03-01",
    "to": "2026-04-01",
    "from_date": "2026-03-01",
    "to_date": "2026-04-01",
    "tz": "Europe/London",
    "currency": "GBP",
    "format": "json",
    "compare": "previous",
    "subject": "role:support",
}
"""And of queries. A cursor has no example: it is good only for the list that it came with."""

BY = {"GET /admin/products/top-selling": "revenue", "GET /admin/sales/report": "month"}

IN_HEADERS: dict[str, Any] = {
    "Idempotency-Key": world.IDEMPOTENCY_KEY,
    "Prefer": "respond-async",
    "If-Match": '"3"',
    "webhook-id": "msg_01995d21",
    "webhook-timestamp": "1772623200",
    "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
}

DESCRIBED = {
    ("GET /orders", "status"): "Only orders that are in it now.",
}
"""What parameters mean that say nothing themselves."""


def parameter(operation: str, where: str, name: str) -> Any:
    """The example of a parameter; None for one that can have none."""
    if where == "path":
        return IN_PATHS[name][1]
    if where == "header":
        return IN_HEADERS.get(name)
    return BY.get(operation) if name == "by" else IN_QUERIES.get(name)
