"""Whatever is sent, the answer is a 4xx problem that says what is wrong; never a 500, and nothing is stored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlmodel import func, select

from orderkit.auth.models import User
from orderkit.catalog.models import Product
from orderkit.db import Database
from orderkit.inventory.models import StockMovement
from tests.client import Client
from tests.factories import make_product

REGISTER = {"email": "ada@example.com", "password": "correct horse", "name": "Ada"}
PRODUCT = {"sku": "TEA-001", "name": "Tea", "unit_price": 1999, "currency": "GBP", "stock": 5}
MOVEMENT = {"delta": 5, "reason": "receipt"}
ROUTES: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/register", REGISTER),
    ("POST", "/products", PRODUCT),
    ("POST", "/products/OLD/stock", MOVEMENT),
]
ROUTES += [("PATCH", "/products/OLD", {"name": "New", "unit_price": 5})]

JSON = {"Content-Type": "application/json"}

MALFORMED = {
    "empty": b"",
    "blank": b"  ",
    "cut off": b'{"name": "A',
    "NaN": b'{"stock": NaN}',
    "infinity": b'{"stock": -Infinity}',
    "raw NUL": b'{"name": "a\0b"}',
    "invalid UTF-8": b'{"name": "\xff\xfe"}',
    "surrogate in UTF-8": b'{"name": "\xed\xa0\x80"}',
    "UTF-16": json.dumps(PRODUCT).encode("utf-16"),
    "duplicate": b'{"name": "a", "name": "b"}',
    "deep": b'{"name": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "deeper than the limit": b"[" * 40 + b"]" * 40,
    "form": b"name=a&stock=5",
}

REFUSED = {
    "1e400": b'{"unit_price": 1e400}',
    "escaped NUL": b'{"name": "a\\u0000b"}',
    "lone surrogate": b'{"name": "\\ud800"}',
    "integer of 5000 digits": b'{"unit_price": ' + b"9" * 5000 + b"}",
    "array": b"[]",
    "null": b"null",
    "string": b'"x"',
    "number": b"5",
    "nothing in it": b"{}",
}


def stored(database: Database) -> list[int]:
    with database.reading() as session:
        return [
            session.execute(select(func.count()).select_from(t)).scalar_one() for t in (User, Product, StockMovement)
        ]


@pytest.fixture
def unchanged(database: Database, admin: User) -> Any:
    """Fails the test if it stored anything."""
    make_product(database, sku="OLD", stock=1)
    before = stored(database)
    yield
    assert stored(database) == before


@pytest.mark.usefixtures("unchanged")
class TestEveryRoute:
    def test_refuses_what_is_no_json(self, api: Client, staff: dict[str, str]) -> None:
        for method, path, _ in ROUTES:
            for what, body in MALFORMED.items():
                answer = api.run(api.call(method, path, body, headers=staff | JSON))
                assert (answer.status, answer.code) == (400, "body_malformed"), what

    def test_refuses_json_that_does_not_fit(self, api: Client, staff: dict[str, str]) -> None:
        for method, path, _ in ROUTES:
            for what, body in REFUSED.items():
                answer = api.run(api.call(method, path, body, headers=staff | JSON))
                assert (answer.status, answer.code) == (422, "validation_failed"), what
                assert answer.pointers

    def test_refuses_members_it_does_not_know(self, api: Client, staff: dict[str, str]) -> None:
        for method, path, good in ROUTES:
            for name in ("role", "id", "status", "user_id", "version", "", "__proto__", "a/b"):
                answer = api.run(api.call(method, path, good | {name: "admin"}, headers=staff))
                assert (answer.status, answer.code) == (422, "validation_failed")
                assert answer.pointers == ["#/" + name.replace("/", "~1")]
                assert answer.json()["errors"][0]["detail"] == "is not known here"

    def test_refuses_a_wrong_type_in_every_member(self, api: Client, staff: dict[str, str]) -> None:
        for method, path, good in ROUTES:
            for name, value in good.items():
                wrong: list[Any] = [None, True, 1.5, [], {}, [value]]
                wrong += (
                    ["5", 5.0, 2**63, -(2**63) - 1, 10**30]
                    if isinstance(value, int)
                    else [5, "", "\n", " ", "x" * 5000]
                )
                for one in wrong:
                    answer = api.run(api.call(method, path, good | {name: one}, headers=staff))
                    assert (answer.status, answer.code) == (422, "validation_failed"), (name, one)
                    assert answer.pointers == [f"#/{name}"], (name, one)

    def test_refuses_integers_with_a_fraction_or_an_exponent(self, api: Client, staff: dict[str, str]) -> None:
        for method, path, good in ROUTES:
            for name in [name for name, value in good.items() if isinstance(value, int)]:
                for written in ("5.0", "5e0", "1E2", "-0.0"):
                    body = json.dumps(good | {name: "HERE"}).replace('"HERE"', written).encode()
                    answer = api.run(api.call(method, path, body, headers=staff | JSON))
                    assert (answer.status, answer.pointers) == (422, [f"#/{name}"])

    def test_refuses_other_media_types(self, api: Client, staff: dict[str, str]) -> None:
        for method, path, good in ROUTES:
            body = json.dumps(good).encode()
            for kind in (
                "text/plain",
                "application/x-www-form-urlencoded",
                "application/jsonx",
                "json",
                "",
                "é",
                "*/*",
            ):
                answer = api.run(api.call(method, path, body, headers=staff | {"Content-Type": kind}))
                assert (answer.status, answer.code) == (415, "unsupported_media_type"), kind
            assert api.run(api.call(method, path, body, headers=staff)).code == "unsupported_media_type"

    def test_refuses_what_is_too_large(self, api: Client, staff: dict[str, str]) -> None:
        for method, path, good in ROUTES:
            huge = json.dumps(good | {"name": "x" * 1_000_000}).encode()
            answer = api.run(api.call(method, path, huge, headers=staff | JSON))
            assert (answer.status, answer.code) == (413, "body_too_large")
            in_parts = [huge[n : n + 4096] for n in range(0, len(huge), 4096)]
            answer = api.run(api.call(method, path, headers=staff | JSON, chunks=in_parts))
            assert (answer.status, answer.code) == (413, "body_too_large")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "application/json ; a=b"])
def test_json_by_any_of_its_names_is_taken(api: Client, kind: str) -> None:
    answer = api.post("/register", json.dumps(REGISTER).encode(), {"Content-Type": kind})
    assert answer.status == 201


def test_a_strange_sku_in_a_path_is_just_not_there(api: Client, staff: dict[str, str]) -> None:
    for path in [
        "%00",
        "%",
        "%zz",
        "%ff",
        "%ed%a0%80",
        "%2e%2e",
        "%0d%0a",
        "x" * 5000,
        "é%E2%80%AE",
        "'%20OR%201=1--",
        "A%2FB",
        "%5c",
    ]:
        assert api.get(f"/products/{path}").code == "not_found"
        assert api.patch(f"/products/{path}", {"name": "x"}, staff).code == "not_found"
        assert api.post(f"/products/{path}/stock", MOVEMENT, staff).code == "not_found"


def test_a_limit_is_a_whole_number_from_1_to_100(api: Client) -> None:
    """OWASP API Security Top 10 2023, API4."""
    for query in [
        "limit=0",
        "limit=-1",
        "limit=101",
        "limit=1.0",
        "limit=1e1",
        "limit=%20%201",
        "limit=x",
        "limit=",
        "limit=1_0",
        "limit=%D9%A1",
        "limit=%00",
        "limit=999999999999999999999999",
    ]:
        answer = api.get(f"/products?{query}")
        assert (answer.status, answer.code, answer.pointers) == (422, "validation_failed", ["#/query/limit"])


def test_a_made_up_cursor_is_refused(api: Client) -> None:
    for cursor in [
        "",
        "x",
        "%00",
        "%ff",
        "=",
        "AAAA",
        "%ed%a0%80",
        "é",
        "x" * 1000,
        "_" * 24,
        "%20",
        "AAAAAAAAAAAAAAAAAAAAAAAA",
    ]:
        answer = api.get(f"/products?cursor={cursor}")
        assert (answer.status, answer.code) == (400, "cursor_invalid")


def test_a_strange_authorization_is_no_authentication(api: Client) -> None:
    headers: list[str | bytes] = [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Bearer a.b.c",
        "bearer é",
        "Bearer \x00",
        "Bearer " + "x" * 5000,
        b"Bearer \xff\xfe",
    ]
    for header in headers:
        answer = api.get("/users/me", {"Authorization": header})
        assert (answer.status, answer.code) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_headers_that_are_not_ascii_break_nothing(api: Client) -> None:
    for name in ["X-Request-ID", "traceparent", "Content-Type", "Accept", "Idempotency-Key", "Cookie"]:
        assert api.get("/products", {name: b"\xff\xfe\x80"}).status == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "validation_failed"),
        (b"username=a", 422, "validation_failed"),
        (b"username=a&password=\xff", 400, "body_malformed"),
        (b"username=%ff%fe&password=%ff", 401, "unauthenticated"),
        (b"username=%00&password=%00", 401, "unauthenticated"),
        (b"username=a@example.com&password=%ed%a0%80", 401, "unauthenticated"),
        (b"username=%zz&password=%", 401, "unauthenticated"),
        (b"username=a&password=b&grant_type=other", 422, "validation_failed"),
        (b"username=a@example.com&password=" + b"x" * 60_000, 401, "unauthenticated"),
        (b"&".join(b"a%d=1" % n for n in range(2000)), 400, "body_malformed"),
    ],
)
def test_a_strange_form_gets_no_token(api: Client, body: bytes, status: int, code: str) -> None:
    answer = api.post("/token", body, {"Content-Type": "application/x-www-form-urlencoded"})
    assert (answer.status, answer.code) == (status, code)


def test_a_token_is_given_for_a_form_only(api: Client) -> None:
    for kind in ("application/json", "multipart/form-data; boundary=x", "text/plain", ""):
        answer = api.post("/token", b"username=a&password=b", {"Content-Type": kind})
        assert (answer.status, answer.code) == (415, "unsupported_media_type")
