"""A request that takes too long is told so; what it waits for may go on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from starlette.responses import StreamingResponse

from orderkit.observability import metrics
from orderkit.settings import Settings
from tests.client import Client, running

WITHIN_S = 0.3


@pytest.fixture
def engine_name() -> str:
    """One engine will do: nothing here asks the database."""
    return "sqlite"


@pytest.fixture
def hurried(settings: Settings) -> Iterator[Client]:
    with running(settings.model_copy(update={"request_timeout": WITHIN_S})) as client:
        yield client


def test_a_request_that_takes_too_long_is_told_so(hurried: Client) -> None:
    """OWASP ASVS V15.1.3; OWASP API4"""
    go_on = threading.Event()

    async def in_the_loop() -> None:
        await asyncio.sleep(60)

    def in_a_thread() -> None:
        go_on.wait(60)

    hurried.app.add_api_route("/in-the-loop", in_the_loop)
    hurried.app.add_api_route("/in-a-thread", in_a_thread)
    late = metrics.timed_out.labels("request")
    before = late._value.get()
    try:
        for path in ("/in-the-loop", "/in-a-thread"):
            began = time.monotonic()
            answer = hurried.get(path)
            assert WITHIN_S <= time.monotonic() - began < 10 * WITHIN_S
            assert (answer.status, answer.code) == (503, "unavailable")
            assert answer.headers["retry-after"] == "1"
            assert "within 0.3 s" in answer.json()["detail"]
        assert late._value.get() == before + 2
        assert hurried.get("/health/live").status == 200
    finally:
        go_on.set()


def test_an_answer_that_has_begun_is_not_cut_off(hurried: Client) -> None:
    async def slowly() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            for _ in range(4):
                yield b"part"
                await asyncio.sleep(WITHIN_S / 2)

        return StreamingResponse(parts())

    hurried.app.add_api_route("/slowly", slowly)
    answer = hurried.get("/slowly")
    assert (answer.status, answer.body) == (200, b"part" * 4)


def test_a_timeout_of_the_applications_own_is_not_taken_for_the_deadline(settings: Settings) -> None:
    async def give_up() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)

    with running(settings) as client:
        client.app.add_api_route("/give-up", give_up)
        assert client.get("/give-up").code == "internal_error"
