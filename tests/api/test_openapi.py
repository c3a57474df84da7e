"""The description of the API is complete and true, and its pages need no internet."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from orderkit import yaml_text
from orderkit.api import access, problems
from orderkit.settings import Settings
from tests.client import Client, application

ROOT = Path(__file__).resolve().parents[2]
METHODS = ("get", "post", "patch", "put", "delete")


@pytest.fixture
def engine_name() -> str:
    """One engine will do: nothing here asks the database."""
    return "sqlite"


@pytest.fixture
def document(settings: Settings) -> Iterator[dict[str, Any]]:
    with application(settings) as app:
        yield app.openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert method in METHODS
            told = {status: resolved(document, one) for status, one in operation["responses"].items()}
            yield f"{method.upper()} {path}", operation | {"responses": told}


def resolved(document: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """What a reference leads to."""
    if "$ref" not in part:
        return part
    inner: Any = document
    for step in part["$ref"].removeprefix("#/").split("/"):
        inner = inner[step]
    return resolved(document, inner)


EMPTY = ("POST /token/revoke 200", "POST /users/me/verification 202", "POST /password/forgot 202")


def test_every_answer_has_a_schema_and_every_error_is_a_problem(document: dict[str, Any]) -> None:
    reference = {"$ref": "#/components/schemas/Problem"}
    for name, operation in operations(document):
        assert operation["description"] or operation["summary"], name
        for status, response in operation["responses"].items():
            if status == "204" or f"{name} {status}" in EMPTY:
                assert "content" not in response, name
                continue
            (kind,) = response["content"].keys() - ({"text/csv"} if status == "200" else set())  # reports are that too
            schema = response["content"][kind]["schema"]
            assert schema, (name, status)
            if name == "GET /health/ready":
                continue  # its 503 is the same document as its 200
            assert (kind == problems.MEDIA_TYPE) == (int(status) >= 400), (name, status)
            assert (schema == reference) == (int(status) >= 400), (name, status)


def test_what_needs_a_token_says_so(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        secured = {"OAuth2PasswordBearer": []} in operation.get("security", [])
        others = name in ("POST /token", "POST /token/refresh", "GET /metrics")
        assert secured == ("401" in operation["responses"] and not others), name
    scheme = document["components"]["securitySchemes"]["OAuth2PasswordBearer"]
    assert scheme["flows"]["password"]["tokenUrl"] == "token"


def test_where_an_api_key_will_do_it_says_so(document: dict[str, Any]) -> None:
    takes_key = {name for name, operation in operations(document) if {"APIKey": []} in operation.get("security", [])}
    assert takes_key >= {"POST /orders", "GET /orders", "GET /users/me", "POST /products", "GET /users"}
    managing = {name for name, _operation in operations(document) if " /users/me" in name} - {"GET /users/me"}
    assert len(managing) > 8
    assert not takes_key & (managing | {"GET /products", "POST /token", "POST /register", "GET /users/{user_id}"})
    assert document["components"]["securitySchemes"]["APIKey"]["scheme"] == "bearer"


def test_whatever_takes_a_body_documents_how_it_can_be_refused(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        if "requestBody" in operation:
            assert {"400", "413", "415", "422"} <= operation["responses"].keys(), name


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in re.findall(r'"\$ref": "([^"]+)"', json.dumps(document)):
        assert resolved(document, {"$ref": reference})
    assert "ValidationError" not in document["components"]["schemas"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_the_document_is_served_as_it_is_made(api: Client, document: dict[str, Any]) -> None:
    assert api.get("/openapi.json").json() == document
    assert api.app.openapi() == document


@pytest.mark.parametrize("page", ["/docs", "/redoc", "/docs/oauth2-redirect"])
def test_the_docs_load_nothing_from_elsewhere(api: Client, page: str) -> None:
    answer = api.get(page)
    assert answer.status == 200
    html = answer.body.decode()
    loaded = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert [url for url in loaded if not url.startswith(("/static/docs/", "#", "data:"))] == []
    for url in loaded:
        if url.startswith("/"):
            assert api.get(url).status == 200, url


def test_bounds_are_said_in_the_words_of_json_schema(document: dict[str, Any]) -> None:
    assert not re.findall(r'"(?:ge|gt|le|lt)":', json.dumps(document))
    [limit] = [one for one in document["paths"]["/orders"]["get"]["parameters"] if one["name"] == "limit"]
    assert (limit["schema"]["minimum"], limit["schema"]["maximum"]) == (1, 100)


# ── the files in docs/ ───────────────────────────────────────────────────────────────────────────────────────────────

COMMITTED = ROOT / "docs" / "openapi.yaml"
PAGES = {
    *(("GET", path) for path in ("/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json", "/static/docs")),
    *(("GET", f"/links/{name}") for name in ("style.css", "verify-email", "reset-password")),
    *(("POST", f"/links/{name}") for name in ("verify-email", "reset-password")),
    *(("GET", f"/health/{name}") for name in ("liveness", "readiness")),
}
"""What the application answers and the document leaves out: pages for browsers, and second names."""


def test_the_committed_document_is_that_of_the_application(document: dict[str, Any]) -> None:
    text = COMMITTED.read_text(encoding="utf-8")
    assert text == yaml_text.text(document), "run: orderkit openapi -o docs/openapi.yaml"
    assert YAML(typ="safe", pure=True).load(text) == document


def test_every_route_is_in_the_committed_document_and_everything_in_it_is_a_route(settings: Settings) -> None:
    committed = YAML(typ="safe", pure=True).load(COMMITTED.read_text(encoding="utf-8"))
    with application(settings) as app:
        routes = {(one.method, one.path) for one in access.rules(app) if one.method != "HEAD"}
    told = {(method.upper(), path) for path, methods in committed["paths"].items() for method in methods}
    assert len(told) > 50
    assert told - routes == set()
    assert routes - told == PAGES


def test_no_line_of_the_committed_document_ends_in_a_space_and_prose_is_in_blocks() -> None:
    lines = COMMITTED.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    assert [line for line in lines if len(line) > 150] == []
