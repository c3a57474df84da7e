"""Reports: by day, by user and by status, within dates, and what they cost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from orderkit.ids import new_id
from orderkit.print_pack.checks.checking import Check, Fails, expect, same
from orderkit.print_pack.checks.of_database import planned
from orderkit.print_pack.checks.site import PRICE, Live, Person, Site

CURRENT_WITHIN_S = 20.0
DAYS, BUYERS = "JPY", "TWD"
"""Currencies that nothing else here is sold in, so that a report of one has what its check bought and nothing else."""


async def _per_day(site: Site) -> str:
    live = site.live
    _who, sku = await _bought(live, DAYS, (1, 2))

    async def right() -> str:
        report = await _report(live, f"orders-per-day?currency={DAYS}")
        same([(day["orders"], day["gross"]) for day in report["items"]], [(2, 3 * PRICE)], f"the days of {sku}")
        return f"two orders of one day, gross {3 * PRICE} {DAYS}, as they were placed"

    return await _soon(right)


async def _by_user(site: Site) -> str:
    live = site.live
    (one, sku), two = await _bought(live, BUYERS, (1,)), await live.customer("second")
    await live.paid(two, sku=sku, quantity=4)

    async def right() -> str:
        items = (await _report(live, f"revenue-by-user?currency={BUYERS}"))["items"]
        found = [(item["user_id"], item["net"]) for item in items]
        same(found, [(two.id, 4 * PRICE), (one.id, PRICE)], "users by revenue")
        return "by net revenue, highest first, as it was placed"

    return await _soon(right)


async def _statuses(site: Site) -> str:
    live = site.live

    async def right() -> str:
        rows = await live.rows("SELECT status, count(*) AS orders FROM orders GROUP BY status")
        kept = {row.status: row.orders for row in rows}
        items = (await _report(live, "status-counts"))["items"]
        told = {item["status"]: item["orders"] for item in items if item["orders"]}
        same(told, kept, "orders by status")
        return "as counted in the table of orders"

    return await _soon(right)


async def _range(site: Site) -> str:
    live = site.live
    nothing = await _report(live, "orders-per-day?from=2001-01-01&to=2001-02-01")
    same(nothing["items"], [], "the days of a month without orders")
    reversed_ = await live.must(422, "GET", "/analytics/orders-per-day?from=2026-02-01&to=2026-01-01", live.staff)
    expect(reversed_.body["errors"], "a reversed range is refused without a pointer")
    await live.must(422, "GET", "/analytics/orders-per-day?tz=Mars/Base", live.staff)
    return "half open; a reversed range and an unknown zone are 422"


async def _indexes(site: Site) -> str:
    return await planned(site, lambda name: name.startswith("reports."))


async def _command(site: Site) -> str:
    ran = await site.live.command("report", "status", "--format", "csv")
    same(ran.code, 0, "the exit code of orderkit report status")
    expect(ran.out.startswith("status,"), f"no CSV: {ran.out[:40]!r}")
    return "orderkit report status --format csv"


async def _bought(live: Live, currency: str, quantities: tuple[int, ...]) -> tuple[Person, str]:
    sku = f"CHECK-{new_id().hex[-12:].upper()}"
    await live.product(sku, currency=currency)
    who = await live.customer()
    for quantity in quantities:
        await live.paid(who, sku=sku, quantity=quantity)
    return who, sku


async def _report(live: Live, path: str) -> Any:
    return (await live.must(200, "GET", f"/analytics/{path}", live.staff)).body


async def _soon(look: Callable[[], Awaitable[str]]) -> str:
    """What `look` says once it holds: the relay adds to the reports a moment after the order."""
    ends = asyncio.get_running_loop().time() + CURRENT_WITHIN_S
    while True:
        try:
            return await look()
        except Fails:
            if asyncio.get_running_loop().time() > ends:
                raise
        await asyncio.sleep(0.2)


CHECKS = (
    Check(
        "reports.per_day",
        "Orders per day are what was ordered.",
        _per_day,
        ("orderkit/analytics/reports/sales.py", "tests/analytics/test_reports.py"),
    ),
    Check(
        "reports.by_user",
        "Revenue by user is what each paid, highest first.",
        _by_user,
        ("orderkit/analytics/reports/ranking.py", "tests/analytics/test_reports.py"),
    ),
    Check(
        "reports.statuses",
        "Status counts are those of the table.",
        _statuses,
        ("orderkit/analytics/reports/statuses.py", "tests/analytics/test_reports.py"),
        alone=True,
    ),
    Check(
        "reports.range",
        "A date range is half open and checked.",
        _range,
        ("orderkit/analytics/periods.py", "tests/analytics/test_periods.py"),
    ),
    Check(
        "reports.indexes",
        "Every report rides an index.",
        _indexes,
        ("orderkit/explain/of_reports.py", "tests/analytics/test_plans.py"),
        alone=True,
    ),
    Check(
        "reports.command",
        "The same reports come from the command line, as a table, CSV or chart.",
        _command,
        ("orderkit/cli/report.py", "tests/cli/test_report.py"),
    ),
)
