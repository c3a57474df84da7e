"""What every request gets, whichever route it is for: ids, limits, headers, a log line, numbers."""

from __future__ import annotations

import asyncio
import io
import json
import re
from typing import Any

import pytest

from orderkit.api import edge
from orderkit.observability import context, logs, metrics
from orderkit.settings import Settings
from tests.client import Client

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def engine_name() -> str:
    """One engine will do: nothing here asks the database."""
    return "sqlite"


@pytest.fixture
def log(settings: Settings) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(settings.model_copy(update={"log_format": "json", "log_level": "DEBUG"}), stream)
    return stream


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


@pytest.mark.parametrize("sane", ["a", "A-Z.a_z-09", "x" * 64])
def test_a_sane_request_id_comes_back(api: Client, sane: str) -> None:
    assert api.get("/health/live", {"X-Request-ID": sane}).headers["x-request-id"] == sane


@pytest.mark.parametrize("strange", ["", " ", "x" * 65, "a b", "a\tb", "<script>", "é", "a;b", '"a"'])
def test_a_strange_request_id_is_replaced(api: Client, strange: str) -> None:
    given = api.get("/health/live", {"X-Request-ID": strange}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", given)


def test_each_request_without_an_id_gets_its_own(api: Client) -> None:
    assert len({api.get("/health/live").headers["x-request-id"] for _ in range(20)}) == 20


@pytest.mark.parametrize(("flags", "continued"), [("00", "00"), ("01", "01"), ("ff", "01")])
def test_a_trace_is_continued_under_a_new_span(api: Client, flags: str, continued: str) -> None:
    sent = f"00-{TRACE}-00f067aa0ba902b7-{flags}"
    got = api.get("/health/live", {"traceparent": sent}).headers["traceparent"]
    assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-{continued}", got)
    assert "00f067aa0ba902b7" not in got


def test_a_trace_of_a_later_version_is_continued(api: Client) -> None:
    sent = f"cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-brings"
    assert api.get("/health/live", {"traceparent": sent}).headers["traceparent"].startswith(f"00-{TRACE}-")


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "nonsense",
        f"00-{TRACE}-00f067aa0ba902b7",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
        f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-00f067aa0ba902b7-01-more",
    ],
)
def test_a_broken_trace_is_replaced(api: Client, broken: str) -> None:
    got = api.get("/health/live", {"traceparent": broken}).headers["traceparent"]
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", got)
    assert TRACE not in got


def test_routes_and_the_threads_they_run_in_know_their_request(api: Client) -> None:
    async def in_the_loop() -> list[str]:
        return [context.request_id(), context.traceparent()]

    def in_a_thread() -> list[str]:
        return [context.request_id(), context.traceparent()]

    api.app.add_api_route("/in-the-loop", in_the_loop)
    api.app.add_api_route("/in-a-thread", in_a_thread)
    for path in ("/in-the-loop", "/in-a-thread"):
        answer = api.get(path, {"X-Request-ID": "mine"})
        assert answer.json() == ["mine", answer.headers["traceparent"]]
    assert context.request_id() == ""


def test_every_answer_has_the_headers_that_keep_it_safe(api: Client) -> None:
    for path in ("/health/live", "/nothing", "/docs", "/static/docs/swagger-ui.css"):
        headers = api.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert headers["x-request-id"]


def test_a_body_at_the_limit_is_read_and_one_byte_more_is_not(api: Client) -> None:
    body = b'"' + b"x" * (edge.MAX_BODY_BYTES - 2) + b'"'
    at_limit = api.post("/register", body, JSON)
    assert (at_limit.status, at_limit.code) == (422, "validation_failed")
    over = api.post("/register", body + b" ", JSON)
    assert (over.status, over.code) == (413, "body_too_large")
    assert over.headers["connection"] == "close"


def test_a_body_of_unsaid_length_is_cut_off_at_the_limit(api: Client, staff: dict[str, str]) -> None:
    for path in ("/register", "/token", "/products/x/stock"):
        answer = api.run(api.call("POST", path, headers=JSON | staff, chunks=[b"x" * 1000] * 1000))
        assert (answer.status, answer.code) == (413, "body_too_large")


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(api: Client) -> None:
    waiting = {"Content-Length": "100000000000000000000", "Expect": "100-continue"}
    answer = api.run(api.call("POST", "/register", headers=JSON | waiting, chunks=[b"x"] * 5_000_000))
    assert answer.status == 413


async def spoon_feed(api: Client, pause_s: float, parts: int) -> list[Any]:
    """A request to /register whose body comes in parts; what was sent back."""
    sent: list[Any] = []
    left = parts

    async def receive() -> dict[str, Any]:
        nonlocal left
        if left:
            left -= 1
            await asyncio.sleep(pause_s)
            return {"type": "http.request", "body": b" ", "more_body": True}
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/register", "headers": [(b"content-type", b"application/json")]}
    await api.app(scope | {"query_string": b"", "raw_path": b"", "server": None, "client": None}, receive, send)
    return sent


def test_a_body_that_trickles_is_given_up(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """OWASP ASVS V15.1.3; OWASP API4"""
    monkeypatch.setattr(edge, "BODY_WITHIN_S", 0.1)
    head, body = api.run(spoon_feed(api, 0.03, 1000))
    assert head["status"] == 408
    assert json.loads(body["body"])["code"] == "request_timeout"


def test_a_client_that_leaves_is_nobodys_error(api: Client, log: io.StringIO) -> None:
    assert api.run(spoon_feed(api, 0, 3)) == []
    (line,) = lines(log)
    assert (line["level"], line["status"]) == ("INFO", edge.CLIENT_GONE)


def test_each_request_is_logged_once_under_its_id(api: Client, log: io.StringIO) -> None:
    api.get("/products/NO-SUCH?cursor=s3cret", {"X-Request-ID": "mine"})
    (line,) = lines(log)
    assert line["request_id"] == "mine"
    assert (line["method"], line["route"], line["status"]) == ("GET", "/products/{sku}", 404)
    assert line["message"] == "GET /products/{sku} 404"
    assert line["code"] == "not_found"
    assert "NO-SUCH" not in log.getvalue(), "a path is the caller's own words"
    assert line["ms"] > 0
    assert "s3cret" not in log.getvalue()


def test_a_path_cannot_write_lines_of_the_log(api: Client, settings: Settings) -> None:
    stream = io.StringIO()
    logs.configure(settings, stream)
    api.get("/products/a%0d%0a2026-01-01%20INFO%20forged%1b[31m%e2%80%a8")
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


def test_what_is_asked_every_second_is_told_when_its_answer_changes_and_once_a_minute(
    api: Client, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "_told", {})
    for _ in range(3):
        api.get("/health/ready")
        api.get("/metrics")
    api.runtime.draining = True
    for _ in range(3):
        api.get("/health/ready")
    monkeypatch.setattr(edge, "QUIET_S", 0.0)
    api.get("/health/ready")
    told = [(line["route"], line["status"]) for line in lines(log) if line["level"] == "INFO"]
    assert told == [("/health/ready", 200), ("/metrics", 200), ("/health/ready", 503), ("/health/ready", 503)]
    assert sum(line["level"] == "DEBUG" for line in lines(log)) == 6


def test_an_unexpected_error_is_logged_with_its_trace_and_without_values(api: Client, log: io.StringIO) -> None:
    async def fail() -> None:
        password = "hunter" + "2"
        raise RuntimeError(f"no good: {len(password)}")

    api.app.add_api_route("/broken", fail)
    api.get("/broken", {"X-Request-ID": "mine"})
    error, request = lines(log)
    assert error["request_id"] == request["request_id"] == "mine"
    assert "RuntimeError: no good: 7" in error["error"]
    assert "hunter2" not in log.getvalue()
    assert request["status"] == 500


def counted(**labels: str) -> float:
    return float(metrics.http_requests.labels(**labels)._value.get())


def test_requests_are_counted_by_route_and_not_by_path(api: Client) -> None:
    labels = {"method": "GET", "route": "/products/{sku}", "status": "404"}
    before = counted(**labels)
    for n in range(3):
        api.get(f"/products/NO-SUCH-{n}")
    assert counted(**labels) == before + 3
    text = api.get("/metrics").body.decode()
    assert "NO-SUCH" not in text
    assert 'orderkit_http_request_seconds_bucket{le="0.005",method="GET",route="/products/{sku}"}' in text


@pytest.mark.parametrize(
    "path", ["/openapi.json", "/docs", "/redoc", "/health/live", "/problems/not_found", "/metrics"]
)
def test_what_is_there_has_its_label_also_beside_the_routes_of_orders(api: Client, log: io.StringIO, path: str) -> None:
    route = "/problems/{code}" if path.startswith("/problems") else path
    labels = {"method": "GET", "route": route, "status": "200"}
    before = counted(**labels)
    assert api.get(path).status == 200
    assert counted(**labels) == before + 1
    assert [line["route"] for line in lines(log) if "route" in line] == [route]


def test_a_caller_cannot_make_up_labels(api: Client) -> None:
    for n in range(3):
        api.run(api.call(f"BREW{n}", f"/made/up/{n}"))
    text = api.get("/metrics").body.decode()
    assert "BREW" not in text
    assert "/made" not in text
    assert 'orderkit_http_requests_total{method="other",route="none",status="404"}' in text
