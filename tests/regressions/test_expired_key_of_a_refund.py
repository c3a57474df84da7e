"""A key that had made a refund and was too old sent whoever ordered under it to an order that there was not.

And once it was forgotten, which the worker does after 30 days, the same request for a refund paid back once more.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from orderkit import clock, idempotency
from orderkit.db import Database
from orderkit.errors import KeyExpired
from orderkit.idempotency import Answer, Replay
from orderkit.ids import new_id
from orderkit.orders import refund_requests
from orderkit.orders.placement import Placement, PlaceOrder
from orderkit.orders.pricing import Line
from orderkit.orders.refund_requests import RequestRefund
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.settings import Settings
from tests.shop import PRICE, SKU, Shop

OLD = timedelta(days=31)
FOREVER = timedelta(days=4000)


@pytest.fixture
def shop(database: Database, settings: Settings) -> Shop:
    return Shop(database, settings)


def refund(shop: Shop, order_id: UUID, key: str, amount: int = 1) -> Replay:
    wanted = RequestRefund(new_id(), order_id, shop.user_id, key, f"refund {amount}", "late", amount=amount)
    return refund_requests.carry_out(shop.database, shop.settings, wanted, lambda made: Answer(201, str(made.id)))


def order(shop: Shop, key: str) -> object:
    wanted = PlaceOrder(new_id(), shop.user_id, key, "order", (Line(SKU, 1),), "pm_card_visa")
    [outcome] = Placement(shop.database, shop.settings).place([wanted])
    return outcome


def forget(database: Database) -> None:
    """As the worker does, on the clock of the moment."""
    with database.transaction() as session:
        idempotency.forget(session.connection(), before=clock.now())


def test_an_order_under_an_old_key_of_a_refund_is_sent_nowhere(shop: Shop) -> None:
    refund(shop, shop.paid().id, "k")
    with clock.moved(OLD):
        refused = order(shop, "k")
    assert isinstance(refused, KeyExpired)
    assert refused.headers == {}


def test_an_order_under_an_old_key_of_another_order_is_still_sent_to_that(shop: Shop) -> None:
    placed = shop.place()
    with clock.moved(OLD):
        refused = order(shop, placed.idempotency_key)
    assert isinstance(refused, KeyExpired)
    assert refused.headers == {"Location": f"/orders/{placed.id}"}


@pytest.mark.parametrize("amount", [1, 2, PRICE + 1])
def test_a_refund_is_not_paid_again_when_its_key_has_been_forgotten(shop: Shop, amount: int) -> None:
    paid = shop.paid()
    made = refund(shop, paid.id, "k")
    with clock.moved(FOREVER):
        forget(shop.database)
        with pytest.raises(KeyExpired) as refused:
            refund(shop, paid.id, "k", amount)
        assert refund(shop, paid.id, "another").replayed is False
    assert refused.value.headers == {"Location": f"/orders/{paid.id}/refunds/{made.resource_id}"}
    assert shop.payment(paid.id).refunded == 2


def test_a_forgotten_key_of_a_refund_is_free_for_an_order(shop: Shop) -> None:
    refund(shop, shop.paid().id, "k")
    with clock.moved(FOREVER):
        forget(shop.database)
        assert isinstance(order(shop, "k"), OrderSnapshot)
