"""Payments and refunds change as their tables say: whatever the provider says, in whichever status, makes no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest

from orderkit.db import Database
from orderkit.orders import refunds
from orderkit.orders.settlement import Settle, Settled, Settlement
from orderkit.payments.gateways import Captured, Declined, Refunded, RefundRefused, Unknown, Voided
from orderkit.payments.models import PAYMENT_TRANSITIONS, REFUND_TRANSITIONS, PaymentStatus, RefundStatus
from orderkit.settings import Settings
from tests.shop import Shop

pytestmark = pytest.mark.integration

OF_PAYMENTS = (Captured("ch_1"), Declined("card_declined"), Unknown("timeout"), Voided())
OF_REFUNDS = (Refunded("re_1"), RefundRefused("try_later"), Unknown("timeout"))


@pytest.fixture
def shop(database: Database, settings: Settings) -> Shop:
    return Shop(database, settings)


def changes(statuses: Sequence[str]) -> set[tuple[str, str]]:
    return {(before, after) for before, after in pairwise(statuses) if before != after}


def meant(table: Mapping[Any, frozenset[Any]]) -> set[tuple[str, str]]:
    return {(str(before), str(after)) for before, reached in table.items() for after in reached}


def test_payments_change_as_their_table_says_and_in_no_other_way(shop: Shop) -> None:
    made = set()
    for first in OF_PAYMENTS:
        for second in OF_PAYMENTS:
            order = shop.place()
            statuses = [shop.payment(order.id).status]
            for result in (first, second):
                (settled,) = Settlement(shop.database, shop.settings).settle([Settle(order.id, result)])
                assert isinstance(settled, Settled)
                statuses.append(shop.payment(order.id).status)
            made |= changes(statuses)
    assert made == meant(PAYMENT_TRANSITIONS)


def test_refunds_change_as_their_table_says_and_in_no_other_way(shop: Shop) -> None:
    made = set()
    for first in OF_REFUNDS:
        for second in OF_REFUNDS:
            order = shop.paid()
            with shop.database.transaction() as session:
                asked = refunds.request(session.connection(), order.id, reason="broken")
                due = refunds.claim(session.connection(), asked.id, settings=shop.settings)
            assert due is not None
            statuses = ["pending"]
            for result in (first, second):
                with shop.database.transaction() as session:
                    refunds.settle(session.connection(), due, result, [], settings=shop.settings)
                statuses += [one.status for one in shop.refunds() if one.id == asked.id]
            made |= changes(statuses)
    assert made == meant(REFUND_TRANSITIONS)


def test_every_status_has_its_row_in_the_table() -> None:
    assert set(PAYMENT_TRANSITIONS) == set(PaymentStatus)
    assert set(REFUND_TRANSITIONS) == set(RefundStatus)
