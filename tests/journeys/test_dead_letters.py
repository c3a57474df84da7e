"""A parcel that will not go: given up, looked at, retried or discarded."""

from __future__ import annotations

from collections import Counter

from tests.journeys.conftest import Shop, eventually
from tests.processes import Process


def test_a_fulfillment_that_always_fails_is_a_dead_letter_and_ships_once_when_retried_twice_after_healing(
    shop: Shop, worker: Process
) -> None:
    shop.make_product("TEA", stock=10)
    order = shop.one(shop.order("k", [("TEA", 1)], postal_code="FAIL-ALWAYS")).body
    [letter] = eventually(lambda: shop.get("/dead-letters", who="admin")["items"])
    assert (letter["order_id"], letter["attempts"]) == (order["id"], 5)
    assert shop.get(f"/orders/{order['id']}")["fulfillment"]["status"] == "dead"

    shop.heal()
    retry = shop.call("POST", f"/dead-letters/{letter['id']}/retry", who="admin")
    replies = shop.all_at_once([retry] * 10)
    assert Counter(reply.status for reply in replies) == {202: 10}
    eventually(lambda: shop.get(f"/orders/{order['id']}")["status"] == "shipped")
    assert [booking["order_id"] for booking in shop.ledger()["bookings"]] == [order["id"]]
    assert shop.get("/dead-letters", who="admin")["items"] == []


def test_a_discarded_dead_letter_gives_the_money_and_the_stock_back(shop: Shop, worker: Process) -> None:
    shop.make_product("TEA", stock=10)
    order = shop.one(shop.order("k", [("TEA", 3)], postal_code="FAIL-ALWAYS")).body
    [letter] = eventually(lambda: shop.get("/dead-letters", who="admin")["items"])
    reply = shop.one(shop.call("POST", f"/dead-letters/{letter['id']}/discard", who="admin"))
    assert reply.status == 202
    assert shop.get(f"/orders/{order['id']}")["status"] == "cancelled"
    assert shop.get("/products/TEA")["stock"] == 10
    [refund] = eventually(lambda: shop.ledger()["refunds"])
    assert (refund["amount"], refund["currency"]) == (1500, "GBP")


def test_a_dead_letter_does_not_exist_for_a_customer(shop: Shop) -> None:
    assert shop.one(shop.call("GET", "/dead-letters")).status == 403
