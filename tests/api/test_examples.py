"""The examples in the document of the API: each is sent to a running application, and answered as the document shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from weakref import WeakValueDictionary

import jsonschema_rs
import pytest

from orderkit.api import examples, problems
from orderkit.api.examples import requests
from orderkit.app import create_app
from orderkit.db import Database
from orderkit.observability import pools
from orderkit.settings import Settings
from tests.client import application
from tests.examples import NOT_WRITTEN, Asked, World, cases, opened

DOCUMENT = create_app(Settings(_env_file=None)).openapi()
CASES = dict(cases(DOCUMENT))


@pytest.fixture
def engine_name() -> str:
    """One engine will do: that both answer alike is what the other tests of the API are about."""
    return "sqlite"


@pytest.fixture
def shop(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    # Other tests of this process may have left pools that nothing has collected yet.
    monkeypatch.setattr(pools, "_pools", WeakValueDictionary())
    with opened(settings, database) as shop:
        yield shop


@pytest.mark.parametrize("asked", CASES.values(), ids=CASES.keys())
def test_every_example_is_answered_as_the_document_shows(shop: World, asked: Asked) -> None:
    shop.prepare(asked.operation)
    answer = shop.ask(asked)
    assert answer.status == asked.status, answer.body
    shown = shop.shown(answer, asked.operation)
    if asked.operation in NOT_WRITTEN:
        assert shown
        return
    written = examples.answers().get(asked.operation, {}).get(str(asked.status))
    if shown is None or written is None or asked.body == first(asked.operation):
        assert shown == written, "run: python -m tests.examples"
    else:
        assert shown.keys() == written.keys()


def first(operation: str) -> Any:
    return next(iter(requests.BODIES.get(operation, {None: None}).values()))


def parameters(operation: str, where: str) -> list[dict[str, Any]]:
    method, path = operation.split()
    return [one for one in DOCUMENT["paths"][path][method.lower()].get("parameters", ()) if one["in"] == where]


ASKED_IN_QUERIES = sorted({one.operation for one in CASES.values() if parameters(one.operation, "query")})


@pytest.mark.parametrize("operation", ASKED_IN_QUERIES)
def test_every_example_of_a_query_is_taken(shop: World, operation: str) -> None:
    query = {one["name"]: one["example"] for one in parameters(operation, "query") if one["name"] != "cursor"}
    path = operation.split()[1]
    shop.prepare(operation)
    answer = shop.ask(Asked(operation, 200, path=path), query)
    assert answer.status == 200, answer.body
    assert shop.ask(Asked(operation, 200, path=path), query | {"limit": 0}).status == 422


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_operation_and_parameter_is_described_and_has_an_example() -> None:
    for name, operation in operations():
        assert operation["description"], name
        assert operation["summary"][0].isupper(), name
        for one in operation.get("parameters", ()):
            assert one["description"], (name, one["name"])
            assert ("example" in one) == (one["name"] != "cursor"), (name, one["name"])


def test_every_body_and_every_answer_that_has_one_has_an_example() -> None:
    for name, operation in operations():
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert content["examples"], name
        for status, response in operation["responses"].items():
            response = found(response)
            if status.startswith("2") and "application/json" in response.get("content", {}):
                assert "example" in response["content"]["application/json"], name
            if problems.MEDIA_TYPE in response.get("content", {}):
                assert response["content"][problems.MEDIA_TYPE]["examples"], (name, status)


def found(part: dict[str, Any]) -> dict[str, Any]:
    """What a reference leads to."""
    if "$ref" not in part:
        return part
    inner: Any = DOCUMENT
    for step in part["$ref"].removeprefix("#/").split("/"):
        inner = inner[step]
    return inner  # type: ignore[no-any-return]


def test_every_example_fits_its_schema() -> None:
    checked = 0
    for name, operation in operations():
        wheres = [(name, operation.get("requestBody", {}))]
        wheres += [(f"{name} {status}", found(one)) for status, one in operation["responses"].items()]
        for where, part in wheres:
            for content in part.get("content", {}).values():
                values = [found(one)["value"] for one in content.get("examples", {}).values()]
                for value in values + ([content["example"]] if "example" in content else []):
                    check(value, content["schema"], where)
                    checked += 1
        for one in operation.get("parameters", ()):
            if "example" in one:
                check(one["example"], one["schema"], f"{name} {one['name']}")
    assert checked > 300


def check(value: Any, schema: dict[str, Any], where: str) -> None:
    whole = {"components": DOCUMENT["components"], **schema}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    assert [error.message for error in validator.iter_errors(value)] == [], where


def test_nothing_is_written_down_that_the_document_does_not_ask() -> None:
    names = {name for name, _operation in operations()}
    assert examples.answers().keys() <= names
    assert requests.BODIES.keys() == {name for name, one in operations() if "requestBody" in one}
    used = {(one["in"], one["name"]) for _name, operation in operations() for one in operation.get("parameters", ())}
    assert requests.IN_PATHS.keys() == {name for where, name in used if where == "path"}
    assert requests.IN_QUERIES.keys() == {name for where, name in used if where == "query"} - {"cursor", "by"}
    assert requests.IN_HEADERS.keys() == {name for where, name in used if where == "header"}


def test_the_document_does_not_depend_on_settings(settings: Settings) -> None:
    with application(settings) as app:
        assert app.openapi() == DOCUMENT


def test_what_refuses_alike_is_told_once() -> None:
    shared = DOCUMENT["components"]["responses"]
    told = re.findall(r"'#/components/responses/(\w+)'", str(DOCUMENT["paths"]))
    assert set(told) == shared.keys()
    assert all(told.count(name) >= 2 for name in shared)
