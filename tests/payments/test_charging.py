"""Charging within a budget: what is repeated, what is recorded, and what the circuit breaker is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from loguru import logger

from orderkit import clock
from orderkit.breaker import Breaker
from orderkit.ids import new_id
from orderkit.payments import charging
from orderkit.payments.gateways import (
    Captured,
    ChargeResult,
    Declined,
    Refunded,
    RefundRefused,
    RefundResult,
    Unknown,
    Voided,
    VoidResult,
)

pytestmark = pytest.mark.unit

KEY = new_id()
ASKED: dict[str, Any] = {"key": KEY, "amount": 500, "currency": "GBP", "method": "pm_card_visa"}
REFUND: dict[str, Any] = {"key": KEY, "reference": "ch_1", "amount": 500, "currency": "GBP"}
ERROR = Unknown("status 500", retryable=True)
TAKEN = Captured("ch_1")
LOGGED = ("provider", "operation", "key", "attempt", "outcome", "detail", "ms")


class Scripted:
    """Gives the answers it was told to, one a call; a number is seconds in which it says nothing."""

    name = "scripted"
    methods = frozenset({"pm_card_visa"})

    def __init__(self, *script: Any) -> None:
        self._script = list(script)
        self.calls: list[dict[str, Any]] = []

    async def _next(self, asked: dict[str, Any]) -> Any:
        self.calls.append(asked)
        answer = self._script.pop(0)
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            return TAKEN
        return answer

    async def charge(self, **asked: Any) -> ChargeResult:
        answer: ChargeResult = await self._next(asked)
        return answer

    async def void(self, **asked: Any) -> VoidResult:
        answer: VoidResult = await self._next(asked)
        return answer

    async def refund(self, **asked: Any) -> RefundResult:
        answer: RefundResult = await self._next(asked)
        return answer


@pytest.fixture
def breaker() -> Breaker:
    return Breaker("scripted", failures=3, open_for=60.0)


@pytest.fixture
def log() -> Iterator[list[dict[str, Any]]]:
    lines: list[dict[str, Any]] = []

    def keep(line: Any) -> None:
        if line.record["extra"].get("provider") == "scripted":
            lines.append({name: line.record["extra"][name] for name in LOGGED} | {"level": line.record["level"].name})

    sink = logger.add(keep, level=0)
    yield lines
    logger.remove(sink)


def charge(
    gateway: Scripted, breaker: Breaker, *, made: int = 0, budget_s: float = 5.0
) -> tuple[ChargeResult, list[charging.Attempt]]:
    return asyncio.run(charging.charge(gateway, breaker, **ASKED, made=made, budget_s=budget_s))


def told(attempts: Sequence[charging.Attempt]) -> list[tuple[int, str, str, str | None]]:
    return [(one.number, one.operation, one.outcome, one.detail) for one in attempts]


def test_errors_are_repeated_under_the_same_key_and_numbered_over_its_whole_life(breaker: Breaker) -> None:
    gateway = Scripted(ERROR, ERROR, TAKEN)
    before = clock.now()
    result, attempts = charge(gateway, breaker, made=4)
    assert result == TAKEN
    assert told(attempts) == [
        (5, "charge", "unknown", "status 500"),
        (6, "charge", "unknown", "status 500"),
        (7, "charge", "captured", "ch_1"),
    ]
    assert before <= attempts[0].started_at < attempts[1].started_at < attempts[2].started_at <= clock.now()
    assert [call["attempt"] for call in gateway.calls] == [5, 6, 7]
    assert {call["key"] for call in gateway.calls} == {KEY}
    assert breaker.state == "closed"


def test_three_calls_are_enough_for_one_charge() -> None:
    gateway = Scripted(ERROR, ERROR, ERROR, TAKEN)
    result, attempts = charge(gateway, Breaker("scripted"))
    assert result == ERROR
    assert len(attempts) == len(gateway.calls) == 3


@pytest.mark.parametrize(
    "answer", [TAKEN, Declined("card_declined"), Unknown("timed out"), Unknown("odd", answered=True)]
)
def test_nothing_else_is_repeated(breaker: Breaker, answer: ChargeResult) -> None:
    gateway = Scripted(answer)
    result, attempts = charge(gateway, breaker)
    assert result == answer
    assert len(attempts) == 1


def test_a_provider_that_says_nothing_is_left_at_the_end_of_the_budget(breaker: Breaker) -> None:
    async def story() -> float:
        started = asyncio.get_running_loop().time()
        result, attempts = await charging.charge(Scripted(30.0), breaker, **ASKED, made=0, budget_s=0.15)
        assert result == Unknown("timed out")
        assert told(attempts) == [(1, "charge", "unknown", "timed out")]
        assert 140 <= attempts[0].duration_ms < 1000
        return asyncio.get_running_loop().time() - started

    assert asyncio.run(story()) < 1.0


def test_the_budget_holds_for_all_calls_of_a_charge_together(breaker: Breaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charging, "PAUSES_S", (0.0, 0.4, 0.0))
    result, attempts = charge(Scripted(ERROR, 30.0), breaker, budget_s=0.5)
    assert result == Unknown("timed out")
    assert [one.detail for one in attempts] == ["status 500", "timed out"]
    assert attempts[1].duration_ms < 400, "the second call got what the first had left"
    result, attempts = charge(Scripted(ERROR, TAKEN), breaker, budget_s=0.3)
    assert (result, len(attempts)) == (ERROR, 1), "there was no time left to repeat it"


def test_an_open_breaker_is_unknown_without_a_call() -> None:
    async def story() -> None:
        breaker = Breaker("scripted", failures=1, open_for=60.0)
        breaker.failed()
        gateway = Scripted()
        for call in (charging.charge, charging.void):
            assert await call(gateway, breaker, **ASKED, made=0, budget_s=1.0) == (Unknown("breaker open"), [])
        refunded = await charging.refund(gateway, breaker, **REFUND, made=0, budget_s=1.0)
        assert refunded == (Unknown("breaker open"), [])
        assert gateway.calls == []

    asyncio.run(story())


def test_a_breaker_that_opens_in_the_middle_ends_the_repeating() -> None:
    breaker = Breaker("scripted", failures=2, open_for=60.0)
    gateway = Scripted(ERROR, ERROR, TAKEN)
    result, attempts = charge(gateway, breaker)
    assert (result, len(attempts), breaker.state) == (ERROR, 2, "open")


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (TAKEN, "closed"),
        (Declined("card_declined"), "closed"),
        (Unknown("status 422", answered=True), "closed"),
        (Unknown("timed out"), "open"),
        (ERROR, "open"),
        (30.0, "open"),
    ],
)
def test_only_a_provider_that_is_not_well_counts_as_a_failure(answer: Any, state: str) -> None:
    breaker = Breaker("scripted", failures=1, open_for=60.0)
    charge(Scripted(answer), breaker, budget_s=0.1)
    assert breaker.state == state


@pytest.mark.parametrize(
    ("answer", "outcome", "detail"),
    [
        (Voided(), "voided", None),
        (TAKEN, "captured", "ch_1"),
        (Declined("voided"), "declined", "voided"),
        (ERROR, "unknown", "status 500"),
    ],
)
def test_a_void_is_one_call(breaker: Breaker, answer: Any, outcome: str, detail: str | None) -> None:
    gateway = Scripted(answer, TAKEN)
    result, attempts = asyncio.run(charging.void(gateway, breaker, **ASKED, made=3, budget_s=1.0))
    assert result == answer
    assert told(attempts) == [(4, "void", outcome, detail)]
    assert gateway.calls == [{**ASKED, "attempt": 4}]


@pytest.mark.parametrize(
    ("answer", "outcome", "detail"),
    [
        (Refunded("re_1"), "refunded", "re_1"),
        (RefundRefused("charge_unknown"), "refused", "charge_unknown"),
        (ERROR, "unknown", "status 500"),
        (30.0, "unknown", "timed out"),
    ],
)
def test_a_refund_is_one_call(breaker: Breaker, answer: Any, outcome: str, detail: str | None) -> None:
    gateway = Scripted(answer, TAKEN)
    _, attempts = asyncio.run(charging.refund(gateway, breaker, **REFUND, made=0, budget_s=0.1))
    assert told(attempts) == [(1, "refund", outcome, detail)]
    assert gateway.calls == [{**REFUND, "attempt": 1}]


def test_a_cancelled_charge_stays_cancelled(breaker: Breaker) -> None:
    async def story() -> None:
        call = asyncio.create_task(charging.charge(Scripted(30.0), breaker, **ASKED, made=0, budget_s=5.0))
        await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(story())


def test_every_call_leaves_one_line_in_the_log(breaker: Breaker, log: list[dict[str, Any]]) -> None:
    charge(Scripted(ERROR, TAKEN), breaker, made=2)
    lines = [{name: value for name, value in line.items() if name != "ms"} for line in log]
    common = {"provider": "scripted", "operation": "charge", "key": str(KEY)}
    assert lines == [
        {**common, "level": "WARNING", "attempt": 3, "outcome": "unknown", "detail": "status 500"},
        {**common, "level": "INFO", "attempt": 4, "outcome": "captured", "detail": "ch_1"},
    ]
    assert all(isinstance(line["ms"], int) for line in log)
