"""Many at once, over HTTP, with a provider that keeps books of its own."""

from __future__ import annotations

from collections import Counter

from tests.journeys.conftest import Shop


def test_fifty_posts_with_one_key_are_one_order_and_one_capture(shop: Shop) -> None:
    shop.make_product("TEA", stock=100)
    replies = shop.all_at_once([shop.order("one-key", [("TEA", 2)], method="pm_card_timeout_after_charge")] * 25)
    replies += shop.all_at_once([shop.order("one-key", [("TEA", 2)], method="pm_card_timeout_after_charge")] * 25)
    assert {reply.status for reply in replies} <= {201, 202, 409}
    assert {reply.body["code"] for reply in replies if reply.status == 409} <= {"idempotency_key_in_use"}
    orders = {reply.body["id"] for reply in replies if reply.status in (201, 202)}
    assert len(orders) == 1
    assert len(shop.ledger()["captures"]) == 1
    assert len(shop.get("/orders")["items"]) == 1
    assert shop.get("/products/TEA")["stock"] == 98


def test_fifty_quick_posts_with_one_key_all_get_the_first_answer_or_wait(shop: Shop) -> None:
    shop.make_product("TEA", stock=100)
    replies = shop.all_at_once([shop.order("one-key", [("TEA", 2)])] * 50)
    first = [reply for reply in replies if reply.status == 201 and "Idempotent-Replayed" not in reply.headers]
    replayed = [reply for reply in replies if "Idempotent-Replayed" in reply.headers]
    in_use = [reply for reply in replies if reply.status == 409]
    assert len(first) == 1
    assert len(first) + len(replayed) + len(in_use) == 50
    assert all(reply.body == first[0].body for reply in replayed)
    assert all("Retry-After" in reply.headers for reply in in_use)
    [capture] = shop.ledger()["captures"]
    assert (capture["key"], capture["amount"]) == (first[0].body["payment"]["id"], 1000)


def test_a_hundred_buyers_of_the_last_item_are_one_order_and_ninety_nine_refusals(shop: Shop) -> None:
    shop.make_product("LAST", stock=1)
    replies = shop.all_at_once([shop.order(f"buyer-{number}", [("LAST", 1)]) for number in range(100)])
    assert Counter(reply.status for reply in replies) == {201: 1, 409: 99}
    refused = [reply.body for reply in replies if reply.status == 409]
    assert {(body["code"], tuple(body["skus"])) for body in refused} == {("out_of_stock", ("LAST",))}
    assert shop.get("/products/LAST")["stock"] == 0
    assert len(shop.ledger()["captures"]) == 1


def test_orders_of_a_b_and_b_a_at_once_never_deadlock(shop: Shop) -> None:
    shop.make_product("A", stock=1000)
    shop.make_product("B", stock=1000)
    wanted = ([("A", 1), ("B", 1)], [("B", 1), ("A", 1)])
    replies = shop.all_at_once([shop.order(f"pair-{number}", wanted[number % 2]) for number in range(200)])
    assert Counter(reply.status for reply in replies) == {201: 200}
    assert shop.get("/products/A")["stock"] == shop.get("/products/B")["stock"] == 800
