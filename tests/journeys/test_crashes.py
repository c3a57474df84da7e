"""Killed in the middle: whatever dies, one order, one capture, one shipment."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.journeys.conftest import Shop, eventually
from tests.processes import Process, Processes


def _order_that_gets_no_answer(shop: Shop, key: str) -> threading.Thread:
    def send() -> None:
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever a broken connection looks like
            shop.one(shop.order(key, [("TEA", 1)]))

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def _shipped(shop: Shop) -> Any:
    orders = shop.get("/orders")["items"]
    return orders if orders and all(order["status"] == "shipped" for order in orders) else None


def test_an_api_killed_between_charge_and_commit_leaves_one_order_that_is_paid_and_shipped_once(
    shop: Shop, apis: list[Process], processes: Processes
) -> None:
    shop.make_product("TEA", stock=10)
    shop.misbehave("gateway", "timeout_after", 1)  # captured, and the answer never comes
    thread = _order_that_gets_no_answer(shop, "killed")
    eventually(lambda: shop.ledger()["captures"])
    for api in apis:
        api.kill()
    thread.join()

    shop.addresses = [processes.start("serve", "--port", "0").address()]
    processes.start("worker").wait_for("the worker is up")
    [order] = eventually(lambda: _shipped(shop))
    again = shop.one(shop.order("killed", [("TEA", 1)]))
    assert (again.status, again.body["id"]) == (201, order["id"])
    assert "Idempotent-Replayed" in again.headers
    ledger = shop.ledger()
    assert [capture["key"] for capture in ledger["captures"]] == [order["payment"]["id"]]
    assert [(booking["order_id"], booking["status"]) for booking in ledger["bookings"]] == [(order["id"], "booked")]
    assert shop.get("/products/TEA")["stock"] == 9


def test_a_worker_killed_in_the_middle_of_a_booking_leaves_one_shipment(shop: Shop, processes: Processes) -> None:
    shop.make_product("TEA", stock=10)
    patient = {"ORDERKIT_CARRIER_TIMEOUT": "1.6"}
    worker = processes.start("worker", **patient)
    shop.misbehave("carrier", "timeout_after", 1)  # booked, and the answer never comes
    assert shop.one(shop.order("k", [("TEA", 1)])).status == 201
    eventually(lambda: shop.ledger()["bookings"])
    worker.kill()

    processes.start("worker", **patient)
    [order] = eventually(lambda: _shipped(shop))
    [booking] = shop.ledger()["bookings"]
    assert booking["order_id"] == order["id"]
    assert order["fulfillment"]["tracking_number"] == booking["reference"]


def test_timeouts_before_and_after_the_charge_are_paid_once_in_the_background(shop: Shop, worker: Process) -> None:
    shop.make_product("TEA", stock=10)
    methods = ("pm_card_timeout_before_charge", "pm_card_timeout_after_charge")
    replies = shop.all_at_once([shop.order(method, [("TEA", 1)], method=method) for method in methods])
    assert [(reply.status, reply.body["status"]) for reply in replies] == [(202, "pending")] * 2
    eventually(lambda: _shipped(shop))
    keys = [capture["key"] for capture in shop.ledger()["captures"]]
    assert sorted(keys) == sorted(reply.body["payment"]["id"] for reply in replies)


def test_an_order_placed_while_the_provider_is_down_is_pending_and_paid_when_it_is_back(
    shop: Shop, worker: Process
) -> None:
    shop.make_product("TEA", stock=10)
    shop.misbehave("gateway", "down", 1000)
    reply = shop.one(shop.order("k", [("TEA", 1)]))
    assert (reply.status, reply.body["status"]) == (202, "pending")
    shop.heal()
    eventually(lambda: _shipped(shop))
    assert len(shop.ledger()["captures"]) == 1
