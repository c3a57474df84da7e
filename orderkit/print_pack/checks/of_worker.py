"""What happens after the answer: parcels are booked, tried again, given up and revived, and all books agree in the end."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from orderkit.db import Database
from orderkit.demo.evidence import Facts, Ledger, read_facts, read_ledger
from orderkit.print_pack.checks.checking import Check, Fails, expect, same
from orderkit.print_pack.checks.site import Live, Person, Site

SETTLED_WITHIN_S = 20.0


async def _ships(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    order = await live.paid(who)
    shipped = await live.until(order["id"], who, "shipped")
    same(await _booked(live, order["id"]), ["booked"], "bookings in the carrier's ledger")
    expect(shipped["fulfillment"]["tracking_number"], "it is shipped without a tracking number")
    return "shipped with a tracking number, booked once by the carrier's ledger"


async def _retries(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    order = await live.paid(who, postal_code="FAIL-2")
    await live.until(order["id"], who, "shipped")
    tried = await _attempts(live, who, order["id"])
    expect(tried >= 3, f"{tried} attempts, where two must fail")
    same(await _booked(live, order["id"]), ["booked"], "bookings in the carrier's ledger")
    return "two bookings fail, the third ships; booked once by the carrier's ledger"


async def _attempts(live: Live, who: Person, order_id: str) -> int:
    story = (await live.must(200, "GET", f"/orders/{order_id}/timeline", who)).body["items"]
    return sum(one["kind"] == "fulfillment_attempt" for one in story)


async def _dead_letter(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    order = await live.paid(who, postal_code="FAIL-ALWAYS")
    letter = await _letter(live, order["id"])
    await live.must(202, "POST", f"/dead-letters/{letter['id']}/discard", live.staff)
    cancelled = await live.until(order["id"], who, "cancelled")
    same(cancelled["payment"]["refunded"], order["total"], "what was promised back")
    return f"given up after {letter['attempts']} attempts; discarded, it is cancelled and paid back"


async def _delivered(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    order = await live.paid(who)
    shipped = await live.until(order["id"], who, "shipped")
    number = shipped["fulfillment"]["tracking_number"]
    forged = await _report(live, number, forge=True)
    expect(forged == [401] or forged == [400], f"a forged report was answered {forged}")
    same((await live.must(200, "GET", f"/orders/{order['id']}", who)).body["status"], "shipped", "the order after it")
    same(await _report(live, number), [200], "what a signed report is answered")
    await live.until(order["id"], who, "delivered")
    return "delivered on the carrier's signed word; a forged one changes nothing"


async def _report(live: Live, number: str, **how: object) -> list[int]:
    body = {"tracking_number": number, **how}
    told = (await live.must(200, "POST", f"{live.simulator}/deliveries", body=body)).body
    return [one["status"] for one in told["reports"]]


async def _events(site: Site) -> str:
    live = site.live
    gaps = await live.rows(
        "SELECT order_id FROM outbox WHERE order_id IS NOT NULL"
        " GROUP BY order_id HAVING count(*) <> count(DISTINCT sequence) OR count(*) > max(sequence)"
    )
    expect(not gaps, f"{len(gaps)} orders have an event twice")
    ends = asyncio.get_running_loop().time() + SETTLED_WITHIN_S
    while unsent := (await live.rows("SELECT count(*) AS events FROM outbox WHERE sent_at IS NULL"))[0].events:
        expect(asyncio.get_running_loop().time() < ends, f"{unsent} events are not sent after {SETTLED_WITHIN_S:g} s")
        await asyncio.sleep(0.2)
    return "each event once and in the order of its order's versions, all sent"


async def _letter(live: Live, order_id: str) -> Any:
    async with asyncio.timeout(20):
        while True:
            for letter in (await live.must(200, "GET", "/dead-letters?limit=100", live.staff)).body["items"]:
                if letter["order_id"] == order_id:
                    return letter
            await asyncio.sleep(0.2)


async def _booked(live: Live, order_id: str) -> list[str]:
    ledger = (await live.must(200, "GET", f"{live.simulator}/ledger")).body
    return [entry["status"] for entry in ledger["bookings"] if entry["order_id"] == order_id]


async def _books(site: Site) -> str:
    live, ends = site.live, asyncio.get_running_loop().time() + SETTLED_WITHIN_S
    while True:
        ledger = read_ledger((await live.must(200, "GET", f"{live.simulator}/ledger")).body)
        facts = await asyncio.to_thread(_facts, live)
        wrong = disagreement(facts, ledger)
        if not wrong and not facts.under_way:
            return "every capture and refund is in both books, none twice, and no piece was sold that was not there"
        if asyncio.get_running_loop().time() > ends:
            raise Fails(wrong or f"{facts.under_way} things are still to be done after {SETTLED_WITHIN_S:g} s")
        await asyncio.sleep(0.3)


def _facts(live: Live) -> Facts:
    database = Database(live.settings)
    try:
        return read_facts(database)
    finally:
        database.dispose()


def disagreement(facts: Facts, ledger: Ledger) -> str:
    """What the database and the provider do not agree on, or "". Money that the provider took twice is named first."""
    twice = [key for key, times in Counter(entry.key for entry in ledger.captures).items() if times > 1]
    if twice:
        return f"the provider took money twice under {twice[0]}"
    # A past that was seeded has refunds that no provider knows, and they have no reference.
    asked_for = [refund for refund in facts.refunds if refund.reference]
    for what, here, there in (("captures", facts.captures, ledger.captures), ("refunds", asked_for, ledger.refunds)):
        if Counter(here) != Counter(there):
            only_here, only_there = Counter(here) - Counter(there), Counter(there) - Counter(here)
            return f"{what}: {only_here.total()} only in the database, {only_there.total()} only at the provider"
    for stock in facts.stock:
        if stock.left < 0:
            return f"{stock.sku} was sold {-stock.left} times more than there were"
    return ""


CHECKS = (
    Check(
        "worker.ships",
        "A paid order is shipped in the background, and booked once.",
        _ships,
        (
            "orderkit/worker/due.py",
            "orderkit/fulfillment/shipping.py",
            "tests/fulfillment/test_shipping.py::test_booked_parcel_ships_its_order_with_history_event_and_tracking_number",
        ),
    ),
    Check(
        "worker.retries",
        "A failed booking is tried again, and shipped once.",
        _retries,
        (
            "orderkit/retry.py",
            "tests/fulfillment/test_shipping.py::test_failed_booking_is_retried_within_the_backoff",
        ),
    ),
    Check(
        "worker.dead_letter",
        "A parcel that always fails becomes a dead letter, and money goes back.",
        _dead_letter,
        (
            "orderkit/fulfillment/dead_letters.py",
            "tests/journeys/test_dead_letters.py::test_a_discarded_dead_letter_gives_the_money_and_the_stock_back",
        ),
    ),
    Check(
        "worker.delivered",
        "A parcel is delivered on the carrier's signed word alone.",
        _delivered,
        ("orderkit/api/webhooks.py", "orderkit/webhook_signatures.py", "tests/api/test_webhooks.py"),
    ),
    Check(
        "worker.events",
        "Events leave by an outbox: each once, in order, none lost.",
        _events,
        ("orderkit/events/outbox.py", "orderkit/worker/relay.py", "tests/worker/test_relay.py"),
        alone=True,
        within_s=SETTLED_WITHIN_S + 5,
    ),
    Check(
        "worker.books",
        "When all is settled, database and provider agree on every payment.",
        _books,
        ("orderkit/demo/verdict.py", "tests/journeys/test_crashes.py", "tests/demo/test_verdict.py"),
        alone=True,
        within_s=SETTLED_WITHIN_S + 5,
    ),
)
