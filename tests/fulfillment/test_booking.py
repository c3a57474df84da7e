"""Asking the carrier: the built-in one by postal code, and a call's budget, breaker and line in the log."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from loguru import logger

from orderkit.breaker import Breaker
from orderkit.fulfillment import booking
from orderkit.fulfillment.carriers import Booked, BookResult, Failed, Recalled, RecallResult, Rejected, open_carrier
from orderkit.fulfillment.carriers.builtin import BuiltinCarrier
from orderkit.fulfillment.carriers.simulator import SimulatorCarrier
from orderkit.http_client import open_session
from orderkit.ids import new_id
from orderkit.settings import Settings

pytestmark = pytest.mark.unit

KEY = new_id()
ASKED: dict[str, Any] = {"key": KEY, "order_id": new_id(), "amount": 500, "currency": "GBP"}
LOGGED = ("provider", "operation", "key", "attempt", "outcome", "detail", "ms")


class Scripted:
    """Gives the one answer it was told to; a number is seconds in which it says nothing."""

    name = "scripted"

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def book(self, **_asked: Any) -> BookResult:
        if isinstance(self._answer, float):
            await asyncio.sleep(self._answer)
        answer: BookResult = self._answer
        return answer

    async def cancel(self, **_asked: Any) -> RecallResult:
        if isinstance(self._answer, float):
            await asyncio.sleep(self._answer)
        answer: RecallResult = self._answer
        return answer


@pytest.fixture
def log() -> Iterator[list[dict[str, Any]]]:
    lines: list[dict[str, Any]] = []

    def keep(line: Any) -> None:
        if line.record["extra"].get("provider") == "scripted":
            lines.append({name: line.record["extra"][name] for name in LOGGED} | {"level": line.record["level"].name})

    sink = logger.add(keep, level=0)
    yield lines
    logger.remove(sink)


def book(
    answer: Any, *, breaker: Breaker | None = None, attempt: int = 1, budget_s: float = 5.0
) -> tuple[BookResult, int]:
    return asyncio.run(
        booking.book(
            Scripted(answer), breaker or Breaker("scripted"), **ASKED, address=None, attempt=attempt, budget_s=budget_s
        )
    )


@pytest.mark.parametrize(
    ("postal_code", "outcomes"),
    [
        ("SW1A 1AA", [Booked, Booked]),
        (None, [Booked]),
        ("FAIL-2", [Failed, Failed, Booked, Booked]),
        ("FAIL-ALWAYS", [Failed] * 6),
        ("REJECT", [Rejected]),
        ("SLOW", [Booked]),
    ],
)
def test_the_builtin_carrier_follows_postal_code_and_attempt(
    monkeypatch: pytest.MonkeyPatch, postal_code: str | None, outcomes: list[type]
) -> None:
    monkeypatch.setattr("orderkit.fulfillment.carriers.builtin.SLOW_S", 0.1)
    address = None if postal_code is None else {"name": "A. Buyer", "postal_code": postal_code}

    async def story() -> None:
        carrier, started = BuiltinCarrier(), asyncio.get_running_loop().time()
        results = [
            await carrier.book(**ASKED, address=address, attempt=number) for number in range(1, len(outcomes) + 1)
        ]
        assert [type(result) for result in results] == outcomes
        assert len({result for result in results if isinstance(result, Booked)}) <= 1, "one key, one tracking number"
        if postal_code == "SLOW":
            assert asyncio.get_running_loop().time() - started >= 0.1
        assert await carrier.cancel(key=KEY) == Recalled()

    asyncio.run(story())


def test_another_key_gets_another_tracking_number() -> None:
    async def story() -> None:
        carrier = BuiltinCarrier()
        asked = [{**ASKED, "key": key} for key in (KEY, new_id())]
        one, other = [await carrier.book(**each, address=None, attempt=1) for each in asked]
        assert one != other

    asyncio.run(story())


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (Booked("tr_1"), "closed"),
        (Rejected("address_not_served"), "closed"),
        (Failed("status 500"), "open"),
        (30.0, "open"),
    ],
)
def test_only_a_carrier_that_is_not_well_counts_as_a_failure(answer: Any, state: str) -> None:
    breaker = Breaker("scripted", failures=1, open_for=60.0)
    result, _ = book(answer, breaker=breaker, budget_s=0.1)
    assert result == (Failed("timed out") if isinstance(answer, float) else answer)
    assert breaker.state == state


def test_a_carrier_that_says_nothing_is_left_at_the_end_of_the_budget() -> None:
    result, ms = book(30.0, budget_s=0.15)
    assert result == Failed("timed out")
    assert 140 <= ms < 1000


@pytest.mark.parametrize(("answer", "state"), [(Recalled(), "closed"), (Failed("status 500"), "open"), (30.0, "open")])
def test_a_cancel_has_the_same_budget_and_breaker(answer: Any, state: str) -> None:
    breaker = Breaker("scripted", failures=1, open_for=60.0)
    result, ms = asyncio.run(booking.cancel(Scripted(answer), breaker, key=KEY, budget_s=0.15))
    assert result == (Failed("timed out") if isinstance(answer, float) else answer)
    assert breaker.state == state
    assert ms < 1000


def test_every_call_leaves_one_line_in_the_log(log: list[dict[str, Any]]) -> None:
    book(Booked("tr_1"), attempt=2)
    book(Rejected("address_not_served"), attempt=3)
    asyncio.run(booking.cancel(Scripted(Failed("status 500")), Breaker("scripted"), key=KEY, attempt=4, budget_s=1.0))
    common = {"provider": "scripted", "key": str(KEY)}
    assert [{name: value for name, value in line.items() if name != "ms"} for line in log] == [
        {**common, "operation": "book", "level": "INFO", "attempt": 2, "outcome": "booked", "detail": "tr_1"},
        {
            **common,
            "operation": "book",
            "level": "INFO",
            "attempt": 3,
            "outcome": "rejected",
            "detail": "address_not_served",
        },
        {
            **common,
            "operation": "cancel",
            "level": "WARNING",
            "attempt": 4,
            "outcome": "failed",
            "detail": "status 500",
        },
    ]
    assert all(isinstance(line["ms"], int) for line in log)


def test_settings_choose_the_carrier_and_the_gateway_unless_told_otherwise_with_it() -> None:
    assert open_carrier(Settings(gateway="builtin"), None).name == "builtin"
    assert open_carrier(Settings(gateway="simulator", carrier="builtin"), None).name == "builtin"
    with pytest.raises(ValueError, match="needs an HTTP session"):
        open_carrier(Settings(gateway="simulator"), None)

    async def over_http() -> None:
        async with open_session(1.0) as http:
            assert isinstance(open_carrier(Settings(gateway="simulator"), http), SimulatorCarrier)

    asyncio.run(over_http())
