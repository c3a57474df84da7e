"""What pages of other sites may do, and what browsers are told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orderkit.api import cors
from orderkit.db import Database
from orderkit.settings import Settings
from tests.client import Answer, Client, running
from tests.factories import make_product, make_user

SHOP, OTHER = "https://shop.example.com", "http://localhost:3000"
SECRET = "Kq7wZt3xVb9nMd2rHs6yLf4pJg8cTa5e-W1uR0iNo"

FOREIGN = [
    "https://evil.example",
    "https://shop.example.com.evil.example",
    "https://evil-shop.example.com",
    "http://shop.example.com",
    "https://shop.example.com:8443",
    "https://SHOP.example.com",
    "https://shop.example.com/",
    "null",
    "*",
    "",
]


@pytest.fixture
def shared(settings: Settings, database: Database) -> Iterator[Client]:
    """An API that pages of two origins may call."""
    with running(settings.model_copy(update={"cors_origins": f"{SHOP}, {OTHER}"})) as client:
        yield client


def asked(api: Client, origin: str, method: str = "POST", path: str = "/orders") -> Answer:
    """What a browser asks before a page of `origin` may call."""
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "x-anything",
    }
    return api.run(api.call("OPTIONS", path, headers=headers))


def told(answer: Answer) -> set[str]:
    return {name for name in answer.headers if name.startswith("access-control-")}


@pytest.mark.parametrize("origin", [SHOP, OTHER])
def test_a_page_of_a_listed_origin_may_call_and_read(shared: Client, origin: str) -> None:
    """OWASP ASVS V3.4.2"""
    before = asked(shared, origin)
    assert (before.status, before.body) == (204, b"")
    assert before.headers["access-control-allow-origin"] == origin
    assert {"POST", "PATCH", "PUT", "DELETE"} <= set(before.headers["access-control-allow-methods"].split(", "))
    taken = {"Authorization", "Content-Type", "Idempotency-Key", "If-Match", "X-Request-ID"}
    assert taken <= set(before.headers["access-control-allow-headers"].split(", "))
    answer = shared.get("/products", {"Origin": origin})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, origin)
    assert {"ETag", "Location", "Retry-After", "X-Request-ID"} <= set(
        answer.headers["access-control-expose-headers"].split(", ")
    )
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("origin", FOREIGN)
def test_an_origin_that_is_not_listed_is_never_reflected(shared: Client, origin: str) -> None:
    """OWASP ASVS V3.4.2"""
    before = asked(shared, origin)
    assert (before.status, before.code, told(before)) == (405, "method_not_allowed", set())
    for answer in (shared.get("/products", {"Origin": origin}), shared.get("/nothing", {"Origin": origin})):
        assert (told(answer), answer.headers["vary"]) == (set(), "Origin")


def test_errors_can_be_read_by_a_listed_page_too_and_cookies_are_never_asked_for(
    shared: Client, database: Database
) -> None:
    """OWASP ASVS V3.4.2"""
    user = shared.token(make_user(database))
    for answer in (
        shared.get("/nothing", {"Origin": SHOP}),
        shared.post("/orders", b"x" * 70_000, user | {"Origin": SHOP}),
        shared.get("/users/me", {"Origin": SHOP}),
        asked(shared, SHOP),
    ):
        assert answer.headers["access-control-allow-origin"] == SHOP
        assert "access-control-allow-credentials" not in answer.headers


def test_unless_origins_are_listed_no_page_may_call(api: Client) -> None:
    """OWASP ASVS V3.4.2"""
    for origin in (SHOP, *FOREIGN):
        assert asked(api, origin).status == 405
        answer = api.get("/products", {"Origin": origin})
        assert (told(answer), "vary" in answer.headers) == (set(), False)


def test_asking_whether_a_page_may_call_does_nothing_else(shared: Client, database: Database) -> None:
    """OWASP ASVS V3.4.2"""
    make_product(database, sku="TEA", stock=3)
    for method, path in (("POST", "/orders"), ("PATCH", "/products/TEA"), ("GET", "/nothing"), ("BREW", "/products")):
        answer = asked(shared, SHOP, method, path)
        assert (answer.status, answer.body) == (204, b"")
        assert method in cors.METHODS or method not in answer.headers["access-control-allow-methods"]
    assert shared.get("/products/TEA").json()["stock"] == 3


@pytest.mark.parametrize(
    "path", ["/products", "/products/TEA", "/products/NONE", "/health/live", "/docs", "/openapi.json"]
)
def test_head_answers_what_get_does_but_for_the_body(api: Client, database: Database, path: str) -> None:
    """RFC 9110, section 9.3.2"""
    make_product(database, sku="TEA")
    got, head = api.get(path), api.run(api.call("HEAD", path))
    assert (head.status, head.body) == (got.status, b"")
    own = ("x-request-id", "traceparent")
    assert {name: value for name, value in head.headers.items() if name not in own} == {
        name: value for name, value in got.headers.items() if name not in own
    }


def test_head_of_what_cannot_be_got_says_what_can_be_done(api: Client) -> None:
    """RFC 9110, section 15.5.6"""
    answer = api.run(api.call("HEAD", "/token"))
    assert (answer.status, answer.headers["allow"], answer.body) == (405, "POST", b"")


def test_head_asks_for_the_same_permission_as_get(api: Client, customer: dict[str, str], staff: dict[str, str]) -> None:
    """OWASP API5"""
    statuses = [api.run(api.call("HEAD", "/users", headers=headers)).status for headers in ({}, customer, staff)]
    assert statuses == [401, 403, 200]


ANSWERS = ("/products", "/nothing", "/docs", "/static/docs/swagger-ui.css", "/users/me", "/links/style.css")


@pytest.mark.parametrize("path", ANSWERS)
def test_every_answer_keeps_browsers_from_guessing_and_from_telling_where_they_were(api: Client, path: str) -> None:
    """OWASP ASVS V3.4.4, V3.4.5"""
    answer = api.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_no_answer_about_a_person_is_kept_by_a_cache(api: Client, staff: dict[str, str]) -> None:
    """OWASP ASVS V14.3.2"""
    for path in ("/users/me", "/orders", "/users", "/users/me/sessions", "/admin/audit-log", "/nothing"):
        assert api.get(path, staff).headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("env", "public_url", "wanted"),
    [
        ("production", "https://shop.example.com", "max-age=31536000"),
        ("production", "http://shop.example.com", None),
        ("development", "https://shop.example.com", None),
    ],
)
def test_in_production_browsers_are_told_to_keep_to_https(
    settings: Settings, database: Database, env: str, public_url: str, wanted: str | None
) -> None:
    """OWASP ASVS V3.4.1"""
    changed = Settings(
        _env_file=None,
        **settings.model_dump(exclude_unset=True) | {"env": env, "public_url": public_url, "secret_key": SECRET},
    )
    with running(changed) as api:
        for path in ANSWERS:
            assert api.get(path).headers.get("strict-transport-security") == wanted
