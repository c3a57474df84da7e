"""Payments that nobody waits for are settled once, whatever the provider did and whoever asks it, and refunds are paid."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from orderkit import clock
from orderkit.breaker import Breaker
from orderkit.db import Database
from orderkit.orders import cancellation
from orderkit.orders.resolution import Resolution, claim_payment
from orderkit.orders.snapshot import OrderSnapshot
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
from orderkit.payments.models import PaymentAttempt
from orderkit.settings import Settings
from tests.shop import PRICE, STOCK, Shop

pytestmark = pytest.mark.integration

AFTER_ANY_RETRY = timedelta(seconds=31)
AFTER_THE_DEADLINE = timedelta(seconds=901)


class Provider:
    """A provider with a ledger: captures by key. `silent`: so many calls are acted on but not answered; `deaf`: not even that."""

    name = "ledger"
    methods = frozenset({"pm_card_visa"})

    def __init__(self, *, silent: int = 0, deaf: int = 0, declines: bool = False, refuses: bool = False) -> None:
        self.captured: dict[UUID, int] = {}
        self.voided: set[UUID] = set()
        self.refunded: dict[UUID, int] = {}
        self.asked: list[str] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self._silent, self._deaf, self._declines, self._refuses = silent, deaf, declines, refuses

    async def charge(self, *, key: UUID, amount: int, currency: str, method: str, attempt: int) -> ChargeResult:
        self.asked.append("charge")
        await asyncio.to_thread(self.meanwhile)
        if self._takes("_deaf"):
            return Unknown("timed out")
        if self._declines or key in self.voided:
            return Declined("card_declined")
        self.captured.setdefault(key, amount)
        return Unknown("timed out") if self._takes("_silent") else Captured(f"ch_{key.hex}")

    async def void(self, *, key: UUID, amount: int, currency: str, method: str, attempt: int) -> VoidResult:
        self.asked.append("void")
        if self._takes("_deaf"):
            return Unknown("timed out")
        if key in self.captured:
            return Captured(f"ch_{key.hex}")
        self.voided.add(key)
        return Voided()

    async def refund(self, *, key: UUID, reference: str, amount: int, currency: str, attempt: int) -> RefundResult:
        self.asked.append("refund")
        if self._takes("_deaf"):
            return Unknown("timed out")
        if self._refuses:
            return RefundRefused("too_old")
        self.refunded.setdefault(key, amount)
        return Unknown("timed out") if self._takes("_silent") else Refunded(f"re_{key.hex}")

    def _takes(self, name: str) -> bool:
        left: int = getattr(self, name)
        setattr(self, name, max(0, left - 1))
        return left > 0


@pytest.fixture
def shop(database: Database, settings: Settings) -> Shop:
    return Shop(database, settings)


def resolution(shop: Shop, provider: Provider, breaker: Breaker | None = None) -> Resolution:
    return Resolution(shop.database, shop.settings, provider, breaker or Breaker("gateway"))


def resolve(shop: Shop, provider: Provider, order: OrderSnapshot, turns: int = 1) -> None:
    for turn in range(turns):
        with clock.moved(AFTER_ANY_RETRY * turn):
            asyncio.run(resolution(shop, provider).resolve(order.payment_id))


def pay_back(shop: Shop, provider: Provider, turns: int = 1) -> None:
    for turn in range(turns):
        with clock.moved(AFTER_ANY_RETRY * turn):
            for refund in shop.refunds():
                asyncio.run(resolution(shop, provider).refund(refund.id))


def cancel(shop: Shop, order_id: UUID) -> None:
    with shop.database.transaction() as session:
        cancellation.cancel(session.connection(), order_id, reason="changed my mind")


def outcomes(shop: Shop) -> Sequence[tuple[int, str, str]]:
    made = sorted(shop.all(PaymentAttempt), key=lambda one: one.started_at)
    return [(one.number, one.operation, one.outcome) for one in made]


def test_charge_that_never_reached_the_provider_is_paid_once(shop: Shop) -> None:
    order, provider = shop.place(), Provider(deaf=1)

    resolve(shop, provider, order, turns=3)

    assert provider.captured == {order.payment_id: PRICE}
    assert shop.history(order.id) == ["pending", "paid"]
    assert outcomes(shop) == [(1, "charge", "unknown"), (2, "charge", "captured")]


def test_charge_whose_answer_was_lost_is_captured_once(shop: Shop) -> None:
    order, provider = shop.place(), Provider(silent=1)

    resolve(shop, provider, order, turns=3)

    assert provider.captured == {order.payment_id: PRICE}
    assert shop.history(order.id) == ["pending", "paid"]
    assert shop.payment(order.id).provider_reference == f"ch_{order.payment_id.hex}"


def test_declined_charge_fails_the_order_and_gives_its_stock_back(shop: Shop) -> None:
    order = shop.place(quantity=2)

    resolve(shop, Provider(declines=True), order)

    assert shop.history(order.id) == ["pending", "payment_failed"]
    assert shop.stock() == STOCK


def test_payment_that_stays_unknown_is_voided_after_the_deadline(shop: Shop) -> None:
    order, provider = shop.place(quantity=2), Provider(deaf=1)
    resolve(shop, provider, order)
    assert shop.stock() == STOCK - 2

    with clock.moved(AFTER_THE_DEADLINE):
        resolve(shop, provider, order)

    assert provider.asked == ["charge", "void"]
    assert provider.voided == {order.payment_id}
    assert shop.history(order.id) == ["pending", "payment_failed"]
    assert shop.payment(order.id).status == "voided"
    assert shop.stock() == STOCK


LATE_MONEY = ["order.cancelled", "order.captured_late", "order.refund_succeeded"]


def test_capture_that_is_found_only_when_voiding_is_refunded(shop: Shop) -> None:
    order, provider = shop.place(), Provider(silent=1)
    resolve(shop, provider, order)

    with clock.moved(AFTER_THE_DEADLINE):
        resolve(shop, provider, order)
        pay_back(shop, provider)

    assert shop.events(order.id) == LATE_MONEY
    assert shop.order(order.id).status == "cancelled"
    assert list(provider.refunded.values()) == [PRICE]
    assert [refund.status for refund in shop.refunds()] == ["succeeded"]
    assert shop.stock() == STOCK


def test_order_cancelled_while_it_is_charged_is_refunded(shop: Shop) -> None:
    order, provider = shop.place(), Provider()
    provider.meanwhile = lambda: cancel(shop, order.id)

    resolve(shop, provider, order)
    pay_back(shop, provider)

    assert provider.captured == {order.payment_id: PRICE}
    assert list(provider.refunded.values()) == [PRICE]
    assert shop.events(order.id) == LATE_MONEY
    assert shop.order(order.id).status == "cancelled"
    assert shop.payment(order.id).status == "captured"
    assert shop.stock() == STOCK


def test_payment_of_an_order_cancelled_before_its_charge_is_voided(shop: Shop) -> None:
    order, provider = shop.place(), Provider()
    cancel(shop, order.id)

    resolve(shop, provider, order)

    assert provider.asked == ["void"]
    assert shop.payment(order.id).status == "voided"
    assert shop.history(order.id) == ["pending", "cancelled"]
    assert shop.stock() == STOCK


def test_void_that_is_not_answered_is_asked_again(shop: Shop) -> None:
    order, provider = shop.place(), Provider(deaf=2)
    cancel(shop, order.id)

    resolve(shop, provider, order, turns=4)

    assert provider.asked == ["void"] * 3
    assert outcomes(shop) == [(1, "void", "unknown"), (2, "void", "unknown"), (3, "void", "voided")]


def test_two_sweepers_at_once_ask_once(shop: Shop) -> None:
    order, provider = shop.place(), Provider()

    async def both() -> None:
        work = resolution(shop, provider)
        await asyncio.gather(work.resolve(order.payment_id), work.resolve(order.payment_id))

    asyncio.run(both())

    assert provider.asked == ["charge"]


def test_payment_of_a_killed_worker_is_taken_up_when_its_lease_ends(shop: Shop) -> None:
    order, provider = shop.place(), Provider()
    with shop.database.transaction() as session:
        assert claim_payment(session.connection(), order.payment_id, settings=shop.settings) is not None

    resolve(shop, provider, order)
    assert provider.asked == []
    with clock.moved(timedelta(seconds=11)):
        resolve(shop, provider, order)

    assert provider.asked == ["charge"]
    assert shop.order(order.id).status == "paid"


def test_settled_payment_is_not_asked_about(shop: Shop) -> None:
    order, provider = shop.paid(), Provider()

    with clock.moved(AFTER_ANY_RETRY):
        resolve(shop, provider, order)

    assert provider.asked == []


def test_open_breaker_postpones_payments_and_refunds_without_an_attempt(shop: Shop) -> None:
    owed, unpaid = shop.paid(), shop.place()
    cancel(shop, owed.id)
    (refund,) = shop.refunds()
    breaker, provider = Breaker("gateway", failures=1, open_for=60), Provider()
    breaker.failed()
    work = resolution(shop, provider, breaker)

    asyncio.run(work.resolve(unpaid.payment_id))
    asyncio.run(work.refund(refund.id))

    assert provider.asked == []
    assert outcomes(shop) == []
    assert (shop.payment(unpaid.id).status, shop.payment(unpaid.id).attempts) == ("unknown", 0)
    assert [(one.status, one.attempts) for one in shop.refunds()] == [("pending", 0)]


@pytest.mark.parametrize("misses", [{"deaf": 2}, {"silent": 1}], ids=["unheard", "unanswered"])
def test_refund_is_asked_for_until_the_provider_answers_and_paid_once(shop: Shop, misses: dict[str, Any]) -> None:
    order, provider = shop.paid(), Provider(**misses)
    cancel(shop, order.id)

    pay_back(shop, provider, turns=5)

    (refund,) = shop.refunds()
    assert provider.refunded == {refund.id: PRICE}
    assert (refund.status, refund.provider_reference) == ("succeeded", f"re_{refund.id.hex}")


def test_refused_refund_is_not_counted_as_given_back(shop: Shop) -> None:
    order = shop.paid()
    cancel(shop, order.id)
    assert shop.payment(order.id).refunded == PRICE

    pay_back(shop, Provider(refuses=True), turns=2)

    assert [refund.status for refund in shop.refunds()] == ["failed"]
    assert shop.payment(order.id).refunded == 0


def test_rows_that_are_not_there_are_left_alone(shop: Shop) -> None:
    provider = Provider()

    asyncio.run(resolution(shop, provider).resolve(shop.user_id))
    asyncio.run(resolution(shop, provider).refund(shop.user_id))

    assert provider.asked == []
