"""Whatever a client sends, to whichever route: it is refused with a 4xx problem that says why, and does nothing."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from orderkit.api.edge import MAX_BODY_BYTES
from orderkit.auth.models import User
from orderkit.catalog.models import Product
from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.settings import Settings
from tests.client import Answer, Client, running
from tests.factories import make_product, make_user
from tests.shop import Shop

JSON, FORM = "application/json", "application/x-www-form-urlencoded"

HOSTILE = {
    "nesting of 20,000": b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "NaN": b'{"a": NaN}',
    "1e400": b'{"a": 1e400}',
    "2**63": b'{"a": 9223372036854775808, "quantity": 9223372036854775808, "delta": 9223372036854775808}',
    "5,000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "NUL": b'{"a": "\\u0000", "name": "\\u0000", "reason": "\\u0000"}',
    "raw NUL": b'{"a": "\x00"}',
    "lone surrogate": b'{"a": "\\ud800", "name": "\\udfff"}',
    "twice the same": b'{"a": 1, "a": 2}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "no UTF-8": b'{"a": "\xff\xfe"}',
    "null": b"null",
    "true": b"true",
    "a list": b"[{}]",
    "cut off": b'{"a": ',
}

INJECTIONS = (
    "' OR '1'='1",
    "'; DROP TABLE users; --",
    '" OR ""="',
    "x' UNION SELECT email, password_hash FROM users --",
    "1; SELECT pg_sleep(5)",
    "%' AND 1=1 --",
    "\\'; DELETE FROM products; --",
    "created_at; DROP TABLE orders",
)


@pytest.fixture
def staff(api: Client, database: Database) -> dict[str, str]:
    """Headers of a request by an admin."""
    return api.token(make_user(database, role="admin"))


def filled(path: str) -> str:
    """An address of the route, of nothing that exists."""
    return re.sub(r"\{(\w+)\}", lambda found: str(new_id()) if found[1].endswith("_id") else "EUR", path)


def routes(api: Client, kind: str | None = None) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, an address, and the document of every route; with `kind`, of those that take such a body."""
    for path, operations in api.app.openapi()["paths"].items():
        for method, operation in operations.items():
            if kind is None or kind in operation.get("requestBody", {}).get("content", {}):
                yield method.upper(), filled(path), operation


def headers(staff: dict[str, str], kind: str = JSON) -> dict[str, str]:
    return staff | {"Content-Type": kind, "Idempotency-Key": new_id().hex, "If-Match": "*"}


def bodies(api: Client) -> list[tuple[str, str, str]]:
    return [(method, path, kind) for kind in (JSON, FORM) for method, path, _operation in routes(api, kind)]


def is_refused(answer: Answer, *statuses: int) -> bool:
    """Whether it is a problem document with one of the statuses."""
    return bool(answer.code) and answer.status in (statuses or range(400, 500))


def test_every_route_that_takes_a_body_is_among_those_that_are_tried(api: Client) -> None:
    """OWASP ASVS V4.1.1"""
    assert len(bodies(api)) >= 20
    assert {"/token", "/register", "/orders", "/webhooks/carrier"} <= {path for _method, path, _kind in bodies(api)}


def test_a_body_of_more_than_64_kb_is_413_on_every_route_of_said_and_unsaid_length(
    api: Client, staff: dict[str, str]
) -> None:
    """OWASP ASVS V4.3.1, API4"""
    large = b'{"a": "' + b"a" * MAX_BODY_BYTES + b'"}'
    parts = [large[at : at + 8192] for at in range(0, len(large), 8192)]
    for method, path, kind in bodies(api):
        sent = headers(staff, kind)
        assert is_refused(api.run(api.call(method, path, large, headers=sent)), 413), (method, path)
        assert is_refused(api.run(api.call(method, path, headers=sent, chunks=parts)), 413), (method, path)


def test_hostile_json_is_a_4xx_on_every_route(api: Client, staff: dict[str, str]) -> None:
    """OWASP ASVS V4.1.1, V2.2.1"""
    for method, path, _operation in routes(api, JSON):
        for name, body in HOSTILE.items():
            answer = api.run(api.call(method, path, body, headers=headers(staff)))
            assert is_refused(answer), (method, path, name, answer.status)


def test_a_body_of_another_kind_is_415_on_every_route(api: Client, staff: dict[str, str]) -> None:
    """OWASP ASVS V4.1.1"""
    for method, path, wanted in bodies(api):
        if path == "/webhooks/carrier":
            continue  # without a signature nothing of it is looked at
        for kind in ("text/plain", "multipart/form-data", "application/xml", FORM if wanted == JSON else JSON, ""):
            answer = api.run(api.call(method, path, b'{"a": 1}', headers=headers(staff, kind)))
            assert is_refused(answer, 415), (method, path, kind, answer.status)


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "OPTIONS"])
def test_no_route_takes_a_method_of_no_use(api: Client, staff: dict[str, str], method: str) -> None:
    """OWASP ASVS V13.4.4"""
    for _method, path, _operation in routes(api):
        answer = api.run(api.call(method, path, headers=staff | {"X-Secret": "echo me"}))
        assert is_refused(answer, 405), path
        assert b"echo me" not in answer.body
        assert method not in answer.headers["allow"]


def test_sql_in_any_parameter_of_any_route_is_inert(
    api: Client, staff: dict[str, str], database: Database, settings: Settings
) -> None:
    """OWASP ASVS V1.2.4"""
    shop = Shop(database, settings)
    shop.paid()
    make_user(database, email="victim@example.com")
    counted = [len(shop.all(model)) for model in (User, Product)]
    tried = 0
    for method, path, operation in routes(api):
        names = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
        if method != "GET" or not names:
            continue
        for name in names:
            for evil in INJECTIONS:
                answer = api.get(f"{path}?{name}={quote(evil)}", staff)
                assert answer.status in (200, 400, 404, 422), (path, name, evil, answer.status)
                assert b"victim@example.com" not in answer.body
                tried += 1
    assert tried > 300
    for _method, path, _operation in routes(api):
        if "EUR" in path:
            assert api.get(path.replace("EUR", quote(INJECTIONS[1])), staff).status in (404, 405, 422)
    assert [len(shop.all(model)) for model in (User, Product)] == counted
    assert api.get("/products").status == 200


def test_sql_in_a_body_is_text(api: Client, staff: dict[str, str], database: Database) -> None:
    """OWASP ASVS V1.2.4"""
    make_product(database, sku="TEA", stock=0)
    for evil in INJECTIONS:
        product = {"sku": evil, "name": evil, "unit_price": 1, "currency": "GBP"}
        assert api.post("/products", product, staff).status == 201
        read = api.get(f"/products/{quote(evil, safe='')}")
        assert (read.status, read.json()["name"]) == (200, evil)
        moved = api.post("/products/TEA/stock", {"delta": 1, "reason": evil}, staff)
        assert moved.status == 200
    assert api.get("/products/TEA").json()["stock"] == len(INJECTIONS)
    reasons = {one["reason"] for one in api.get("/products/TEA/movements", staff).json()["items"]}
    assert reasons == set(INJECTIONS)


def test_secrets_of_requests_are_compared_in_constant_time(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OWASP ASVS V11.2.4"""
    compared: list[tuple[Any, Any]] = []
    genuine = hmac.compare_digest

    def compare(one: Any, other: Any) -> bool:
        compared.append((one, other))
        return genuine(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    with running(settings.model_copy(update={"metrics_token": SecretStr("a token of the scraper")})) as api:
        api.get("/metrics", {"Authorization": "Bearer a guess"})
        assert (b"Bearer a guess", b"Bearer a token of the scraper") in compared
        make_product(database, sku="A")
        make_product(database, sku="B")
        cursor = api.get("/products?limit=1").json()["next_cursor"]
        compared.clear()
        assert api.get(f"/products?cursor=AAAA{cursor[4:]}").status == 400
        assert len(compared) == 1
        signed = {"webhook-id": "1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
        assert json.loads(api.post("/webhooks/carrier", {}, signed).body)["code"] == "signature_invalid"
