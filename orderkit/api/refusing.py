"""How each operation can refuse a request, as the document of the API says it: by status, with the codes and an example of each.

FastAPI's own document has errors as application/json, and a 422 in a format of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orderkit.api.examples import refusals
from orderkit.api.problems import KINDS, MEDIA_TYPE, UNCOUNTED, WATCHED, Problem

REFERENCE = {"$ref": "#/components/schemas/Problem"}
EVERYWHERE = (
    "request_malformed",
    "method_not_allowed",
    "expectation_failed",
    "head_too_large",
    "internal_error",
    "configuration",
    "transfer_coding_unknown",
    "http_version_unknown",
)
"""Codes that say nothing of an operation; no operation lists them, but the description of the whole does."""

_KEY = "Idempotency-Key"
_CHANGES_STATUS = {
    ("patch", "/orders/{order_id}"),
    ("post", "/orders/{order_id}/cancel"),
    ("post", "/dead-letters/{letter_id}/retry"),
    ("post", "/dead-letters/{letter_id}/discard"),
}

Asked = tuple[str, str, Mapping[str, Any]]
"""Method, path, and what the document says of them."""


def _takes(asked: Asked, name: str) -> bool:
    return any(one["name"] == name for one in asked[2].get("parameters", ()))


def _needs_key(asked: Asked) -> bool:
    return any(one["name"] == _KEY and one["required"] for one in asked[2].get("parameters", ()))


def _places(asked: Asked) -> bool:
    return asked[:2] == ("post", "/orders")


ONLY_WHERE: dict[str, Callable[[Asked], bool]] = {
    "body_malformed": lambda asked: "requestBody" in asked[2],
    "cursor_invalid": lambda asked: _takes(asked, "cursor"),
    "idempotency_key_missing": _needs_key,
    "idempotency_key_malformed": lambda asked: _takes(asked, _KEY),
    "idempotency_key_expired": lambda asked: _takes(asked, _KEY),
    "idempotency_key_in_use": lambda asked: _takes(asked, _KEY),
    "idempotency_key_reused": lambda asked: _takes(asked, _KEY),
    "signature_invalid": lambda asked: asked[1].startswith("/webhooks/"),
    "out_of_stock": _places,
    "price_changed": _places,
    "conflict": lambda asked: not _places(asked),
    "illegal_transition": lambda asked: asked[:2] in _CHANGES_STATUS,
}
"""Which operations can answer with a code, where not every one that answers with its status can."""


def codes(method: str, path: str, operation: Mapping[str, Any], status: int) -> list[str]:
    """The codes that this operation may answer with under this status, as the table of codes has them in order."""
    asked = (method, path, operation)
    of_status = [code for code, kind in KINDS.items() if kind.status == status and code not in EVERYWHERE]
    return [code for code in of_status if code not in ONLY_WHERE or ONLY_WHERE[code](asked)]


def describe(openapi: dict[str, Any]) -> None:
    """Says in the document how every operation refuses, with one example of each code."""
    schemas = openapi["components"]["schemas"]
    names = {"HTTPValidationError", Problem.__name__}
    openapi["components"]["examples"] = {
        code: {"summary": KINDS[code].title, "value": dict(one.members)}
        for code, one in sorted(refusals.by_code().items())
        if code not in EVERYWHERE
    }
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            for status in _of_the_edge(path, operation):
                operation["responses"].setdefault(status, {"content": {"application/json": {"schema": REFERENCE}}})
            for status, response in operation["responses"].items():
                schema = response.get("content", {}).get("application/json", {}).get("schema", {})
                if schema.get("$ref", "").rsplit("/", 1)[-1] in names:
                    _refuse(response, codes(method, path, operation, int(status)))
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)


def _refuse(response: dict[str, Any], possible: list[str]) -> None:
    told = [f"`{code}`: {KINDS[code].meaning}" for code in possible]
    response.clear()
    response["description"] = told[0] if len(told) == 1 else "\n".join(f"- {one}" for one in told)
    examples = {code: {"$ref": f"#/components/examples/{code}"} for code in possible}
    response["content"] = {MEDIA_TYPE: {"schema": REFERENCE, "examples": examples}}


def _of_the_edge(path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    """The statuses that an operation may answer with before its route is asked."""
    if "requestBody" in operation:
        yield "408"
    if not path.startswith(UNCOUNTED):
        yield "429"  # any may be one too many
    if not path.startswith(WATCHED):
        yield "503"  # nor may there be time for it
