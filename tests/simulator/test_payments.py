"""The simulator as a payment provider: one key, one verdict, whatever comes at once and whatever fails between."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orderkit.ids import UUID, new_id
from orderkit.payments.gateways import (
    Captured,
    ChargeResult,
    Declined,
    Gateway,
    Refunded,
    RefundRefused,
    RefundResult,
    Unknown,
    Voided,
    VoidResult,
)
from orderkit.payments.gateways.builtin import TEST_METHODS, BuiltinGateway
from orderkit.payments.gateways.simulator import SimulatorGateway
from orderkit.simulator import provider
from tests.simulator.conftest import IMPATIENT_S, PATIENT_S, Simulator

pytestmark = pytest.mark.integration


async def charge(gateway: Any, key: UUID, method: str = "pm_card_visa", amount: int = 500) -> ChargeResult:
    result: ChargeResult = await gateway.charge(key=key, amount=amount, currency="GBP", method=method, attempt=1)
    return result


async def void(gateway: SimulatorGateway, key: UUID) -> VoidResult:
    return await gateway.void(key=key, amount=500, currency="GBP", method="pm_card_visa", attempt=1)


async def refund(
    gateway: SimulatorGateway, reference: str, amount: int, *, key: UUID | None = None, currency: str = "GBP"
) -> RefundResult:
    return await gateway.refund(key=key or new_id(), reference=reference, amount=amount, currency=currency, attempt=1)


def test_fifty_charges_at_once_under_one_key_capture_once_and_all_hear_the_same(simulator: Simulator) -> None:
    async def story() -> None:
        key = new_id()
        async with simulator.session() as http:
            gateway = SimulatorGateway(http, simulator.url)
            results = await asyncio.gather(*(charge(gateway, key) for _ in range(50)))
        assert len(set(results)) == 1
        assert isinstance(results[0], Captured)
        (capture,) = (await simulator.ledger())["captures"]
        assert capture["at"].endswith("Z")
        assert {name: capture[name] for name in ("key", "reference", "amount", "currency", "status")} == {
            "key": str(key),
            "reference": results[0].reference,
            "amount": 500,
            "currency": "GBP",
            "status": "captured",
        }

    asyncio.run(story())


def test_charges_and_voids_that_race_agree_on_one_outcome(simulator: Simulator) -> None:
    async def story() -> None:
        keys = [new_id() for _ in range(10)]
        async with simulator.session() as http:
            gateway = SimulatorGateway(http, simulator.url)
            calls = [call(gateway, key) for key in keys for call in (charge, void, charge, void)]
            answers = await asyncio.gather(*calls)
        captured = {entry["key"]: entry["reference"] for entry in (await simulator.ledger())["captures"]}
        for number, key in enumerate(keys):
            of_key = set(answers[number * 4 : number * 4 + 4])
            if str(key) in captured:
                assert of_key == {Captured(captured[str(key)])}
            else:
                assert of_key == {Voided(), Declined("voided")}

    asyncio.run(story())


def test_a_charge_that_timed_out_after_the_capture_is_answered_when_it_is_repeated(simulator: Simulator) -> None:
    async def story() -> None:
        key = new_id()
        async with simulator.session(IMPATIENT_S) as http:
            lost = await charge(SimulatorGateway(http, simulator.url), key, "pm_card_timeout_after_charge")
            assert lost == Unknown("timed out")
        async with simulator.session() as http:
            gateway = SimulatorGateway(http, simulator.url)
            (capture,) = (await simulator.ledger())["captures"]
            assert await charge(gateway, key, "pm_card_timeout_after_charge") == Captured(capture["reference"])
        assert len((await simulator.ledger())["captures"]) == 1

    asyncio.run(story())


def test_a_charge_that_timed_out_before_the_capture_takes_nothing_until_it_is_repeated(simulator: Simulator) -> None:
    async def story() -> None:
        key = new_id()
        async with simulator.session(IMPATIENT_S) as http:
            lost = await charge(SimulatorGateway(http, simulator.url), key, "pm_card_timeout_before_charge")
            assert lost == Unknown("timed out")
        assert (await simulator.ledger())["captures"] == []
        async with simulator.session() as http:
            gateway = SimulatorGateway(http, simulator.url)
            assert isinstance(await charge(gateway, key, "pm_card_timeout_before_charge"), Captured)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("pm_card_declined", "card_declined"),
        ("pm_card_insufficient_funds", "insufficient_funds"),
        ("pm_card_of_mars", "method_unknown"),
    ],
)
def test_a_decline_is_kept_under_its_key(simulator: Simulator, method: str, code: str) -> None:
    async def story() -> None:
        key = new_id()
        async with simulator.session() as http:
            gateway = SimulatorGateway(http, simulator.url)
            assert [await charge(gateway, key, method) for _ in range(2)] == [Declined(code)] * 2
            assert await void(gateway, key) == Declined(code)
        assert (await simulator.ledger())["captures"] == []

    asyncio.run(story())


def test_the_same_key_for_another_amount_changes_nothing_and_is_no_verdict(simulator: Simulator) -> None:
    async def story() -> None:
        key = new_id()
        async with simulator.session() as http:
            gateway = SimulatorGateway(http, simulator.url)
            first = await charge(gateway, key)
            assert await charge(gateway, key, amount=501) == Unknown("status 422: key_reused", answered=True)
            assert await charge(gateway, key) == first
            assert await void(gateway, key) == first
        assert [entry["amount"] for entry in (await simulator.ledger())["captures"]] == [500]

    asyncio.run(story())


def test_a_voided_key_is_declined_for_ever(simulator: Simulator) -> None:
    async def story() -> None:
        key = new_id()
        async with simulator.session() as http:
            gateway = SimulatorGateway(http, simulator.url)
            assert [await void(gateway, key) for _ in range(2)] == [Voided()] * 2
            assert await charge(gateway, key) == Declined("voided")
            assert await charge(gateway, key, amount=1) == Declined("voided")
            assert await void(gateway, key) == Voided()
        assert (await simulator.ledger())["captures"] == []

    asyncio.run(story())


def test_refunds_at_once_give_back_at_most_what_was_captured(simulator: Simulator) -> None:
    async def story() -> None:
        async with simulator.session() as http:
            gateway = SimulatorGateway(http, simulator.url)
            captured = await charge(gateway, new_id(), amount=1000)
            assert isinstance(captured, Captured)
            results = await asyncio.gather(*(refund(gateway, captured.reference, 150) for _ in range(20)))
            assert sum(isinstance(result, Refunded) for result in results) == 6
            assert results.count(RefundRefused("amount_exceeds_captured")) == 14
            assert isinstance(await refund(gateway, captured.reference, 100), Refunded)
        assert sum(entry["amount"] for entry in (await simulator.ledger())["refunds"]) == 1000

    asyncio.run(story())


def test_a_refund_is_given_once_for_its_key(simulator: Simulator) -> None:
    async def story() -> None:
        key = new_id()
        async with simulator.session() as http:
            gateway = SimulatorGateway(http, simulator.url)
            captured = await charge(gateway, new_id(), amount=1000)
            assert isinstance(captured, Captured)
            results = await asyncio.gather(*(refund(gateway, captured.reference, 100, key=key) for _ in range(20)))
            assert len(set(results)) == 1
            again = await refund(gateway, captured.reference, 101, key=key)
            assert again == Unknown("status 422: key_reused", answered=True)
        assert [entry["key"] for entry in (await simulator.ledger())["refunds"]] == [str(key)]

    asyncio.run(story())


def test_a_refund_of_an_unknown_charge_or_in_another_currency_is_refused_and_stays_refused(
    simulator: Simulator,
) -> None:
    async def story() -> None:
        key = new_id()
        async with simulator.session() as http:
            gateway = SimulatorGateway(http, simulator.url)
            captured = await charge(gateway, new_id())
            assert isinstance(captured, Captured)
            assert await refund(gateway, "ch_none", 1) == RefundRefused("charge_unknown")
            for _ in range(2):
                refused = await refund(gateway, captured.reference, 1, key=key, currency="EUR")
                assert refused == RefundRefused("currency_mismatch")
        assert (await simulator.ledger())["refunds"] == []

    asyncio.run(story())


def test_both_test_providers_know_the_same_payment_methods() -> None:
    assert provider.CAPTURES | set(provider.DECLINES) == TEST_METHODS


@pytest.mark.parametrize("method", sorted(TEST_METHODS))
def test_both_test_providers_answer_charges_and_a_void_alike(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr("orderkit.payments.gateways.builtin.SLOW_S", 0.0)

    async def told(first: Gateway, later: Gateway, charges: int) -> list[str]:
        asked: dict[str, Any] = {"key": new_id(), "amount": 500, "currency": "GBP", "method": method}
        answers: list[ChargeResult | VoidResult] = [
            await (first if number == 1 else later).charge(**asked, attempt=number) for number in range(1, charges + 1)
        ]
        answers.append(await later.void(**asked, attempt=charges + 1))
        return [type(answer).__name__ for answer in answers]

    async def compare() -> None:
        patience_s = IMPATIENT_S if method.startswith("pm_card_timeout") else PATIENT_S
        async with simulator.session(patience_s) as impatient, simulator.session() as http:
            first, later = SimulatorGateway(impatient, simulator.url), SimulatorGateway(http, simulator.url)
            builtin = BuiltinGateway()
            for charges in range(4):
                assert await told(first, later, charges) == await told(builtin, builtin, charges)

    asyncio.run(compare())
