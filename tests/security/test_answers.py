"""What goes in and what comes out, for every route there is: taken from the application itself, so that none is left out."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from orderkit.api import access
from orderkit.app import create_app
from orderkit.auth.models import ADMIN
from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.observability import logs
from orderkit.settings import Settings
from tests.client import Answer, Client, application
from tests.factories import make_product, make_user
from tests.factories.orders import place_order

NEVER_TAKEN = ("role", "price", "status", "user_id", "id", "is_admin", "token_version", "__proto__")
"""Fields that would change more than a caller may, were one ever copied from a body."""
NEVER_TOLD = {"password", "password_hash", "token_version", "family_hash", "refresh_hash", "hash", "salt", "secret_key"}
STORED_SECRETS = {
    "users": ("password_hash",),
    "sessions": ("family_hash", "refresh_hash"),
    "api_keys": ("hash",),
    "signing_keys": ("salt",),
}
OPEN_ENDED = {"detail", "checks", "metadata", "prices"}
SIGNED = "/webhooks/"
"""Where bodies come signed from a partner, whose next version may say more: nothing of them is assigned to anything."""
"""Objects whose members have no fixed names: of an entry of the audit log, and of a report on readiness."""

INSIDES = re.compile(
    rb'Traceback|File \\?"|\w\.py\b|SELECT |INSERT INTO|UPDATE \w+ SET|ALTER TABLE|sqlalchemy|psycopg|sqlite|no such table'
    rb"|relation|RuntimeError|OperationalError|ProgrammingError|IntegrityError|canary",
    re.IGNORECASE,
)
"""What an error would be told by: code, SQL, and the libraries that speak it."""


class Operation(NamedTuple):
    """One method of one path, and the schema of the JSON that it takes, if it takes any."""

    method: str
    path: str
    body: Mapping[str, Any] | None
    answers: Mapping[str, Any]


class Api:
    """The application's own description of itself."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self.document = app.openapi()

    def resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        if "$ref" in schema:
            found: Mapping[str, Any] = self.document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
            return self.resolved(found)
        if {"type": "null"} in schema.get("anyOf", ()):  # a body that may be left out
            return self.resolved(schema["anyOf"][0])
        return schema

    def operations(self) -> list[Operation]:
        return [
            Operation(method.upper(), path, _of_json(operation.get("requestBody", {})), operation["responses"])
            for path, methods in self.document["paths"].items()
            for method, operation in methods.items()
        ]

    def routes(self) -> list[Operation]:
        """All there are, the pages that are in no document among them."""
        told = {(one.method, one.path): one for one in self.operations()}
        return [
            told.get((rule.method, rule.path), Operation(rule.method, rule.path, None, {}))
            for rule in access.rules(self._app)
            if rule.method != "HEAD" and rule.path not in access.FILES
        ]

    def example(self, schema: Mapping[str, Any], name: str = "") -> Any:
        """A value that fits `schema`."""
        schema = self.resolved(schema)
        if "anyOf" in schema:
            return self.example(schema["anyOf"][0], name)
        if "enum" in schema:
            return schema["enum"][0]
        if schema.get("type") == "object":
            required = schema.get("required", schema.get("properties", {}))
            return {one: self.example(schema["properties"][one], one) for one in required}
        if schema.get("type") == "array":
            return [self.example(schema["items"], name)] * schema.get("minItems", 0)
        if schema.get("type") == "integer":
            return max(schema.get("minimum", 1), 1)
        return _TEXTS.get(name, "x" * max(schema.get("minLength", 1), 1))

    def objects(self, schema: Mapping[str, Any], value: Any, where: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
        """Each object within `value`, an example of `schema`, and its JSON pointer."""
        if isinstance(value, dict):
            yield where, value
            for name, member in value.items():
                yield from self.objects({}, member, f"{where}/{name}")
        elif isinstance(value, list):
            for number, member in enumerate(value):
                yield from self.objects({}, member, f"{where}/{number}")

    def unknown(self, schema: Mapping[str, Any], value: Any, where: str = "") -> list[str]:
        """Names in `value` that `schema` does not list."""
        schema = self.resolved(schema)
        if "anyOf" in schema:
            return min((self.unknown(one, value, where) for one in schema["anyOf"]), key=len)
        if isinstance(value, list):
            return [bad for one in value for bad in self.unknown(schema.get("items", {}), one, f"{where}[]")]
        if not isinstance(value, dict) or where.rpartition(".")[2] in OPEN_ENDED:
            return []
        listed = schema.get("properties", {})
        bad = [f"{where}.{name}" for name in value if name not in listed]
        return bad + [
            one
            for name in value
            if name in listed
            for one in self.unknown(listed[name], value[name], f"{where}.{name}")
        ]


_TEXTS = {
    "email": "somebody@example.com",
    "password": "correct horse",
    "currency": "GBP",
    "sku": "TEA",
    "payment_method": "pm_card_visa",
    "country": "GB",
    "reason": "receipt",
}


def _of_json(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = content.get("content", {}).get("application/json", {}).get("schema")
    return found


@pytest.fixture(autouse=True)
def _logs(settings: Settings) -> None:
    """As in an installation. Without settings, loguru renders every value of every frame, which takes most of the time."""
    logs.configure(settings, io.StringIO())


@pytest.fixture
def described(settings: Settings) -> Iterator[Api]:
    with application(settings) as app:
        yield Api(app)


@pytest.fixture
def addresses(api: Client, database: Database, settings: Settings) -> dict[str, str]:
    """What stands for the parameters of paths, where it is something that exists."""
    make_product(database, sku="TEA", stock=100)
    user = make_user(database, email="owner@example.com", password="correct horse")
    order = place_order(database, settings, user, "TEA")
    return {
        "sku": "TEA",
        "order_id": str(order.id),
        "user_id": str(user.id),
        "code": "not_found",
        "name": "support",
    }


class Caller:
    """An admin, a new one for each request: some requests end a session, or an account."""

    def __init__(self, api: Client, database: Database, addresses: Mapping[str, str]) -> None:
        self._api = api
        self._database = database
        self._addresses = addresses

    def headers(self) -> dict[str, str]:
        admin = make_user(self._database, role=ADMIN)
        return self._api.token(admin) | {"Idempotency-Key": new_id().hex}

    def path(self, path: str) -> str:
        return re.sub(r"{(\w+)(?::\w+)?}", lambda found: self._addresses.get(found[1], str(new_id())), path)

    def send(self, operation: Operation, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
        sent = dict(headers or self.headers())
        path = self.path(operation.path)
        return self._api.run(self._api.call(operation.method, path, body, headers=sent))


@pytest.fixture
def caller(api: Client, database: Database, addresses: dict[str, str]) -> Caller:
    return Caller(api, database, addresses)


# ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_body_that_is_taken_lists_its_fields_and_takes_no_others(described: Api) -> None:
    """OWASP API Security 2023 API3; OWASP ASVS 5.0 V15.3.3: no mass assignment."""
    taking = [one for one in described.operations() if one.body is not None and not one[1].startswith(SIGNED)]
    assert len(taking) >= 10
    assert {("POST", "/orders"), ("POST", "/register"), ("PATCH", "/products/{sku}")} <= {one[:2] for one in taking}
    for one in taking:
        schema = described.resolved(one.body or {})
        assert schema["additionalProperties"] is False, one[:2]
        assert schema["properties"], one[:2]


def test_an_unknown_field_is_refused_by_every_route_and_at_every_depth(described: Api, caller: Caller) -> None:
    """OWASP API Security 2023 API3; OWASP ASVS 5.0 V15.3.3."""
    tried = 0
    for operation in described.operations():
        if operation.body is None or operation[1].startswith(SIGNED):
            continue
        allowed = described.resolved(operation.body)["properties"]
        headers = caller.headers() | {"If-Match": "*"}
        for field in NEVER_TAKEN:
            body = described.example(operation.body)
            for where, inner in list(described.objects(operation.body, body)):
                if where == "#" and field in allowed:
                    continue
                inner[field] = "admin"
                answer = caller.send(operation, body, headers)
                del inner[field]
                assert (answer.status, answer.code) == (422, "validation_failed"), (operation[:2], where, field)
                assert f"{where}/{field}" in answer.pointers, (operation[:2], where, field)
                tried += 1
    assert tried > 10 * (len(NEVER_TAKEN) - 2)


# ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def names(api: Api, schema: Mapping[str, Any], seen: tuple[str, ...] = ()) -> Iterator[str]:
    """Every name of every object that `schema` describes."""
    if (reference := schema.get("$ref", "")) in seen:
        return
    schema = api.resolved(schema)
    for name, member in schema.get("properties", {}).items():
        yield name
        if (
            schema.get("type") == "object"
            and "properties" not in api.resolved(member)
            and "additionalProperties" in member
        ):
            assert name in OPEN_ENDED, f"{name} may hold anything"
        yield from names(api, member, (*seen, reference))
    for part in (*schema.get("anyOf", ()), schema.get("items", {})):
        yield from names(api, part, (*seen, reference)) if part else ()


def test_every_answer_lists_its_fields_and_no_secret_is_one(described: Api) -> None:
    """OWASP API Security 2023 API3; OWASP ASVS 5.0 V15.3.1: only the fields that are meant."""
    listed = 0
    for operation in described.operations():
        for status, answer in operation.answers.items():
            schema = _of_json(answer)
            if schema is None:
                continue
            found = list(names(described, schema))
            assert found, (operation[:2], status)
            assert not NEVER_TOLD & set(found), (operation[:2], status)
            listed += 1
    assert listed > 15


def test_no_answer_has_a_field_that_is_not_listed_or_holds_a_stored_secret(
    described: Api, api: Client, caller: Caller, database: Database
) -> None:
    """OWASP API Security 2023 API3; OWASP ASVS 5.0 V15.3.1: what is sent, not only what is described."""
    login = api.form("/token", {"username": "owner@example.com", "password": "correct horse"})
    assert login.status == 200
    answered: list[tuple[Operation, Answer]] = []
    for operation in described.routes():
        body = None if operation.body is None else described.example(operation.body)
        answered.append((operation, caller.send(operation, body)))
    secrets = stored_secrets(database)
    assert len(secrets) > len(described.operations())
    succeeded = 0
    for operation, answer in answered:
        assert not [one for one in secrets if one.encode() in answer.body], operation[:2]
        schema = _of_json(operation.answers.get(str(answer.status), {}))
        if schema is not None and answer.headers.get("content-type") == "application/json":
            assert described.unknown(schema, answer.json()) == [], operation[:2]
            succeeded += 1
    assert succeeded > 15


def stored_secrets(database: Database) -> list[str]:
    found: list[str] = []
    with database.reading() as session:
        for table, columns in STORED_SECRETS.items():
            for row in session.connection().execute(text(f"SELECT {', '.join(columns)} FROM {table}")):
                found += [one for one in row if one]
    return found


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────

QUERY = "SELECT password_hash FROM users WHERE email = :email"
OF_CANARY: tuple[str, dict[str, str], Exception] = (QUERY, {"email": "canary@example.com"}, Exception("canary"))
# A new one each time: one that is raised again takes all its traces along, and rendering them for the log takes seconds.
FAILURES: dict[str, Callable[[], Exception]] = {
    "a mistake of ours": lambda: RuntimeError(f"canary: {QUERY}"),
    "a database that is gone": lambda: OperationalError(*OF_CANARY),
    "a table that is missing": lambda: ProgrammingError(*OF_CANARY),
    "a constraint": lambda: IntegrityError(*OF_CANARY),
}


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, acts: tuple[str, ...], error: Callable[[], Exception]) -> Iterator[None]:
    def fail(_database: Database) -> None:
        raise error()

    with monkeypatch.context() as patched:
        for act in acts:
            patched.setattr(Database, act, fail)
        yield


ALWAYS, WRITING = ("reading", "transaction"), ("transaction",)


@pytest.mark.parametrize(
    ("acts", "failure"),
    [*((ALWAYS, one) for one in FAILURES), (WRITING, "a mistake of ours"), (WRITING, "a database that is gone")],
)
def test_no_route_tells_its_insides_when_it_fails(
    described: Api, caller: Caller, monkeypatch: pytest.MonkeyPatch, failure: str, acts: tuple[str, ...]
) -> None:
    """OWASP ASVS 5.0 V16.5.1: a generic message, without trace, query or key."""
    failed: set[str] = set()
    for operation in described.routes():
        body = None if operation.body is None else described.example(operation.body)
        headers = caller.headers()
        with failing(monkeypatch, acts, FAILURES[failure]):
            answer = caller.send(operation, body, headers)
        if answer.status >= 400:
            assert not INSIDES.search(answer.body), (operation[:2], answer.body)
            assert not INSIDES.search(repr(answer.headers).encode()), operation[:2]
        if answer.status >= 500 and not operation.path.startswith("/health/"):  # they report, and that is no failure
            failed.add(answer.code)
    assert failed == {"unavailable" if failure == "a database that is gone" else "internal_error"}


def test_a_real_error_of_the_database_is_not_told_either(api: Client, database: Database) -> None:
    """OWASP ASVS 5.0 V16.5.1."""
    make_product(database, sku="TEA")
    who = api.token(make_user(database, role=ADMIN))
    _execute(database, "ALTER TABLE products RENAME TO products_canary")
    try:
        answers = [
            api.get("/products"),
            api.get("/products/TEA"),
            api.patch("/products/TEA", {"name": "New"}, who),
            api.post("/products", {"sku": "A", "name": "A", "unit_price": 1, "currency": "GBP", "stock": 1}, who),
            api.post(
                "/orders",
                {"items": [{"sku": "TEA", "quantity": 1}], "payment_method": "pm_card_visa"},
                who | {"Idempotency-Key": "one"},
            ),
        ]
    finally:
        _execute(database, "ALTER TABLE products_canary RENAME TO products")
    for answer in answers:
        assert answer.status in (500, 503)
        assert answer.code in ("internal_error", "unavailable")
        assert not INSIDES.search(answer.body), answer.body
    assert api.get("/products/TEA").status == 200


def _execute(database: Database, statement: str) -> None:
    with database.changing_schema() as session:
        session.connection().execute(text(statement))


def test_no_setting_makes_errors_tell_more(settings: Settings) -> None:
    """OWASP ASVS 5.0 V13.4.2: there is no debug mode to be left on."""
    assert create_app(settings).debug is False
    assert not [name for name in Settings.model_fields if "debug" in name]
