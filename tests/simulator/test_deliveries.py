"""The simulator reports deliveries, to whom it is told and as badly as it is told, and only when it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from orderkit import webhook_signatures
from orderkit.clock import now
from orderkit.errors import SignatureInvalid
from orderkit.fulfillment.carriers import Booked, Recalled
from orderkit.fulfillment.carriers.simulator import SimulatorCarrier
from orderkit.ids import UUID, new_id
from orderkit.settings import Settings
from tests.simulator.conftest import Simulator

pytestmark = pytest.mark.integration


class Receiver:
    """Whoever listens to callbacks, and keeps them."""

    def __init__(self, settings: Settings) -> None:
        self.url = ""
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self._settings = settings

    async def hear(self, request: web.Request) -> web.Response:
        self.heard.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        return web.json_response({"outcome": "heard"})

    def good(self, number: int = 0) -> bool:
        headers, body = self.heard[number]
        try:
            webhook_signatures.verify(
                self._settings.carrier_webhook_keys,
                message_id=headers["webhook-id"],
                timestamp=headers["webhook-timestamp"],
                signatures=headers["webhook-signature"],
                body=body,
                at=now(),
            )
        except SignatureInvalid:
            return False
        return True


@asynccontextmanager
async def listening(settings: Settings) -> AsyncIterator[Receiver]:
    receiver = Receiver(settings)
    app = web.Application()
    app.router.add_post("/hook", receiver.hear)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


async def booked(simulator: Simulator) -> tuple[str, str]:
    """Key and tracking number of a parcel."""
    key = new_id()
    async with simulator.session() as http:
        result = await SimulatorCarrier(http, simulator.url).book(
            key=key, order_id=new_id(), address=None, amount=500, currency="GBP", attempt=1
        )
    assert isinstance(result, Booked)
    return str(key), result.tracking_number


async def deliver(simulator: Simulator, **asked: Any) -> tuple[int, Any]:
    async with simulator.session() as http, http.post(f"{simulator.url}/deliveries", json=asked) as response:
        return response.status, await response.json()


async def statuses(simulator: Simulator) -> list[str]:
    return [one["status"] for one in (await simulator.ledger())["bookings"]]


@pytest.mark.parametrize("by", ["key", "tracking_number"])
def test_a_delivery_is_signed_reported_and_in_the_books(
    simulator: Simulator, simulator_settings: Settings, by: str
) -> None:
    async def story() -> None:
        async with listening(simulator_settings) as receiver:
            key, tracking_number = await booked(simulator)
            assert await statuses(simulator) == ["booked"]
            assert receiver.heard == []
            named = {"key": key, "tracking_number": tracking_number}
            status, told = await deliver(simulator, **{by: named[by]}, url=receiver.url)
            assert status == 200
            assert told["reports"] == [{"status": 200, "body": {"outcome": "heard"}}]
            assert receiver.good()
            headers, body = receiver.heard[0]
            assert headers["content-type"] == "application/json"
            content = json.loads(body)
            assert (content["type"], content["data"]) == ("shipment.delivered", named)
            assert await statuses(simulator) == ["delivered"]

    asyncio.run(story())


def test_every_report_of_one_parcel_has_one_id_and_one_time_unless_told_otherwise(
    simulator: Simulator, simulator_settings: Settings
) -> None:
    async def story() -> None:
        async with listening(simulator_settings) as receiver:
            key, _ = await booked(simulator)
            await deliver(simulator, key=key, url=receiver.url)
            await deliver(simulator, key=key, url=receiver.url, times=3)
            await deliver(simulator, key=key, url=receiver.url, id="another")
            ids = [headers["webhook-id"] for headers, _ in receiver.heard]
            assert ids == [f"delivered-{key}"] * 4 + ["another"]
            assert len({body for _, body in receiver.heard}) == 1
            assert all(receiver.good(number) for number in range(5))

    asyncio.run(story())


def test_a_report_is_forged_or_off_the_time_on_demand(simulator: Simulator, simulator_settings: Settings) -> None:
    async def story() -> None:
        async with listening(simulator_settings) as receiver:
            key, _ = await booked(simulator)
            await deliver(simulator, key=key, url=receiver.url, forge=True)
            assert not receiver.good()
            assert await statuses(simulator) == ["booked"]  # whoever forges delivers nothing
            await deliver(simulator, key=key, url=receiver.url, skew_s=-301)
            await deliver(simulator, key=key, url=receiver.url, skew_s=-100)
            assert not receiver.good(1)
            assert receiver.good(2)

    asyncio.run(story())


def test_what_was_never_booked_is_not_delivered(simulator: Simulator) -> None:
    async def story() -> None:
        never = new_id()
        assert (await deliver(simulator, key=str(never)))[0] == 404
        async with simulator.session() as http:
            await SimulatorCarrier(http, simulator.url).cancel(key=never)
        assert (await deliver(simulator, key=str(never)))[0] == 404
        assert await statuses(simulator) == []

    asyncio.run(story())


def test_a_parcel_that_was_cancelled_is_not_delivered(simulator: Simulator) -> None:
    async def story() -> None:
        key, _ = await booked(simulator)
        async with simulator.session() as http:
            assert await SimulatorCarrier(http, simulator.url).cancel(key=UUID(key)) == Recalled()
        assert (await deliver(simulator, key=key))[0] == 409
        assert await statuses(simulator) == ["cancelled"]

    asyncio.run(story())


def test_where_nobody_listens_that_is_the_answer(simulator: Simulator) -> None:
    async def story() -> None:
        key, _ = await booked(simulator)
        status, told = await deliver(simulator, key=key, url="http://127.0.0.1:1/hook")
        assert (status, told["reports"]) == (200, [{"status": None, "reason": "connection refused"}])

    asyncio.run(story())


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"key": "a", "tracking_number": "b"},
        {"key": ""},
        {"key": "a", "times": 0},
        {"key": "a", "times": 101},
        {"key": "a", "skew_s": "1"},
        {"key": "a", "forge": 1},
        {"key": "a", "id": "a.b"},
        {"key": "a", "more": 1},
        *(
            {"key": "a", "url": url}
            for url in ("", "http://example.com/", "http://127.0.0.1@example.com/", "//localhost/")
        ),
        *({"key": "a", "url": url} for url in ("ftp://localhost/", "http://169.254.169.254/", "http://localhost:x/")),
    ],
    ids=str,
)
def test_what_cannot_be_reported_is_422(simulator: Simulator, asked: dict[str, Any]) -> None:
    status, _ = asyncio.run(deliver(simulator, **asked))
    assert status == 422


class TestWithoutASecret:
    @pytest.fixture
    def simulator_settings(self) -> Settings:
        return Settings(_env_file=None, env="production")

    def test_nothing_is_reported_and_that_is_told(self, simulator: Simulator) -> None:
        async def story() -> None:
            key, _ = await booked(simulator)
            status, told = await deliver(simulator, key=key)
            assert status == 409
            assert "ORDERKIT_CARRIER_WEBHOOK_SECRET" in told["detail"]
            assert await statuses(simulator) == ["booked"]

        asyncio.run(story())
