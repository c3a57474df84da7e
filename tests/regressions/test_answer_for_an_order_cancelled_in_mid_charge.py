"""Whoever placed an order that was cancelled while the provider was asked heard "the payment was declined; the order is kept as
payment_failed", and so did every repeat of the key: of a payment that nobody had declined, and an order that was cancelled.
"""

from __future__ import annotations

import json

import pytest

from orderkit.api import answers
from orderkit.db import Database
from orderkit.orders import cancellation
from orderkit.orders.settlement import Settle, Settled, Settlement
from orderkit.payments.gateways import Captured, ChargeResult, Declined, Voided, VoidResult
from orderkit.settings import Settings
from tests.shop import Shop


@pytest.fixture
def shop(database: Database, settings: Settings) -> Shop:
    return Shop(database, settings)


def told(
    shop: Shop, result: ChargeResult | VoidResult, *, cancelled: bool, by_another: bool = True
) -> tuple[int, dict[str, object]]:
    """Status and body of the answer that is stored for the key when the provider has said `result`, to `another` or not."""
    order = shop.place()
    if cancelled:
        with shop.database.transaction() as session:
            cancellation.cancel(session.connection(), order.id)
    settlement = Settlement(shop.database, shop.settings)
    if by_another:
        settlement.settle([Settle(order.id, result)])
    [settled] = settlement.settle(
        [Settle(order.id, None if by_another else result, answer=lambda one: answers.placed(one, "r-1"))]
    )
    assert isinstance(settled, Settled)
    assert settled.answer is not None
    return settled.answer.status, json.loads(settled.answer.body)


@pytest.mark.parametrize(
    ("result", "cancelled", "status_now", "said"),
    [
        (Declined("no"), False, "payment_failed", "the payment was declined; the order is kept as payment_failed"),
        (Voided(), False, "payment_failed", "the payment was never confirmed, and was voided; the order is kept as"),
        (Declined("no"), True, "cancelled", "the payment was declined; the order had been cancelled meanwhile"),
        (Voided(), True, "cancelled", "the order was cancelled before it was paid, and the payment was voided"),
    ],
    ids=["declined", "voided", "cancelled, then declined", "cancelled, then voided"],
)
def test_an_order_that_was_not_paid_says_what_became_of_it(
    shop: Shop, result: Declined | Voided, cancelled: bool, status_now: str, said: str
) -> None:
    status, body = told(shop, result, cancelled=cancelled)
    assert (status, body["code"], body["order_status"]) == (402, "payment_declined", status_now)
    assert str(body["detail"]).startswith(said)
    assert ("payment_failed" in str(body["detail"])) == (status_now == "payment_failed")


@pytest.mark.parametrize("by_another", [True, False], ids=["settled by another", "settled by the request"])
def test_an_order_that_was_charged_all_the_same_is_told_as_cancelled_and_paid_back(
    shop: Shop, by_another: bool
) -> None:
    status, body = told(shop, Captured("ch_1"), cancelled=True, by_another=by_another)
    payment = body["payment"]
    assert isinstance(payment, dict)
    assert (status, body["status"], payment["status"]) == (201, "cancelled", "captured")
    assert payment["refunded"] == body["total"]
