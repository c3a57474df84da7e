"""The worker's scrape port: what it answers, to whom, and that nobody who dawdles keeps others from it."""

from __future__ import annotations

import http.client
import socket
from contextlib import ExitStack

import pytest
from pydantic import SecretStr

from orderkit.db import Database
from orderkit.errors import ConfigurationError
from orderkit.settings import Settings
from orderkit.worker import scraping
from orderkit.worker.scraping import scraped

LOCAL = "127.0.0.1"


@pytest.fixture
def engine_name() -> str:
    """One engine will do: what is read is tested on both."""
    return "sqlite"


@pytest.fixture
def port() -> int:
    """One that is free just now."""
    with socket.create_server((LOCAL, 0)) as found:
        number: int = found.getsockname()[1]
    return number


def at(settings: Settings, port: int, **more: object) -> Settings:
    return settings.model_copy(update={"worker_metrics_port": port} | more)


def ask(port: int, path: str = "/metrics", method: str = "GET", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(LOCAL, port, timeout=5)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_it_answers_metrics_and_nothing_else(settings: Settings, database: Database, port: int) -> None:
    with scraped(at(settings, port)):
        status, text = ask(port)
        assert (status, b"orderkit_database_up 1.0" in text) == (200, True)
        assert ask(port, method="HEAD") == (200, b"")
        assert [ask(port, path)[0] for path in ("/", "/metrics/", "/health/live")] == [404, 404, 404]
        assert ask(port, method="POST")[0] == 501
    with pytest.raises(ConnectionRefusedError):
        ask(port)


def test_with_a_token_it_asks_for_that(settings: Settings, database: Database, port: int) -> None:
    with scraped(at(settings, port, metrics_token=SecretStr("t0ken"))):
        assert ask(port)[0] == 401
        assert [ask(port, Authorization=wrong)[0] for wrong in ("Bearer wrong", "t0ken", "\xff")] == [401] * 3
        assert ask(port, Authorization="Bearer t0ken")[0] == 200


def test_without_a_port_nothing_listens(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scraping, "_Server", None)
    with scraped(settings):
        pass


def test_a_port_that_is_taken_or_an_address_that_is_not_ours_is_told_at_start(settings: Settings, port: int) -> None:
    with (
        socket.create_server((LOCAL, port)),
        pytest.raises(ConfigurationError, match=f"port {port} .*WORKER_METRICS_PORT"),
        scraped(at(settings, port)),
    ):
        pass
    with (
        pytest.raises(ConfigurationError, match=r"cannot listen on 192\.0\.2\.1"),
        scraped(at(settings, port, worker_metrics_host="192.0.2.1")),
    ):
        pass


def test_who_says_nothing_is_hung_up_on_and_too_many_are_not_even_heard(
    settings: Settings, database: Database, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scraping._Handler, "timeout", 0.3)
    with scraped(at(settings, port)), ExitStack() as opened:
        silent = [opened.enter_context(socket.create_connection((LOCAL, port), 5)) for _ in range(scraping.AT_ONCE)]
        one_more = opened.enter_context(socket.create_connection((LOCAL, port), 5))
        assert one_more.recv(1) == b""
        assert [one.recv(1) for one in silent] == [b""] * len(silent)
        assert ask(port)[0] == 200
