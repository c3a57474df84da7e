"""Money that goes back: the provider's books and ours agree, whoever is killed and whatever the provider does."""

from __future__ import annotations

from collections import Counter

from tests.journeys.conftest import Shop, eventually
from tests.processes import Process, Processes


def test_refunds_reach_the_provider_once_although_it_fails_and_workers_die(
    shop: Shop, worker: Process, processes: Processes
) -> None:
    shop.make_product("TEA", stock=10)
    order = shop.one(shop.order("k", [("TEA", 4)])).body
    path = f"/orders/{order['id']}"
    eventually(lambda: shop.get(path)["status"] == "shipped")
    worker.kill()

    shop.misbehave("gateway", "timeout_after", 1)
    shop.misbehave("gateway", "error", 1)
    asked = [
        shop.call("POST", f"{path}/refunds", body={"amount": 300, "reason": "late"}, key=f"r{n % 10}", who="admin")
        for n in range(20)
    ]
    replies = shop.all_at_once(asked)
    made = {reply.body["id"] for reply in replies if reply.status == 201}
    assert len(made) == 6  # 2,000 were captured
    assert {reply.status for reply in replies} == {201, 409}
    assert [one["status"] for one in shop.get(f"{path}/refunds", who="customer")["items"]] == ["pending"] * 6
    assert shop.ledger()["refunds"] == []

    processes.start("worker").wait_for("the worker is up")
    rest = {"reason": "broken", "restock": True}
    last = shop.one(shop.call("POST", f"{path}/refunds", body=rest, key="rest", who="admin"))
    assert (last.status, last.body["amount"]) == (201, 200)
    eventually(lambda: shop.get(path)["status"] == "refunded")

    ledger = shop.ledger()
    assert {one["key"]: one["amount"] for one in ledger["refunds"]} == dict.fromkeys(made, 300) | {last.body["id"]: 200}
    assert sum(one["amount"] for one in ledger["refunds"]) == sum(one["amount"] for one in ledger["captures"]) == 2000
    kept = shop.get(f"{path}/refunds")["items"]
    assert Counter(one["status"] for one in kept) == {"succeeded": 7}
    assert shop.get("/products/TEA")["stock"] == 10
