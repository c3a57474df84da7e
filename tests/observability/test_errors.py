"""What an error tracker hears: the error and where it was, the ids to find it by, and nothing that was sent."""

from __future__ import annotations

import builtins
import gzip
import io
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from typing import Any

import pytest
from loguru import logger
from pydantic import BaseModel, SecretStr

from orderkit.db import Database
from orderkit.errors import ConfigurationError
from orderkit.observability import context, errors, logs
from orderkit.settings import Settings
from tests.client import Client, running
from tests.engines import on_sqlite

SECRETS = ("hunter2-Canary", "4111 1111 1111 1111", "ada@example.com", "okk_Canary12_CanaryKeyCanaryKeyCanaryKey")


class Tracker:
    """Plays an error tracker on the loopback, and keeps what it is sent."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        tracker = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                match self.headers.get("Content-Encoding"):
                    case "gzip":
                        body = gzip.decompress(body)
                    case "br":  # which the SDK takes where there happens to be a package for it
                        body = import_module("brotli").decompress(body)
                tracker.bodies.append(body)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_arguments: object) -> None:
                """Not on stderr."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.dsn = f"http://key@127.0.0.1:{self._server.server_port}/7"

    @property
    def events(self) -> list[dict[str, Any]]:
        """What was reported, once all of it has arrived."""
        assert errors._client is not None
        errors._client.flush(timeout=10)
        items = [line for body in self.bodies for line in body.splitlines()[2::2]]
        return [json.loads(line) for line in items]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def tracker(settings: Settings) -> Iterator[Tracker]:
    tracker = Tracker()
    reporting = settings.model_copy(update={"sentry_dsn": SecretStr(tracker.dsn), "log_format": "json"})
    logs.configure(reporting, io.StringIO(), process="api")
    errors.configure(reporting, "api")
    yield tracker
    errors.configure(settings, "api")
    tracker.close()


@pytest.fixture
def api(settings: Settings, database: Database, tracker: Tracker) -> Iterator[Client]:
    with running(settings) as client:
        yield client


@on_sqlite
def test_a_request_that_fails_is_reported_with_its_ids_and_without_what_was_sent(api: Client, tracker: Tracker) -> None:
    """OWASP ASVS 5.0 V16.2.5, V14.2.3: no sensitive data is sent to others."""

    class Body(BaseModel):
        password: int

    async def fail(password: str) -> None:
        local = SECRETS[0] + "!"
        try:
            Body.model_validate({"password": SECRETS[0]})
        except ValueError as error:
            raise RuntimeError(f"cannot take password={SECRETS[0]}, {SECRETS[1:]}, {len(local)}") from error

    api.app.add_api_route("/broken", fail)
    sent = {"X-Request-ID": "mine", "Cookie": SECRETS[0], "Authorization": f"Bearer {SECRETS[3]}"}
    answer = api.get(f"/broken?password={SECRETS[0]}", sent)
    assert answer.status == 500
    (event,) = tracker.events
    assert event["tags"] == {"request_id": "mine", "trace_id": answer.headers["traceparent"].split("-")[1]}
    kinds = [one["type"] for one in event["exception"]["values"]]
    assert kinds == ["ValidationError", "RuntimeError"]
    frames = event["exception"]["values"][-1]["stacktrace"]["frames"]
    assert frames[-1]["function"] == "fail"
    assert not any("vars" in frame for frame in frames)
    assert event["environment"] == "development"
    assert event["server_name"] == "api"
    assert event["release"].startswith("orderkit-")
    assert not {"request", "user", "breadcrumbs"} & {name for name, value in event.items() if value}
    for secret in SECRETS:
        assert secret not in json.dumps(tracker.events)
    assert all(secret.encode() not in body for body in tracker.bodies for secret in SECRETS)


@on_sqlite
def test_an_error_without_an_exception_is_reported_and_a_warning_is_not(tracker: Tracker) -> None:
    with context.continued(None, order_id="o1"):
        logger.bind(refund_id="r1", password="x").error("refund of {} is owed", "ada@example.com")
        logger.warning("only a warning")
    (event,) = tracker.events
    assert event["logentry"]["message"] == "refund of [address] is owed"
    assert event["level"] == "error"
    assert event["tags"]["order_id"] == "o1"
    assert event["extra"] == {"refund_id": "r1", "password": "[hidden]"}


@on_sqlite
def test_a_tracker_that_is_away_stops_nobody(settings: Settings) -> None:
    away = settings.model_copy(update={"sentry_dsn": SecretStr("http://key@127.0.0.1:1/7")})
    stream = io.StringIO()
    logs.configure(away, stream)
    errors.configure(away, "api")
    try:
        logger.error("still logged")
    finally:
        errors.configure(settings, "api")
    assert "still logged" in stream.getvalue()


def test_without_the_extra_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    imports = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name.startswith("sentry_sdk"):
            raise ImportError(name)
        return imports(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigurationError, match=re.escape("pip install 'orderkit[sentry]'")):
        errors.configure(Settings(_env_file=None, sentry_dsn=SecretStr("https://key@example.com/7")), "api")


@pytest.mark.parametrize("dsn", ["https://example.com/7", "key@example.com/7", "https://key@example.com/seven", "x"])
def test_what_is_no_dsn_is_refused_and_not_quoted(dsn: str) -> None:
    with pytest.raises(ValueError, match="is not a DSN") as refused:
        Settings(_env_file=None, sentry_dsn=SecretStr(dsn))
    assert dsn not in str(refused.value).replace("https://key@host/number", "") or dsn == "x"
