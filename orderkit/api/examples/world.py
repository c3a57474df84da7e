"""The small shop that all examples are about, so that what one of them makes another can read."""

from __future__ import annotations

REQUEST_ID = "01995d1e-7c1a-7d3e-9b52-6f0a4c8e21d7"

CUSTOMER_ID = "01995d1d-02b4-7c55-a0de-5f1c7b2e9a10"
EMAIL = "ada@example.com"
NAME = "Ada Example"
PASSWORD = "three teas before nine"  # noqa: S105 - nobody's
NEW_PASSWORD = "four teas before noon"  # noqa: S105

STAFF_ID = "01995d1c-f1a0-7b21-9c33-1e4d6a8b0c52"
STAFF = "Sam Support"

SKU = "TEA-001"
PRODUCT = "Green tea, 100 g"
PRICE = 1999

ORDER_ID = "01995d1e-7c22-7a10-8e6f-3b9d5c70a4f2"
PAYMENT_ID = "01995d1e-7c23-7f4e-b1a7-0d2c6e8f4b19"
FULFILLMENT_ID = "01995d1e-7e0c-7a83-bb40-92c1d5e7f306"
REFUND_ID = "01995d2a-3f10-7c9b-8d54-6a7b8c9d0e1f"
LETTER_ID = "01995d1f-0b9e-7444-9a1b-2c3d4e5f6071"
SESSION_ID = "01995d1d-9a41-7e02-8f3d-4b5c6d7e8f90"
KEY_ID = "01995d21-5c77-7d18-9e4f-a1b2c3d4e5f6"

IDEMPOTENCY_KEY = "8d7c3f52-1b7e-4f4f-9a55-3a3f0f1e2d6c"
ADDRESS = {
    "name": NAME,
    "line1": "1 High Street",
    "city": "London",
    "postal_code": "N1 9GU",
    "country": "GB",
}

ACCESS_TOKEN = "eyJhbGciOiJIUzI1NiIsImtpZCI6IjEiLCJ0eXAiOiJKV1QifQ.e30.c2lnbmF0dXJl"  # noqa: S105
REFRESH_TOKEN = "okr_7Zc1Wb0mQ3vN5xK8tR2yU6pL4sD9fGhJ"  # noqa: S105
LINK_TOKEN = "okl_3nVx8sQ2wE5rT7yU1iO9pA4dF6gH0jKl"  # noqa: S105
API_KEY = "okk_k3v9x0qa_5Hn2Lw8Rt4Yb6Mc1Xz7Pd3Gs"

AT = "2026-03-02T08:15:03.218000Z"
"""When it all begins."""
