"""Every answer is as the document of the API says: a short run, in process; and such a run finds it where one is not."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter

from loadtests.exploring import Callers, Explorer, Found
from orderkit.db import Database
from orderkit.settings import Settings
from tests.client import Client, running
from tests.engines import on_sqlite
from tests.factories import make_product
from tests.shop import Shop

CASES, SEED = 150, 20261122


class _InProcess(HTTPAdapter):
    """Takes requests to an application that runs in this process."""

    def __init__(self, api: Client) -> None:
        super().__init__()
        self._api = api

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        body = request.body.encode() if isinstance(request.body, str) else request.body
        headers = list(request.headers.items())
        call = self._api.call(str(request.method), request.path_url, body or None, headers=headers)
        answer = self._api.run(call)
        raw = urllib3.HTTPResponse(
            io.BytesIO(answer.body), headers=answer.headers, status=answer.status, preload_content=False
        )
        return self.build_response(request, raw)


@pytest.fixture
def api(settings: Settings, database: Database) -> Iterator[Client]:
    unlimited = {
        "mails_per_address": 100_000,
        "login_failures_per_address": 100_000,
        "login_failures_per_account": 1000,
    }
    shop = Shop(database, settings)
    shop.paid()
    shop.dead()
    make_product(database, sku="COFFEE", stock=1_000_000)
    with running(settings.model_copy(update=unlimited)) as client:
        yield client


def explored(api: Client, document: dict[str, Any], cases: int = CASES) -> Found:
    with requests.Session() as session:
        session.mount("http://", _InProcess(api))
        callers = Callers(api.runtime.database, api.runtime.settings)
        return Explorer(document, callers, session, seeded=SEED).explore(cases)


def test_whatever_is_asked_every_answer_is_as_the_document_says(api: Client) -> None:
    """OWASP ASVS V4.1.1, V16.5.1"""
    found = explored(api, api.app.openapi())
    assert found.wrong == {}
    assert found.cases >= CASES
    assert set(found.by_way) == {"boundaries", "by chance", "in chains"}
    assert len(found.asked) >= 7
    assert len({operation for operation, _status in found.answered}) >= 40
    assert {200, 201, 401, 403, 404, 422} <= {status for _operation, status in found.answered}


@on_sqlite
def test_what_is_not_as_the_document_says_is_found(api: Client) -> None:
    """OWASP ASVS V4.1.1, V16.5.1"""
    document = copy.deepcopy(api.app.openapi())
    read = document["paths"]["/products"]["get"]["responses"]
    del read["422"]
    read["200"]["headers"]["Never-Sent"] = {"required": True, "schema": {"type": "string"}}
    document["components"]["schemas"]["Page_ProductAnswer_"]["properties"]["next_cursor"] = {"type": "integer"}
    document["paths"] = {"/products": {"get": document["paths"]["/products"]["get"]}}
    found = explored(api, document, 60)
    assert {status for _operation, status, _what in found.wrong} == {200, 422}
    told = " ".join(what for _operation, _status, what in found.wrong).lower()
    assert all(word in told for word in ("header", "schema", "status"))
