"""Orders: placed once, charged once, changed by whoever may, and refused without a trace."""

from __future__ import annotations

import asyncio
from collections import Counter

from orderkit.ids import new_id
from orderkit.print_pack.checks.checking import Check, expect, same
from orderkit.print_pack.checks.site import PRICE, Live, Site

AT_ONCE = 12
BUYERS = 5
"""Of the last two pieces."""


async def _create(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    reply = await live.order(who, quantity=2, expected_total=2 * PRICE)
    same(reply.status, 201, "an order")
    body = reply.body
    same((body["status"], body["total"], body["payment"]["status"]), ("paid", 2 * PRICE, "captured"), "the order")
    expect(reply.headers.get("Location", "").endswith(body["id"]), "Location does not lead to the order")
    same(reply.headers.get("ETag"), f'"{body["version"]}"', "ETag")
    same(await live.captures(body["payment"]["id"]), 1, "captures in the provider's ledger")
    return "201 with Location and ETag; paid, and captured once by the provider's ledger"


async def _same_key(site: Site) -> str:
    live, who, key = site.live, await site.live.customer(), new_id().hex
    first, again = await live.order(who, key), await live.order(who, key)
    same((first.status, again.status), (201, 201), "an order and its repeat")
    same(again.body, first.body, "what the repeat is answered")
    same(again.headers.get("Idempotent-Replayed"), "true", "Idempotent-Replayed of the repeat")
    other = await live.order(who, key, quantity=3)
    same((other.status, other.code), (422, "idempotency_key_reused"), "another request under the key")
    missing = await live.order(who, headers={"Idempotency-Key": ""})
    same(missing.status, 400, "an order without a key")
    same(await live.captures(first.body["payment"]["id"]), 1, "captures in the provider's ledger")
    return "the first answer again, one capture; another request under the key is 422, none at all 400"


async def _same_key_at_once(site: Site) -> str:
    live, who, key = site.live, await site.live.customer(), new_id().hex
    sku = await _shelf(live, stock=100)
    replies = await asyncio.gather(*(live.order(who, key, sku=sku) for _ in range(AT_ONCE)))
    told = Counter(reply.status for reply in replies)
    expect(set(told) <= {201, 409}, f"answers {dict(told)}, of which only 201 and 409 are right")
    last = await live.order(who, key, sku=sku)
    orders = {reply.body["id"] for reply in (*replies, last) if reply.status == 201}
    same(len(orders), 1, "orders made by one key")
    same(await live.captures(last.body["payment"]["id"]), 1, "captures in the provider's ledger")
    same(await _stock(live, sku), 99, "stock after one piece was sold of 100")
    return f"{AT_ONCE} requests at once: one order, one capture, one piece less in stock"


async def _unknown(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    reply = await live.order(who, method="pm_card_timeout_after_charge")
    same((reply.status, reply.body["status"]), (202, "pending"), "an order whose charge is not answered")
    await live.until(reply.body["id"], who, "paid", "shipped")
    same(await live.captures(reply.body["payment"]["id"]), 1, "captures in the provider's ledger")
    return "202, then paid by the worker under the same key: one capture"


async def _declined(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    sku = await _shelf(live, stock=5)
    reply = await live.order(who, method="pm_card_declined", sku=sku)
    same((reply.status, reply.code), (402, "payment_declined"), "an order whose card is declined")
    [kept] = (await live.must(200, "GET", "/orders?status=payment_failed", who)).body["items"]
    same(await _stock(live, sku), 5, "stock after a declined order")
    return f"402; the order is kept as {kept['status']}, its stock given back"


async def _refused(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    sku = await _shelf(live, stock=2)
    unknown = await live.order(who, sku="NO-SUCH")
    same((unknown.status, unknown.body["errors"][0]["pointer"][:8]), (422, "#/items/"), "an unknown SKU")
    dearer = await live.order(who, sku=sku, expected_total=1)
    same((dearer.status, dearer.code), (409, "price_changed"), "an order that expects another total")
    key = new_id().hex
    none = await live.order(who, key, sku=sku, quantity=3)
    same((none.status, none.code), (409, "out_of_stock"), "three pieces of two")
    same((await live.must(200, "GET", "/orders", who)).body["items"], [], "orders kept of what was refused")
    same((await live.order(who, key, sku=sku)).status, 201, "the key of a refused order, used again")
    return "422 with a pointer, 409 price_changed, 409 out_of_stock; nothing kept, and the key is free again"


async def _oversold(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    sku = await _shelf(live, stock=2)
    replies = await asyncio.gather(*(live.order(who, sku=sku) for _ in range(BUYERS)))
    same(sorted(reply.status for reply in replies), [201, 201, 409, 409, 409], "answers to five buyers of two pieces")
    same(await _stock(live, sku), 0, "stock")
    return f"{BUYERS} buyers of the last two pieces at once: two are sold"


async def _status_update(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    order = await live.paid(who, postal_code="FAIL-ALWAYS")
    path, seen = f"/orders/{order['id']}", {"If-Match": "*"}
    await live.must(428, "PATCH", path, live.staff, body={"status": "cancelled"})
    stale = {"If-Match": f'"{order["version"] + 40}"'}
    await live.must(412, "PATCH", path, live.staff, body={"status": "cancelled"}, headers=stale)
    await live.must(409, "PATCH", path, live.staff, body={"status": "paid"}, headers=seen)
    await live.must(403, "PATCH", path, who, body={"status": "cancelled"}, headers=seen)
    changed = (await live.must(200, "PATCH", path, live.staff, body={"status": "cancelled"}, headers=seen)).body
    rows = await live.rows(
        "SELECT o.version, count(h.version) AS told FROM orders o JOIN order_history h ON h.order_id = o.id"
        " WHERE o.number = :number GROUP BY o.version",
        number=changed["number"],
    )
    same(rows[0].told, rows[0].version, "rows of history of an order of that version")
    return "428 without If-Match, 412 for a stale one, 409 off the arrows; each change has its row of history"


async def _fetch(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    order = await live.paid(who)
    reply = await live.must(200, "GET", f"/orders/{order['id']}", who)
    same((reply.body["id"], reply.body["total"]), (order["id"], order["total"]), "the order")
    same(reply.headers.get("ETag"), f'"{reply.body["version"]}"', "ETag")
    await live.must(404, "GET", f"/orders/{new_id()}", who)
    return "200 with its ETag; 404 where there is none"


async def _list(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    placed = [(await live.paid(who, quantity=n))["id"] for n in range(1, 6)]
    await live.order(who, method="pm_card_declined")
    seen, cursor = [], ""
    for _ in range(4):
        page = (await live.must(200, "GET", f"/orders?limit=2{cursor and '&cursor=' + cursor}", who)).body
        seen += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"] or ""
        if not cursor:
            break
    same(seen[1:], placed[::-1], "the orders of all pages, newest first")
    failed = (await live.must(200, "GET", "/orders?status=payment_failed", who)).body["items"]
    same([one["id"] for one in failed], seen[:1], "orders by status")
    dear = (await live.must(200, "GET", f"/orders?min_total={4 * PRICE}&sort=total&order=asc", who)).body["items"]
    same([one["total"] for one in dear], [4 * PRICE, 5 * PRICE], "orders by total")
    await live.must(422, "GET", "/orders?limit=101", who)
    await live.must(400, "GET", "/orders?cursor=edited", who)
    return "pages by cursor neither skip nor repeat; filters by status and total; a limit of 101 is 422"


async def _cancel(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    sku = await _shelf(live, stock=4)
    order = await live.paid(who, sku=sku, quantity=3, postal_code="FAIL-ALWAYS")
    cancelled = (await live.must(200, "POST", f"/orders/{order['id']}/cancel", who, body={"reason": "changed"})).body
    same((cancelled["status"], await _stock(live, sku)), ("cancelled", 4), "status and stock")
    async with asyncio.timeout(20):
        while True:
            if await _refunded(live, order["payment"]["provider_reference"]) == order["total"]:
                break
            await asyncio.sleep(0.15)
    return "stock is back at once, and the provider's ledger has the refund"


async def _timeline(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    order = await live.paid(who)
    await live.until(order["id"], who, "shipped")
    story = (await live.must(200, "GET", f"/orders/{order['id']}/timeline", who)).body["items"]
    kinds = Counter(one["kind"] for one in story)
    expect({"status", "payment_attempt", "fulfillment_attempt"} <= kinds.keys(), f"it tells of {', '.join(kinds)} only")
    expect([one["at"] for one in story] == sorted(one["at"] for one in story), "it is not in order of time")
    return "every status, each call to provider and carrier, in order of time, in sentences"


async def _refunded(live: Live, reference: str) -> int:
    ledger = (await live.must(200, "GET", f"{live.simulator}/ledger")).body
    return sum(entry["amount"] for entry in ledger["refunds"] if entry["charge"] == reference)


async def _shelf(live: Live, *, stock: int) -> str:
    """A product that nobody else buys."""
    sku = f"CHECK-{new_id().hex[-12:].upper()}"
    await live.product(sku, stock=stock)
    return sku


async def _stock(live: Live, sku: str) -> int:
    return int((await live.must(200, "GET", f"/products/{sku}")).body["stock"])


CHECKS = (
    Check(
        "orders.create",
        "An order is priced, charged once and answered 201.",
        _create,
        (
            "orderkit/api/orders.py",
            "orderkit/orders/placement.py",
            "tests/api/test_orders.py::test_a_paid_order_answers_201_with_all_its_members",
        ),
    ),
    Check(
        "orders.same_key",
        "The same key gets the first answer again, and is charged once.",
        _same_key,
        ("orderkit/idempotency.py", "tests/api/test_orders.py::test_a_replayed_key_returns_the_first_response"),
    ),
    Check(
        "orders.same_key_at_once",
        "The same key at once, a dozen times, is one order and one charge.",
        _same_key_at_once,
        ("orderkit/idempotency.py", "tests/api/test_orders.py::test_fifty_at_once_with_one_key_are_one_order"),
    ),
    Check(
        "orders.unknown",
        "A charge without an answer is settled later, and never made twice.",
        _unknown,
        (
            "orderkit/orders/resolution.py",
            "tests/api/test_orders.py::test_an_order_whose_charge_is_unknown_answers_202",
        ),
    ),
    Check(
        "orders.declined",
        "A declined card is 402 and gives the stock back.",
        _declined,
        (
            "orderkit/orders/settlement.py",
            "tests/api/test_orders.py::test_a_declined_order_answers_402_and_is_kept_without_its_stock",
        ),
    ),
    Check(
        "orders.refused",
        "What cannot be ordered keeps nothing and says why.",
        _refused,
        (
            "orderkit/orders/pricing.py",
            "tests/api/test_orders.py::test_what_cannot_be_ordered_is_422_with_a_pointer_and_keeps_nothing",
        ),
    ),
    Check(
        "orders.oversold",
        "The last pieces are sold once, however many ask at once.",
        _oversold,
        ("orderkit/inventory/stock.py", "tests/orders/test_races.py"),
    ),
    Check(
        "orders.status_update",
        "A status changes in one transaction, along the arrows, for the version that was seen.",
        _status_update,
        (
            "orderkit/orders/states.py",
            "orderkit/orders/changes.py",
            "tests/api/test_order_changes.py::test_a_change_of_another_version_is_refused_before_it_is_looked_at",
        ),
    ),
    Check(
        "orders.fetch",
        "One order is fetched with its ETag.",
        _fetch,
        (
            "orderkit/orders/reading.py",
            "tests/api/test_orders.py::test_an_order_is_shown_to_its_owner_and_to_staff_and_to_nobody_else",
        ),
    ),
    Check(
        "orders.list",
        "Lists are paged by cursor, filtered and bounded.",
        _list,
        (
            "orderkit/api/order_filters.py",
            "orderkit/api/pagination.py",
            "tests/api/test_orders.py::test_pages_neither_skip_nor_repeat",
        ),
    ),
    Check(
        "orders.cancel",
        "A cancelled order gives stock and money back.",
        _cancel,
        (
            "orderkit/orders/cancellation.py",
            "tests/api/test_order_changes.py::test_the_owner_cancels_before_shipment_and_hears_the_same_again",
        ),
    ),
    Check(
        "orders.timeline",
        "An order tells its whole story, call by call.",
        _timeline,
        ("orderkit/api/timeline.py", "tests/api/test_timeline.py"),
    ),
)
