"""What the client makes of a carrier that answers oddly or not at all."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from orderkit.fulfillment.carriers import Booked, Failed, Recalled, Rejected
from orderkit.fulfillment.carriers.simulator import SimulatorCarrier
from orderkit.http_client import open_session
from orderkit.ids import new_id

pytestmark = pytest.mark.unit

KEY, ORDER = new_id(), new_id()
ADDRESS = {"name": "A. Buyer", "postal_code": "SW1A 1AA"}


def asked(status: int, body: object, operation: str = "book") -> tuple[Any, list[Any]]:
    """What the carrier client makes of such an answer, and the requests it sent."""
    seen: list[Any] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append((request.path, request.headers["Idempotency-Key"], await request.json()))
        return web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body))

    async def story() -> Any:
        app = web.Application()
        app.router.add_post("/{path:.*}", handler)
        async with TestServer(app) as server, open_session(5.0) as http:
            carrier = SimulatorCarrier(http, f"{server.make_url('/')}")
            if operation == "cancel":
                return await carrier.cancel(key=KEY)
            return await carrier.book(key=KEY, order_id=ORDER, address=ADDRESS, amount=5, currency="GBP", attempt=1)

    return asyncio.run(story()), seen


@pytest.mark.parametrize(
    ("status", "body", "result"),
    [
        (200, {"status": "booked", "reference": "tr_1"}, Booked("tr_1")),
        (200, {"status": "booked", "reference": ""}, Failed("status 200")),
        (200, {"status": "lost"}, Failed("status 200")),
        (200, "<html>", Failed("status 200")),
        (302, "", Failed("status 302")),
        (400, "", Rejected("status 400")),
        (410, {"code": "cancelled"}, Rejected("cancelled")),
        (422, {"code": "address_not_served"}, Rejected("address_not_served")),
        (408, "", Failed("status 408", answered=True)),
        (409, "", Failed("status 409", answered=True)),
        (429, "", Failed("status 429", answered=True)),
        (500, {"code": "server_error"}, Failed("server_error")),
        (503, ["down"], Failed("status 503")),
    ],
)
def test_a_4xx_about_the_booking_rejects_it_and_everything_unclear_fails_it(
    status: int, body: object, result: object
) -> None:
    told, seen = asked(status, body)
    assert told == result
    sent = {"order_id": str(ORDER), "address": ADDRESS, "amount": 5, "currency": "GBP"}
    assert seen == [("/bookings", str(KEY), sent)]


@pytest.mark.parametrize(
    ("status", "body", "result"),
    [
        (200, {"status": "cancelled"}, Recalled()),
        (200, {}, Failed("status 200")),
        (404, {}, Failed("status 404", answered=True)),
        (500, {"code": "server_error"}, Failed("server_error")),
    ],
)
def test_a_cancel_counts_only_when_the_carrier_says_so(status: int, body: object, result: object) -> None:
    told, seen = asked(status, body, "cancel")
    assert told == result
    assert seen == [("/bookings/cancel", str(KEY), {})]


def test_a_carrier_that_is_not_there_has_failed() -> None:
    async def story() -> None:
        async with open_session(1.0) as http:
            carrier = SimulatorCarrier(http, "http://127.0.0.1:1")
            assert await carrier.cancel(key=KEY) == Failed("connection refused", unsent=True)

    asyncio.run(story())
