"""What the client makes of a provider that answers oddly or not at all: never an error, never a verdict it did not hear."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from orderkit.http_client import MAX_ANSWER_BYTES, open_session
from orderkit.ids import new_id
from orderkit.payments.gateways import Captured, Declined, Refunded, RefundRefused, Unknown, Voided
from orderkit.payments.gateways.simulator import SimulatorGateway

pytestmark = pytest.mark.unit

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
KEY = new_id()
CHARGE: dict[str, Any] = {"key": KEY, "amount": 500, "currency": "GBP", "method": "pm_card_visa", "attempt": 1}
REFUND: dict[str, Any] = {"key": KEY, "reference": "ch_1", "amount": 500, "currency": "GBP", "attempt": 1}


def asked(handler: Handler, operation: str = "charge", timeout_s: float = 5.0) -> Any:
    """What the gateway makes of `handler`'s answer."""

    async def story() -> Any:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        async with TestServer(app) as server, open_session(timeout_s) as http:
            gateway = SimulatorGateway(http, f"{server.make_url('/')}")
            return await getattr(gateway, operation)(**(REFUND if operation == "refund" else CHARGE))

    return asyncio.run(story())


def answering(status: int, body: object, **headers: str) -> Handler:
    async def handler(_request: web.Request) -> web.StreamResponse:
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, headers=headers)

    return handler


@pytest.mark.parametrize(
    ("operation", "status", "body", "result"),
    [
        ("charge", 200, {"status": "captured", "reference": "ch_1"}, Captured("ch_1")),
        ("charge", 402, {"status": "declined", "code": "card_declined"}, Declined("card_declined")),
        ("void", 200, {"status": "voided"}, Voided()),
        ("void", 200, {"status": "captured", "reference": "ch_1"}, Captured("ch_1")),
        ("void", 402, {"status": "declined", "code": "card_declined"}, Declined("card_declined")),
        ("refund", 200, {"status": "refunded", "reference": "re_1"}, Refunded("re_1")),
        (
            "refund",
            402,
            {"status": "refused", "code": "amount_exceeds_captured"},
            RefundRefused("amount_exceeds_captured"),
        ),
    ],
)
def test_a_verdict_in_the_providers_own_words_is_taken(
    operation: str, status: int, body: object, result: object
) -> None:
    assert asked(answering(status, body), operation) == result


@pytest.mark.parametrize("operation", ["charge", "void", "refund"])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"status": "captured"}),
        (200, {"status": "captured", "reference": ""}),
        (200, {"status": "captured", "reference": 7}),
        (200, {"status": "pending", "reference": "ch_1"}),
        (201, {"status": "captured", "reference": "ch_1"}),
        (200, ["captured"]),
        (200, "<html>captured</html>"),
        (200, ""),
        (204, ""),
        (402, {"status": "declined"}),
        (402, "no"),
    ],
)
def test_any_other_answer_is_no_verdict(operation: str, status: int, body: object) -> None:
    result = asked(answering(status, body), operation)
    assert isinstance(result, Unknown)
    assert not result.retryable


@pytest.mark.parametrize("operation", ["charge", "void", "refund"])
@pytest.mark.parametrize(
    ("status", "retryable", "answered"),
    [
        (500, True, False),
        (503, True, False),
        (409, True, True),
        (404, False, True),
        (422, False, True),
        (429, False, True),
    ],
)
def test_a_status_without_a_verdict_tells_whether_to_repeat_at_once(
    operation: str, status: int, retryable: bool, answered: bool
) -> None:
    result = asked(answering(status, {}), operation)
    assert result == Unknown(f"status {status}", retryable=retryable, answered=answered)


def test_a_redirect_is_not_followed() -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    assert asked(handler) == Unknown("status 307")
    assert seen == ["/charges"]


def test_the_key_travels_as_idempotency_key_and_the_body_as_json() -> None:
    seen: list[Any] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append((request.method, request.path, request.headers["Idempotency-Key"], await request.json()))
        return web.json_response({"status": "captured", "reference": "ch_1"})

    asked(handler)
    body = {"amount": 500, "currency": "GBP", "method": "pm_card_visa"}
    assert seen == [("POST", "/charges", str(KEY), body)]


def test_a_timeout_has_used_the_time_up() -> None:
    async def handler(_request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(5)
        return web.Response()

    assert asked(handler, timeout_s=0.1) == Unknown("timed out", retryable=False)


def test_a_connection_cut_before_or_in_the_middle_of_the_answer_is_worth_repeating() -> None:
    async def before(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def middle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"status": "captured", "reference": "ch_1"}')
        assert request.transport is not None
        request.transport.close()
        return response

    for handler in (before, middle):
        result = asked(handler)
        assert isinstance(result, Unknown)
        assert result.retryable
        assert not result.answered


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
def test_of_an_answer_without_end_no_more_is_read_than_any_answer_needs(chunked: bool) -> None:
    sent = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        if chunked:
            response.enable_chunked_encoding()
        else:
            response.content_length = 10**9
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while sent < 10**9:
                await response.write(b" " * 16_384)
                sent += 16_384
        return response

    assert asked(handler) == Unknown("answer too long", retryable=True)
    assert sent < 50_000_000  # what the sockets hold


def test_an_answer_as_long_as_may_be_is_read() -> None:
    body = '{"status": "captured", "reference": "ch_1"}'

    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.Response(text=body.ljust(MAX_ANSWER_BYTES))

    assert asked(handler) == Captured("ch_1")


def test_an_answer_nested_without_end_is_no_verdict() -> None:
    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.Response(text="[" * 60_000)

    assert asked(handler) == Unknown("status 200")


def test_a_refused_connection_is_worth_repeating_and_a_senseless_url_is_no_error() -> None:
    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        async with open_session(1.0) as http:
            refused = await SimulatorGateway(http, f"http://127.0.0.1:{port}").charge(**CHARGE)
            assert refused == Unknown("connection refused", retryable=True)
            assert isinstance(await SimulatorGateway(http, "nowhere").charge(**CHARGE), Unknown)

    asyncio.run(story())


def test_the_session_always_has_a_timeout_and_keeps_no_cookies() -> None:
    async def story() -> None:
        async with open_session(1.5) as http:
            assert http.timeout.total == 1.5
            assert isinstance(http.cookie_jar, aiohttp.DummyCookieJar)

    asyncio.run(story())
