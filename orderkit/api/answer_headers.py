"""The headers of answers, as the document of the API lists them: on all, with a status, or of one operation."""

from __future__ import annotations

from typing import Any, NamedTuple


class Header(NamedTuple):
    description: str
    pattern: str
    always: bool = True
    """Whether every answer that lists it has it."""


HEADERS: dict[str, Header] = {
    "X-Request-ID": Header("The caller's, if it sent one that will do, else a new one.", "^[A-Za-z0-9._-]{1,64}$"),
    "traceparent": Header(
        "The trace that the request belongs to (W3C).", "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"
    ),
    "WWW-Authenticate": Header("How to authenticate (RFC 6750).", "^Bearer"),
    "Retry-After": Header("Seconds to wait before trying again.", "^[0-9]+$"),
    "Location": Header("Where it is now.", "^/"),
    "ETag": Header("The version, to be sent as If-Match with a change of it.", '^"[0-9]+"$'),
    "Idempotent-Replayed": Header("The key was used before; this is the first answer again.", "^true$", always=False),
    "Preference-Applied": Header(
        "That the answer did not wait, as it was asked not to.", "^respond-async$", always=False
    ),
}

ON_ALL = ("X-Request-ID", "traceparent")
WITH_STATUS = {"401": ("WWW-Authenticate",), "429": ("Retry-After",), "503": ("Retry-After",)}
_PLACED = ("Location", "ETag", "Idempotent-Replayed")
OF_OPERATIONS: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {
    ("post", "/orders"): {
        "201": _PLACED,
        "202": (*_PLACED, "Preference-Applied"),
        "402": ("Location", "Idempotent-Replayed"),
    },
    ("get", "/orders/{order_id}"): {"200": ("ETag",)},
    ("patch", "/orders/{order_id}"): {"200": ("ETag",), "412": ("ETag",)},
    ("post", "/orders/{order_id}/cancel"): {"200": ("ETag",)},
    ("post", "/orders/{order_id}/refunds"): {"201": ("Location", "Idempotent-Replayed")},
    ("post", "/products"): {"201": ("Location",)},
    ("post", "/products/{sku}/stock"): {"200": ("Idempotent-Replayed",)},
}
UNHURRIED = ("/health/",)
"""Of these paths a 503 is no request to come again: it is the answer."""


def describe(openapi: dict[str, Any]) -> None:
    """Lists in the document which headers each answer has."""
    openapi["components"]["headers"] = {
        name: {
            "description": one.description,
            "required": one.always,
            "schema": {"type": "string", "pattern": one.pattern},
        }
        for name, one in HEADERS.items()
    }
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            own = OF_OPERATIONS.get((method, path), {})
            for status, response in operation["responses"].items():
                hurried = () if path.startswith(UNHURRIED) else WITH_STATUS.get(status, ())
                names = (*own.get(status, ()), *hurried, *ON_ALL)
                found = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
                response["headers"] = (
                    response.get("headers", {}) | found
                )  # some routes describe those that only they have
