"""Canaries: a secret in each place where a request has room, and then a look everywhere that it must not have got to."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import select

from orderkit.api import access
from orderkit.auth.models import ADMIN
from orderkit.db import Database
from orderkit.observability import logs, tracing
from orderkit.observability.spans import Spans
from orderkit.schema import metadata
from orderkit.settings import Settings
from tests.client import Client, running
from tests.factories import make_product, make_user

PASSWORD = "Canary-PassPhrase-7Zq"
ADDRESS = {"name": "A", "line1": "1 Road", "city": "C", "postal_code": "AB1", "country": "GB"}


_BIRD = re.compile(r"kanarienvogel\d{4}x")


class Aviary:
    """Makes canaries, no two alike and none that looks like a secret, and says where one was found."""

    def __init__(self) -> None:
        self.places: dict[str, str] = {}

    def bird(self, place: str) -> str:
        bird = f"kanarienvogel{len(self.places):04}x"
        self.places[bird] = place
        return bird

    def found_in(self, text: str) -> set[str]:
        return {self.places[bird] for bird in set(_BIRD.findall(text.lower())) & self.places.keys()}


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing.use(Spans(SimpleSpanProcessor(exporter), "test"))
    yield exporter
    tracing.use(None)


@pytest.fixture
def log(settings: Settings) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(settings.model_copy(update={"log_format": "json", "log_level": "DEBUG"}), stream, process="api")
    return stream


@pytest.fixture
def api(settings: Settings, database: Database, log: io.StringIO, spans: InMemorySpanExporter) -> Iterator[Client]:
    make_product(database, sku="TEA", stock=50)
    with running(settings) as client:
        yield client


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """Methods and paths."""
    found = [(one.method, one.path) for one in access.rules(app)]
    assert len(found) > 60
    return found


def everywhere(database: Database) -> dict[str, str]:
    """All that the database holds, by table and column."""
    with database.reading() as session:
        return {
            f"{table.name}.{column.name}": "\n".join(map(str, session.execute(select(column)).scalars()))
            for table in metadata.sorted_tables
            for column in table.columns
        }


def assert_found_only(birds: Aviary, allowed: dict[str, set[str]], database: Database) -> None:
    """Compares where canaries are with where they belong: column and the place that they were sent in."""
    found = {where: birds.found_in(text) for where, text in everywhere(database).items()}
    assert {where: places for where, places in found.items() if places} == allowed


def assert_told_nowhere(birds: Aviary, api: Client, log: io.StringIO, spans: InMemorySpanExporter) -> None:
    told = {
        "log": log.getvalue(),
        "log, unescaped": log.getvalue().encode().decode("unicode_escape", "replace"),
        "traces": "\n".join(one.to_json() for one in spans.get_finished_spans()),
        "metrics": api.get("/metrics").body.decode(),
    }
    assert all(len(text) > 1000 for text in told.values())
    assert {where: places for where, text in told.items() if (places := birds.found_in(text))} == {}


def test_a_secret_in_any_place_of_any_request_stays_nowhere(
    api: Client, log: io.StringIO, spans: InMemorySpanExporter, database: Database
) -> None:
    """OWASP ASVS 5.0 V16.2.5, V14.2.1: what is sent where it does not belong is neither logged nor counted nor kept."""
    birds, staff = Aviary(), api.token(make_user(database, role=ADMIN))
    for method, path in routes(api.app):
        if (method, path) in (("DELETE", "/users/me"), ("DELETE", "/users/me/sessions")):
            continue  # the caller would be gone
        where = f"{method} {path}"

        def bird(place: str, where: str = where) -> str:
            return birds.bird(f"{where}: {place}")

        def send(path: str, sent: dict[str, str] | None = None, body: bytes = b"", method: str = method) -> None:
            api.run(api.call(method, path, body, headers={**staff, **(sent or {})}))

        known = dict.fromkeys(("sku", "currency", "code", "name", "path"), "x")
        plain = "/".join(known.get(part[1:-1], "0" * 32) if part.startswith("{") else part for part in path.split("/"))
        if "{" in path:
            named = bird("path")
            send("/".join(named if part.startswith("{") else part for part in path.split("/")))
        send(f"{plain}?q={bird('query')}&{bird('name of a query')}=1&limit={bird('limit')}&cursor={bird('cursor')}")
        for names in (
            ("cookie", "referer", "user-agent", "accept", "accept-language"),
            ("forwarded", "prefer", "x-forwarded-for", "x-real-ip", "if-match"),
            ("traceparent", "tracestate", "baggage", "idempotency-key", birds.bird("name of a header")),
        ):
            send(plain, {name: bird(f"header {name}") for name in names})
        if method in ("POST", "PUT", "PATCH"):
            body = json.dumps({bird("name in a body"): {"password": bird("body"), "a": [bird("list in a body")]}})
            kind = {"content-type": "application/json"}
            send(plain, kind, body.encode())
            send(plain, kind, f'{{"password": "{bird("broken body")}'.encode())
            send(plain, kind, json.dumps(bird("body that is a text")).encode())
            send(plain, {"content-type": bird("content type")}, body.encode())
            form = urlencode({"username": bird("form"), bird("name in a form"): bird("value in a form")})
            send(plain, {"content-type": "application/x-www-form-urlencoded"}, form.encode())
        api.run(api.call(method, plain, b"", headers={"Authorization": f"Bearer {bird('token')}"}))
        api.run(api.call(method, plain, b"", headers={"Authorization": f"Basic {bird('basic')}"}))
    api.run(api.call(birds.bird("method"), f"/{quote(birds.bird('no such path'))}/é", b""))
    assert len(birds.places) > 800
    assert_told_nowhere(birds, api, log, spans)
    assert_found_only(birds, {}, database)


def test_what_is_kept_is_kept_where_it_belongs_and_told_nowhere(
    api: Client, log: io.StringIO, spans: InMemorySpanExporter, database: Database
) -> None:
    """OWASP ASVS 5.0 V16.2.5, V14.2.4: what somebody says about themselves is in their row, in no event and in no log."""
    birds, staff = Aviary(), make_user(database, role=ADMIN)
    email, password = f"{birds.bird('email')}@example.com", PASSWORD + birds.bird("password")
    joined = {"email": email, "password": password, "name": birds.bird("name")}
    assert api.post("/register", joined).status == 201
    token = api.form("/token", {"username": email, "password": password}).json()
    mine = {"Authorization": f"Bearer {token['access_token']}"}
    profile = {"bio": birds.bird("bio")}
    assert api.patch("/users/me", profile, mine).status == 200
    order = {
        "items": [{"sku": "TEA", "quantity": 1}],
        "payment_method": "pm_card_visa",
        "note": birds.bird("note"),
        "shipping_address": {name: birds.bird("address") if name != "country" else "GB" for name in ADDRESS},
        "metadata": {"theirs": birds.bird("metadata")},
    }
    placed = api.post("/orders", order, {**mine, "Idempotency-Key": birds.bird("key")})
    assert placed.status == 201, placed
    one = f"/orders/{placed.json()['id']}"
    refund = {"amount": 1, "reason": birds.bird("reason")}
    kept = {**api.token(staff), "Idempotency-Key": birds.bird("key of a refund")}
    assert api.post(f"{one}/refunds", refund, kept).status == 201
    wrong = {"current_password": birds.bird("wrong password"), "new_password": PASSWORD + birds.bird("new password")}
    assert api.post("/users/me/password", wrong, mine).status in (400, 401, 403, 404, 405, 422)
    assert api.form("/token", {"username": email, "password": birds.bird("mistyped")}).status == 401
    assert api.post("/orders", {**order, "note": "4111 1111 1111 1111"}, {**mine, "Idempotency-Key": "k"}).status == 422
    assert_told_nowhere(birds, api, log, spans)
    for secret in (PASSWORD, "4111 1111 1111 1111", token["access_token"], token["refresh_token"]):
        assert secret not in log.getvalue()
        assert secret not in "".join(everywhere(database).values())
    assert_found_only(
        birds,
        {
            "users.email": {"email"},
            "account_mails.email": {"email"},
            "users.name": {"name"},
            "users.search_name": {"name"},
            "users.bio": {"bio"},
            "orders.note": {"note"},
            "orders.shipping_address": {"address"},
            "orders.metadata": {"metadata"},
            "orders.idempotency_key": {"key"},
            "idempotency_keys.key": {"key", "key of a refund"},
            "idempotency_keys.body": {"note", "address", "metadata", "reason"},  # the answers, for whoever repeats
            "refunds.idempotency_key": {"key of a refund"},
            "refunds.reason": {"reason"},
            "order_history.reason": {"reason"},
            "outbox.payload": {"reason"},
        },
        database,
    )
