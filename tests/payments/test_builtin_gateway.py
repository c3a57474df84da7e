"""The payment provider in process: each test method as the contract says, call by call."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orderkit.ids import new_id
from orderkit.payments.gateways import (
    Captured,
    Declined,
    Refunded,
    Unknown,
    Voided,
    open_gateway,
)
from orderkit.payments.gateways.builtin import BuiltinGateway
from orderkit.payments.gateways.simulator import SimulatorGateway
from orderkit.settings import Settings

pytestmark = pytest.mark.unit

KEY = new_id()
TAKEN = Captured(f"ch_{KEY.hex}")
LOST = Unknown("timed out")
ERROR = Unknown("status 500", retryable=True)


def asked(method: str, attempt: int) -> dict[str, Any]:
    return {"key": KEY, "amount": 500, "currency": "GBP", "method": method, "attempt": attempt}


@pytest.mark.parametrize(
    ("method", "answers"),
    [
        ("pm_card_visa", [TAKEN, TAKEN]),
        ("pm_card_declined", [Declined("card_declined")] * 2),
        ("pm_card_insufficient_funds", [Declined("insufficient_funds")] * 2),
        ("pm_card_timeout_before_charge", [LOST, TAKEN, TAKEN]),
        ("pm_card_timeout_after_charge", [LOST, TAKEN, TAKEN]),
        ("pm_card_error_then_ok", [ERROR, ERROR, TAKEN, TAKEN]),
        ("pm_card_of_mars", [Declined("method_unknown")]),
    ],
)
def test_a_charge_follows_from_method_key_and_attempt(method: str, answers: list[Any]) -> None:
    async def story() -> list[Any]:
        gateway = BuiltinGateway()
        return [await gateway.charge(**asked(method, attempt)) for attempt in range(1, len(answers) + 1)]

    assert asyncio.run(story()) == answers


@pytest.mark.parametrize(
    ("method", "made", "result"),
    [
        ("pm_card_visa", 0, Voided()),
        ("pm_card_visa", 1, TAKEN),
        ("pm_card_declined", 0, Voided()),
        ("pm_card_declined", 1, Declined("card_declined")),
        ("pm_card_timeout_before_charge", 1, Voided()),
        ("pm_card_timeout_before_charge", 2, TAKEN),
        ("pm_card_timeout_after_charge", 0, Voided()),
        ("pm_card_timeout_after_charge", 1, TAKEN),
        ("pm_card_error_then_ok", 2, Voided()),
        ("pm_card_error_then_ok", 3, TAKEN),
        ("pm_card_slow", 1, TAKEN),
    ],
)
def test_a_void_reports_what_the_calls_before_it_captured(method: str, made: int, result: Any) -> None:
    assert asyncio.run(BuiltinGateway().void(**asked(method, made + 1))) == result


def test_the_slow_card_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orderkit.payments.gateways.builtin.SLOW_S", 0.1)

    async def story() -> float:
        started = asyncio.get_running_loop().time()
        assert await BuiltinGateway().charge(**asked("pm_card_slow", 1)) == TAKEN
        return asyncio.get_running_loop().time() - started

    assert asyncio.run(story()) >= 0.1


def test_another_key_gets_another_reference_and_a_refund_one_of_its_own() -> None:
    async def story() -> None:
        gateway = BuiltinGateway()
        other = await gateway.charge(**{**asked("pm_card_visa", 1), "key": new_id()})
        assert isinstance(other, Captured)
        assert other != TAKEN
        refunds = [
            await gateway.refund(key=key, reference=TAKEN.reference, amount=1, currency="GBP", attempt=1)
            for key in (KEY, KEY, new_id())
        ]
        assert all(isinstance(refund, Refunded) for refund in refunds)
        assert refunds[0] == refunds[1] != refunds[2]

    asyncio.run(story())


def test_settings_choose_the_gateway() -> None:
    builtin = open_gateway(Settings(gateway="builtin"), None)
    assert (builtin.name, "pm_card_visa" in builtin.methods) == ("builtin", True)
    with pytest.raises(ValueError, match="needs an HTTP session"):
        open_gateway(Settings(gateway="simulator"), None)

    async def over_http() -> None:
        from orderkit.http_client import open_session

        async with open_session(1.0) as http:
            assert isinstance(open_gateway(Settings(gateway="simulator"), http), SimulatorGateway)

    asyncio.run(over_http())
