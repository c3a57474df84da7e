"""docs/openapi.yaml: the contract that is committed is the document of the application, both ways."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from orderkit import yaml_text
from orderkit.api import access
from orderkit.settings import Settings
from tests.client import application

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "docs" / "openapi.yaml"
PAGES = {
    *(("GET", path) for path in ("/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json", "/static/docs")),
    *(("GET", f"/links/{name}") for name in ("style.css", "verify-email", "reset-password")),
    *(("POST", f"/links/{name}") for name in ("verify-email", "reset-password")),
    *(("GET", f"/health/{name}") for name in ("liveness", "readiness")),
}
"""What the application answers and the document leaves out: pages for browsers, and second names."""


@pytest.fixture
def engine_name() -> str:
    """One engine will do: nothing here asks the database."""
    return "sqlite"


@pytest.fixture
def document(settings: Settings) -> Iterator[dict[str, Any]]:
    with application(settings) as app:
        yield app.openapi()


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
