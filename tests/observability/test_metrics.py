"""What happens is counted, once, wherever it happens."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orderkit import clock
from orderkit.api import problems
from orderkit.breaker import Breaker
from orderkit.db import Database
from orderkit.observability import metrics, pools
from orderkit.orders import refunds
from orderkit.orders.resolution import Resolution
from orderkit.orders.settlement import Settle, Settlement
from orderkit.payments.gateways import Captured, Refunded, RefundRefused, RefundResult
from orderkit.settings import Settings
from tests.client import running
from tests.factories import make_product, make_user
from tests.shop import PRICE, Shop


@pytest.fixture
def engine_name() -> str:
    """One engine will do: what is counted here is counted in Python."""
    return "sqlite"


@pytest.fixture
def shop(database: Database, settings: Settings) -> Shop:
    return Shop(database, settings)


Count = Callable[..., float]


@pytest.fixture
def count() -> Count:
    """By how much a series grew since the test first asked for it."""
    before: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def grown(name: str, **labels: str) -> float:
        value = REGISTRY.get_sample_value(name, labels) or 0.0
        return value - before.setdefault((name, tuple(labels.items())), value)

    return grown


def test_money_is_counted_once_however_many_settle_it(shop: Shop, count: Count) -> None:
    captured = ("orderkit_money_captured_minor_units_total", "orderkit_payments_settled_total")
    assert (count(captured[0], currency="GBP"), count(captured[1], status="captured")) == (0, 0)
    placed = shop.place()
    settlement = Settlement(shop.database, shop.settings)
    one = Settle(placed.id, Captured("ch_1"))
    settlement.settle([one, one])
    settlement.settle([one])
    assert count(captured[0], currency="GBP") == PRICE
    assert count(captured[1], status="captured") == 1


class Refunding:
    """A provider that pays back, or does not."""

    name = "refunding"
    methods = frozenset({"pm_card_visa"})

    def __init__(self, result: RefundResult) -> None:
        self._result = result

    async def refund(self, *, key: UUID, reference: str, amount: int, currency: str, attempt: int) -> RefundResult:
        return self._result


@pytest.mark.parametrize(
    ("result", "status", "money"), [(Refunded("re_1"), "succeeded", PRICE), (RefundRefused("too_late"), "failed", 0)]
)
def test_a_refund_is_counted_by_what_became_of_it(
    shop: Shop, count: Count, result: RefundResult, status: str, money: int
) -> None:
    assert (
        count("orderkit_refunds_total", status=status),
        count("orderkit_money_refunded_minor_units_total", currency="GBP"),
    ) == (0, 0)
    paid = shop.paid()
    with shop.database.transaction() as session:
        asked = refunds.request(session.connection(), paid.id, reason="broken")
    resolution = Resolution(shop.database, shop.settings, Refunding(result), Breaker("gateway"))  # type: ignore[arg-type]

    async def twice() -> None:
        await resolution.refund(asked.id)
        await resolution.refund(asked.id)

    asyncio.run(twice())
    assert count("orderkit_refunds_total", status=status) == 1
    assert count("orderkit_money_refunded_minor_units_total", currency="GBP") == money


def test_orders_are_counted_by_what_they_were_told_and_keys_that_came_again_by_themselves(
    settings: Settings, database: Database, count: Count
) -> None:
    sku = make_product(database, stock=2).sku
    outcomes = ("paid", "declined", "out_of_stock", "price_changed", "refused", "pending")
    keys = ("replayed", "reused")
    with running(settings) as api:
        who = api.token(make_user(database))

        def order(key: str, quantity: int = 1, **more: object) -> int:
            body = {"items": [{"sku": sku, "quantity": quantity}], "payment_method": "pm_card_visa"} | more
            return api.post("/orders", body, who | {"Idempotency-Key": key}).status

        assert not any(count("orderkit_orders_total", outcome=one) for one in outcomes)
        assert not any(count("orderkit_idempotency_total", outcome=one) for one in keys)
        # All are there before the first is answered: an increase from nothing to 1 is none for an alert.
        told = {one: REGISTRY.get_sample_value("orderkit_problems_total", {"code": one}) for one in problems.KINDS}
        assert None not in told.values()
        assert not any(count("orderkit_problems_total", code=one) for one in ("out_of_stock", "payment_declined"))
        assert [order("a"), order("a"), order("a", 2), order("b", 9)] == [201, 201, 422, 409]
        assert [order("c", payment_method="pm_card_declined"), order("d", expected_total=1)] == [402, 409]
        assert [order("e", quantity=0)] == [422]
    assert {one: count("orderkit_orders_total", outcome=one) for one in outcomes} == {
        "paid": 1,
        "declined": 1,
        "out_of_stock": 1,
        "price_changed": 1,
        "refused": 1,
        "pending": 0,
    }
    assert [count("orderkit_idempotency_total", outcome=one) for one in keys] == [1, 1]
    assert [count("orderkit_problems_total", code=one) for one in ("out_of_stock", "payment_declined")] == [1, 1]


def test_a_breaker_is_open_while_it_holds_calls_back_and_that_ends_with_time(count: Count) -> None:
    at = 100.0

    def told() -> str:
        (line,) = re.findall(r'(?m)^orderkit_breaker_open{breaker="tried"} (.+)$', metrics.exposition("api").decode())
        return str(line)

    breaker = Breaker("tried", failures=2, open_for=30.0, monotonic=lambda: at)
    assert count("orderkit_breaker_opened_total", breaker="tried") == 0
    seen = []
    for _ in range(2):
        seen.append(told())
        breaker.failed()
    assert [*seen, told()] == ["0.0", "0.0", "1.0"]
    with clock.moved(timedelta(seconds=31)):
        assert told() == "0.0", "its pause is over, and nobody has asked since"
        at += 31.0
        assert breaker.acquire() == 0.0
        assert told() == "1.0", "one tries, and the others are held back"
        breaker.succeeded()
        assert told() == "0.0"
    assert count("orderkit_breaker_opened_total", breaker="tried") == 1


def test_a_call_that_is_not_the_first_is_a_retry(count: Count) -> None:
    of = {"provider": "builtin", "operation": "book"}
    assert count("orderkit_provider_retries_total", **of) == count("orderkit_provider_call_seconds_count", **of) == 0
    metrics.call_made("builtin", "book", "failed", 0.1, attempt=1)
    metrics.call_made("builtin", "book", "booked", 0.1, attempt=2)
    assert count("orderkit_provider_retries_total", **of) == 1
    assert count("orderkit_provider_call_seconds_count", **of) == 2


def test_a_pool_tells_how_many_connections_are_in_use_and_who_waited_in_vain(settings: Settings, count: Count) -> None:
    assert count("orderkit_db_pool_timeouts_total", pool="tried") == 0
    database = Database(settings.model_copy(update={"db_pool_size": 2, "db_timeout": 0.01}), pool="tried")

    def in_use() -> float:
        [told] = [one.in_use for one in pools.of_this_process() if one.name == "tried"]
        assert REGISTRY.get_sample_value("orderkit_db_pool_in_use", {"pool": "tried"}) == told
        return told

    try:
        with ExitStack() as opened:
            for number in range(2):
                opened.enter_context(database.engine.connect())
                assert in_use() == number + 1
            assert REGISTRY.get_sample_value("orderkit_db_pool_size", {"pool": "tried"}) == 2
            with pytest.raises(PoolTimeout):
                database.engine.connect()
        assert in_use() == 0
        assert count("orderkit_db_pool_timeouts_total", pool="tried") == 1
    finally:
        database.dispose()
    assert REGISTRY.get_sample_value("orderkit_db_pool_size", {"pool": "tried"}) == 0


SHARED = """
import sys
from orderkit.observability import metrics
metrics.pool_in_use.labels("main").set(3)
metrics.breaker_open.labels("gateway").set(float(sys.argv[1]))
metrics.orders.labels("paid").inc()
print("ready", flush=True)
sys.stdin.readline()
print(metrics.exposition("api").decode())
"""


def test_gauges_of_several_processes_become_one_number_and_those_of_the_dead_are_forgotten(tmp_path: Path) -> None:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", SHARED, open_until],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for open_until in ("9e9", "0")
    ]
    try:
        for one in both:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        dead, living = both
        assert len(list(tmp_path.glob("gauge_live*.db"))) == 4
        together = metrics_of(tmp_path)
        assert 'orderkit_db_pool_in_use{pool="main"} 6.0' in together
        assert 'orderkit_breaker_open{breaker="gateway"} 1.0' in together
        dead.kill()
        dead.communicate()
        alone, _ = living.communicate("\n")
        assert 'orderkit_db_pool_in_use{pool="main"} 3.0' in alone
        assert 'orderkit_breaker_open{breaker="gateway"} 0.0' in alone
        assert 'orderkit_orders_total{outcome="paid"} 2.0' in alone
        assert "orderkit_queue_tasks" not in alone
    finally:
        for one in both:
            one.kill()
            one.communicate()


def metrics_of(folder: Path) -> str:
    """As a process tells it that has counted nothing itself."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(metrics.FOLDER, str(folder))
        return metrics.exposition("api").decode()
