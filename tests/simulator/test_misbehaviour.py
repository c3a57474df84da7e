"""Failing on demand, and what the simulator does with requests that make no sense."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from orderkit.fulfillment.carriers import Booked, Failed, Recalled
from orderkit.fulfillment.carriers.simulator import SimulatorCarrier
from orderkit.ids import new_id
from orderkit.payments.gateways import Captured, ChargeResult, Unknown
from orderkit.payments.gateways.simulator import SimulatorGateway
from tests.simulator.conftest import IMPATIENT_S, PATIENT_S, Simulator

pytestmark = pytest.mark.integration


async def charges(simulator: Simulator, count: int, timeout_s: float = PATIENT_S) -> list[ChargeResult]:
    """`count` charges of one key, one after the other."""
    key = new_id()
    async with simulator.session(timeout_s) as http:
        gateway = SimulatorGateway(http, simulator.url)
        return [
            await gateway.charge(key=key, amount=500, currency="GBP", method="pm_card_visa", attempt=number)
            for number in range(1, count + 1)
        ]


@pytest.mark.parametrize(
    ("mode", "met", "captured"),
    [
        ("error", Unknown("status 500: server_error", retryable=True), 0),
        ("down", Unknown("connection closed without an answer", retryable=True), 0),
        ("timeout_before", Unknown("timed out"), 0),
        ("timeout_after", Unknown("timed out"), 1),
    ],
)
def test_the_next_calls_misbehave_and_then_all_is_well(
    simulator: Simulator, mode: str, met: Unknown, captured: int
) -> None:
    patience_s = IMPATIENT_S if mode.startswith("timeout") else PATIENT_S

    async def story() -> None:
        await simulator.misbehave("gateway", mode, 2)
        assert await charges(simulator, 2, patience_s) == [met, met]
        assert len((await simulator.ledger())["captures"]) == captured
        assert isinstance((await charges(simulator, 1))[0], Captured)

    asyncio.run(story())


def test_a_slow_call_is_answered_late(simulator: Simulator) -> None:
    async def story() -> None:
        await simulator.misbehave("gateway", "slow")
        started = asyncio.get_running_loop().time()
        assert isinstance((await charges(simulator, 1))[0], Captured)
        assert asyncio.get_running_loop().time() - started >= 0.2

    asyncio.run(story())


def test_calls_at_once_use_up_exactly_as_many_misbehaviours_as_were_asked_for(simulator: Simulator) -> None:
    async def story() -> None:
        await simulator.misbehave("gateway", "error", 7)
        results = await asyncio.gather(*(charges(simulator, 1) for _ in range(20)))
        assert sum(isinstance(result, Unknown) for (result,) in results) == 7
        assert len((await simulator.ledger())["captures"]) == 13

    asyncio.run(story())


def test_plans_are_followed_in_order_and_for_their_own_target_only(simulator: Simulator) -> None:
    async def story() -> None:
        await simulator.misbehave("gateway", "error")
        await simulator.misbehave("gateway", "down")
        await simulator.misbehave("carrier", "error", 2)
        reasons = [result.reason for result in await charges(simulator, 2) if isinstance(result, Unknown)]
        assert reasons == ["status 500: server_error", "connection closed without an answer"]
        async with simulator.session() as http:
            carrier = SimulatorCarrier(http, simulator.url)
            asked: dict[str, Any] = {"order_id": new_id(), "address": None, "amount": 1, "currency": "GBP"}
            key = new_id()
            assert await carrier.book(key=key, **asked, attempt=1) == Failed("server_error")
            assert await carrier.cancel(key=new_id()) == Failed("server_error")
            assert isinstance(await carrier.book(key=key, **asked, attempt=2), Booked)
            assert await carrier.cancel(key=key) == Recalled()

    asyncio.run(story())


def test_healing_forgets_what_is_still_to_come(simulator: Simulator) -> None:
    async def story() -> None:
        await simulator.misbehave("gateway", "error", 1_000_000)
        await simulator.misbehave("carrier", "down", 5)
        assert isinstance((await charges(simulator, 1))[0], Unknown)
        assert await simulator.heal() == {"forgotten": 1_000_004, "healed": 0}
        assert isinstance((await charges(simulator, 1))[0], Captured)

    asyncio.run(story())


CHARGE = '{"amount": 1, "currency": "GBP", "method": "pm_card_visa"}'
KEY = [("Idempotency-Key", "k")]


def test_a_call_needs_one_sane_key(raw: Callable[..., Any]) -> None:
    for headers in ([], [("Idempotency-Key", "")], [("Idempotency-Key", "a b")], KEY * 2):
        for path in ("/charges", "/voids", "/refunds", "/bookings", "/bookings/cancel"):
            status, answer = asyncio.run(raw("POST", path, data=CHARGE, headers=headers))
            assert (status, answer["code"]) == (422, "invalid"), (path, headers)


SENSELESS: list[tuple[str, str | bytes]] = [
    ("/charges", ""),
    ("/charges", "[]"),
    ("/charges", "\x00"),
    ("/charges", b"\xff\xfe"),
    ("/charges", '{"amount": NaN, "currency": "GBP", "method": "m"}'),
    ("/charges", '{"amount": 1e400, "currency": "GBP", "method": "m"}'),
    ("/charges", '{"amount": 9223372036854775808, "currency": "GBP", "method": "m"}'),
    ("/charges", '{"amount": 9007199254740992, "currency": "GBP", "method": "m"}'),
    ("/charges", '{"amount": "1", "currency": "GBP", "method": "m"}'),
    ("/charges", '{"amount": true, "currency": "GBP", "method": "m"}'),
    ("/charges", '{"amount": -1, "currency": "GBP", "method": "m"}'),
    ("/charges", '{"amount": 1, "currency": "XXX", "method": "m"}'),
    ("/charges", '{"amount": 1, "currency": "GBP", "method": "\\ud800"}'),
    ("/charges", '{"amount": 1, "currency": "GBP", "method": "m", "\\u0000": 1}'),
    ("/voids", "{}"),
    ("/refunds", '{"charge": "ch_1", "amount": 0, "currency": "GBP"}'),
    ("/bookings", '{"order_id": "one", "amount": 1, "currency": "GBP"}'),
    ("/bookings/cancel", '{"why": 1}'),
    ("/behavior", '{"target": "moon", "mode": "down", "count": 1}'),
    ("/behavior", '{"target": "carrier", "mode": "sulk", "count": 1}'),
    ("/behavior", '{"target": "carrier", "mode": "down", "count": 0}'),
    ("/behavior", '{"target": "carrier", "mode": "down", "count": 1000001}'),
]


def test_a_body_that_makes_no_sense_is_refused_and_leaves_nothing(raw: Callable[..., Any]) -> None:
    for path, body in SENSELESS:
        status, answer = asyncio.run(raw("POST", path, data=body, headers=KEY))
        assert (status, answer["code"]) == (422, "invalid"), (path, body)
        assert answer["detail"], (path, body)
    status, answer = asyncio.run(raw("POST", "/voids", data='{"amount": 1, "currency": "GBP"}', headers=KEY))
    assert (status, answer) == (200, {"status": "voided"})


def test_unknown_paths_and_methods_are_told_apart(raw: Callable[..., Any]) -> None:
    assert asyncio.run(raw("GET", "/nowhere"))[0] == 404
    assert asyncio.run(raw("GET", "/charges"))[0] == 405
    assert asyncio.run(raw("GET", "/health")) == (200, {"status": "ok"})
