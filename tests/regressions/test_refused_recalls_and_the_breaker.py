"""A carrier that refused to take bookings back was left alone as if it were down, and so shipped nothing either.

Each refusal counted as a failure for the breaker that bookings and recalls share. A carrier that answers is well, whatever
it answers; only 5xx, timeouts and lost connections count.
"""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.test_utils import TestServer

from orderkit.breaker import Breaker
from orderkit.fulfillment import booking
from orderkit.fulfillment.carriers.simulator import SimulatorCarrier
from orderkit.http_client import open_session
from orderkit.ids import new_id


def recall(status: int, breaker: Breaker) -> None:
    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"code": "refused"}, status=status)

    async def story() -> None:
        app = web.Application()
        app.router.add_post("/{path:.*}", handler)
        async with TestServer(app) as server, open_session(5.0) as http:
            carrier = SimulatorCarrier(http, f"{server.make_url('/')}")
            for _ in range(3):
                await booking.cancel(carrier, breaker, key=new_id(), budget_s=5.0)

    asyncio.run(story())


def test_refused_recalls_open_no_breaker_and_failed_ones_do() -> None:
    breaker, states = Breaker("carrier", failures=3), []
    for status in (409, 429, 500):
        recall(status, breaker)
        states.append(breaker.state)
    assert states == ["closed", "closed", "open"]
