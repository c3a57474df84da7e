"""The description of the API is complete and true, and its pages need no internet."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from orderkit.api import problems
from orderkit.api.refusing import EVERYWHERE
from orderkit.settings import Settings
from tests.client import Client, application

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


def test_codes_that_no_operation_lists_are_told_of_the_whole(document: dict[str, Any]) -> None:
    told = document["info"]["description"]
    assert [code for code in EVERYWHERE if f"`{code}`" not in told] == []


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
