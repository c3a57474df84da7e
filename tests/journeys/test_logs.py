"""One id leads through the logs of all processes: what the request began, the worker, the provider and the carrier go on with."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from sqlmodel import select

from orderkit.db import Database
from orderkit.events.models import OutboxEvent
from orderkit.orders.models import Order
from orderkit.payments.models import Refund
from tests.journeys.conftest import Reply, Shop, eventually
from tests.processes import Process, Processes

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OTHER_TRACE = "0af7651916cd43dd8448eb211c80319c"


@dataclass
class Run:
    """An order that was placed, shipped and refunded, and what all processes logged meanwhile."""

    order_id: str
    log: list[dict[str, Any]]
    processes: Processes
    files: list[str]

    def logs(self, *arguments: str) -> list[dict[str, Any]]:
        done = self.processes.run("logs", *arguments, *self.files, "--json")
        assert done.returncode == 0, done.stderr
        lines: list[dict[str, Any]] = json.loads(done.stdout)
        return lines


@pytest.fixture
def run(processes: Processes, request: pytest.FixtureRequest, database: Database) -> Run:
    processes.env |= {"ORDERKIT_LOG_FORMAT": "json"}
    shop: Shop = request.getfixturevalue("shop")
    apis: list[Process] = request.getfixturevalue("apis")
    worker: Process = request.getfixturevalue("worker")
    shop.make_product("TEA", stock=10)

    def sent(trace: str, request_id: str, how: Any) -> Reply:
        async def send(session: aiohttp.ClientSession, address: str) -> Reply:
            session.headers["traceparent"] = f"00-{trace}-00f067aa0ba902b7-01"
            session.headers["X-Request-ID"] = request_id
            reply: Reply = await how(session, address)
            return reply

        return shop.one(send)

    placed = sent(
        TRACE, "the-request", shop.order("one", [("TEA", 2)], method="pm_card_error_then_ok", postal_code="FAIL-2")
    )
    assert placed.status == 201, placed
    assert placed.headers["traceparent"].split("-")[1] == TRACE
    beside = sent(TRACE, "another-request", shop.order("two", [("TEA", 1)]))
    order_id = placed.body["id"]
    eventually(lambda: shop.get(f"/orders/{order_id}")["status"] == "shipped")
    eventually(lambda: shop.get(f"/orders/{beside.body['id']}")["status"] == "shipped")
    refund = shop.call("POST", f"/orders/{order_id}/refunds", body={"reason": "broken"}, key="back", who="admin")
    assert sent(OTHER_TRACE, "the-refund", refund).status == 201
    eventually(lambda: shop.get(f"/orders/{order_id}")["status"] == "refunded")
    eventually(lambda: '"event":"order.refunded"' in worker.output)
    with database.reading() as session:
        order = session.exec(select(Order).where(Order.id == UUID(placed.body["id"]))).one()
        assert order.traceparent is not None
        assert order.traceparent.split("-")[1] == TRACE
        assert [one.traceparent.split("-")[1] for one in session.exec(select(Refund)) if one.traceparent] == [
            OTHER_TRACE
        ]
        of_order = session.exec(select(OutboxEvent).where(OutboxEvent.order_id == order.id)).all()
    assert {one.type: str(one.traceparent).split("-")[1] for one in of_order} == {
        "order.paid": TRACE,
        "order.shipped": TRACE,
        "order.updated": OTHER_TRACE,
        "order.refund_succeeded": OTHER_TRACE,
        "order.refunded": OTHER_TRACE,
    }
    simulator = processes._all[0]
    logs = [simulator, *apis, worker]
    lines = [json.loads(line) for one in logs for line in one.output.splitlines()]
    return Run(order_id, lines, processes, [str(one.log) for one in logs])


def test_one_id_leads_through_the_logs_of_all_processes(run: Run) -> None:
    """One test, because what it looks at takes eight seconds to make."""
    the_request_s_id_tells_the_whole_journey(run)
    the_order_s_id_tells_the_same_and_a_trace_all_that_is_in_it(run)
    each_line_says_what_it_is_about(run)
    every_field_is_explained(run)


def every_field_is_explained(run: Run) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "logs.md").read_text(encoding="utf-8")
    fields = {one for row in re.findall(r"(?m)^\| (`.+?) \|", page) for one in re.findall(r"`(\w+)`", row)}
    assert {name for line in run.log for name in line} - fields == set()


def the_request_s_id_tells_the_whole_journey(run: Run) -> None:
    journey = run.logs("the-request")
    assert {line["process"] for line in journey} == {"api", "worker", "simulator"}
    assert all(line["at"] <= after["at"] for line, after in pairwise(journey))
    told = [(line["process"], line["message"]) for line in journey]
    charges = [("simulator", "gateway charge: server_error")] * 2 + [("simulator", "gateway charge: captured")]
    assert [one for one in told if one in charges] == charges
    bookings = [one for one in told if "book:" in one[1]]
    assert bookings.count(("simulator", "carrier book: server_error")) == 2
    assert bookings.count(("worker", "simulator book: failed")) == 2
    assert bookings[-2:] == [("simulator", "carrier book: booked"), ("worker", "simulator book: booked")]
    for one in (
        ("api", "POST /orders 201"),
        ("worker", "event order.paid relayed"),
        ("worker", "fulfillment succeeded"),
    ):
        assert told.count(one) == 1, told
    # Of the refund, which somebody asked for later and in another trace, what names the order.
    assert told.count(("api", "POST /orders/{order_id}/refunds 201")) == 1
    assert told.count(("worker", "simulator refund: refunded")) == 1
    assert "another-request" not in {line.get("request_id") for line in journey}, "another order of the same trace"


def the_order_s_id_tells_the_same_and_a_trace_all_that_is_in_it(run: Run) -> None:
    whole = run.logs(run.order_id)
    (placed,) = (line for line in whole if line["message"] == "POST /orders 201")
    (refund,) = {line["refund_id"] for line in whole if "refund_id" in line}
    (fulfillment,) = {line["fulfillment_id"] for line in whole if "fulfillment_id" in line}
    for one in ("the-request", "the-refund", str(placed["order_number"]), placed["payment_id"], refund, fulfillment):
        assert run.logs(one) == whole, one
    of_trace = run.logs(TRACE)
    assert {"the-request", "another-request"} <= {line.get("request_id") for line in of_trace}
    assert len({line["order_id"] for line in of_trace if "order_id" in line}) == 2
    refunded = run.logs(OTHER_TRACE)
    assert {line["process"] for line in refunded} == {"api", "worker", "simulator"}
    assert "gateway refund: refunded" in {line["message"] for line in refunded}


def each_line_says_what_it_is_about(run: Run) -> None:
    (placed,) = (
        line for line in run.log if line.get("request_id") == "the-request" and line["message"] == "POST /orders 201"
    )
    assert placed["order_id"] == run.order_id
    assert placed["user_id"]
    assert placed["trace_id"] == TRACE
    assert placed["status"] == 201
    assert placed["ms"] > 0
    charges = [
        line for line in run.log if line["message"].startswith("simulator charge") and line["order_id"] == run.order_id
    ]
    assert [(line["attempt"], line["outcome"]) for line in charges] == [(1, "unknown"), (2, "unknown"), (3, "captured")]
    for line in charges:
        assert (line["provider"], line["operation"], line["user_id"]) == ("simulator", "charge", placed["user_id"])
        assert line["ms"] >= 0
        (theirs,) = {
            one["trace_id"] for one in run.log if one["process"] == "simulator" and one.get("key") == line["key"]
        } - {OTHER_TRACE}
        assert theirs == TRACE
    (refunded,) = (line for line in run.log if line["message"] == "simulator refund: refunded")
    assert (refunded["order_id"], refunded["trace_id"]) == (run.order_id, OTHER_TRACE)
