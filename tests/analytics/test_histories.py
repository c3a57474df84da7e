"""Whatever orders go through, and wherever the relay is with it: rollups and unsent events are what a recount says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from orderkit import clock
from orderkit.analytics import facts, rebuild, rollups
from orderkit.analytics.models import GRAINS, GRAINS_OF
from orderkit.analytics.periods import Grain, floor
from orderkit.db import Database
from orderkit.orders.states import OrderStatus
from orderkit.settings import Settings
from orderkit.worker import relay as relaying
from tests.analytics.trade import COUNTRIES, PRODUCTS, Trade, emptied, known, recounted, unsent

pytestmark = pytest.mark.integration

MINUTES = 75 * 24 * 60
"""How long a history is: three months are touched."""
LONG_AGO, LONG_TIME = datetime(2000, 1, 1, tzinfo=UTC), timedelta(days=40_000)

SETTLE, CANCEL, REFUND, PAY_BACK, SEND, MOVE = "settle", "cancel", "ask_refund", "pay_back", "send_to", "move"
JOURNEYS: tuple[tuple[tuple[Any, ...], ...], ...] = (
    ((SETTLE, "capture"), (SEND,), (REFUND, 100), (PAY_BACK, False), (SEND,)),
    ((SETTLE, "capture"), (REFUND, 50), (PAY_BACK, False), (SEND,), (REFUND, None), (PAY_BACK, False)),
    ((SETTLE, "capture"), (REFUND, None), (PAY_BACK, True), (CANCEL,), (PAY_BACK, False)),
    ((CANCEL,), (SETTLE, "capture"), (PAY_BACK, False)),
    ((SEND,), (SETTLE, "capture when it is to be voided"), (PAY_BACK, False)),
    (
        (SETTLE, "capture"),
        (MOVE, OrderStatus.SHIPPED),
        (MOVE, OrderStatus.DELIVERED),
        (REFUND, None),
        (PAY_BACK, False),
    ),
    ((SETTLE, "decline"), (SEND,)),
    ((CANCEL,), (SETTLE, "void")),
    ((SEND,),),
)
"""What befalls an order after it was placed, in this sequence; other things come between."""

times = st.integers(0, MINUTES)
countries = st.sampled_from(COUNTRIES)
placed = st.tuples(
    st.just("place"), st.sampled_from(sorted(PRODUCTS)), st.integers(1, 4), st.none() | countries, st.integers(0, 1)
)
imported = st.tuples(st.just("bring_in"), st.sampled_from("ab"), st.sampled_from([0, 100, 3500]), st.none() | countries)
refused = st.tuples(st.just("bring_in_declined"), st.sampled_from("xy"))
relayed = st.sampled_from([("relay",), ("relay_killed",), ("relay_all",)])
others: st.SearchStrategy[tuple[Any, ...]] = st.one_of(imported, relayed, refused, relayed)
between = st.lists(others, max_size=2)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, tuple[Any, ...]]]:
    """Several journeys at once, imports, and turns of the relay between them; each with when it happens, in minutes."""
    left = [list(one) for one in draw(st.lists(st.sampled_from(JOURNEYS), min_size=1, max_size=4))]
    history: list[tuple[Any, ...]] = [draw(placed) for _ in left]
    while any(left):
        number = draw(st.sampled_from([number for number, acts in enumerate(left) if acts]))
        act, *details = left[number].pop(0)
        history += draw(between)
        history.append((act, number, *details, *([draw(countries)] if act == SEND else [])))
    history += draw(between)
    return [(draw(times), act) for act in history]


steps = hypothesis_settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "BATCH", 4)


def play(
    trade: Trade, history: list[tuple[int, tuple[Any, ...]]], *, meanwhile: Callable[[], None] = lambda: None
) -> None:
    for minutes, act in history:
        with clock.moved(timedelta(minutes=minutes - MINUTES)):
            one(trade, *act)
        meanwhile()


def one(trade: Trade, act: str, *args: Any) -> None:
    match act:
        case "place":
            sku, quantity, country, user = args
            trade.place(sku, quantity, country=country, user=user)
        case "bring_in":
            key, refunded, country = args
            trade.bring_in(key, at=clock.now(), refunded=refunded, country=country)
        case "bring_in_declined":
            trade.bring_in(args[0], at=clock.now(), declined=True)
        case "relay":
            trade.relay.turn()
        case "relay_killed" | "relay_all":
            getattr(trade, act)()
        case _:
            number, *more = args
            if number < len(trade.orders):
                named = {"refused": more.pop()} if act == "pay_back" else {}
                trade.attempt(getattr(trade, act), trade.orders[number], *more, **named)


def spans(data: st.DataObject, grain: Grain) -> tuple[datetime, datetime]:
    """A span of whole buckets."""
    now = clock.now()
    ends = sorted(
        floor(now - timedelta(minutes=data.draw(st.integers(-30 * 24 * 60, MINUTES + 1440))), grain) for _ in range(2)
    )
    return ends[0], ends[1]


def assert_known(database: Database, start: datetime, end: datetime, grain: str) -> None:
    kinds = [kind for kind, grains in GRAINS_OF.items() if grain in grains]
    expected = {key: sums for key, sums in recounted(database, start, end).items() if key[0] in kinds}
    assert known(database, start, end, grain) == expected


@steps
@given(history=histories(), data=st.data())
def test_rollups_and_unsent_events_are_what_a_recount_says(
    database: Database, settings: Settings, history: list[Any], data: st.DataObject
) -> None:
    emptied(database)
    play(Trade(database, settings), history)
    for grain in GRAINS:
        assert_known(database, LONG_AGO, LONG_AGO + LONG_TIME, grain)
        assert_known(database, *spans(data, grain), grain)
    assert list(rebuild.compare(database)) == []


@steps
@given(history=histories(), data=st.data())
def test_base_facts_of_any_span_are_what_a_recount_says(
    database: Database, settings: Settings, history: list[Any], data: st.DataObject
) -> None:
    emptied(database)
    play(Trade(database, settings), history)
    now = clock.now()
    seconds = st.integers(-86_400, (MINUTES + 1440) * 60)
    end, start = sorted((data.draw(seconds), data.draw(seconds)))
    span = now - timedelta(seconds=start), now - timedelta(seconds=end)
    with database.snapshot() as session:
        sums = rollups.summed(facts.of_base(session.connection(), *span))
    told: dict[tuple[str, str, str], list[int]] = {}
    for key, values in sums.items():
        if key.grain == "day":
            into = told.setdefault((key.kind, key.currency, key.key), [0] * 5)
            into[:] = [a + b for a, b in zip(into, values, strict=True)]
    assert {key: tuple(values) for key, values in told.items()} == recounted(database, *span)


@steps
@given(history=histories(), later=histories())
def test_a_rebuild_while_orders_come_in_ends_as_if_the_rollups_had_always_been_kept(
    database: Database, settings: Settings, history: list[Any], later: list[Any]
) -> None:
    emptied(database)
    trade = Trade(database, settings)
    play(trade, history)
    spoil(database)
    left = iter(later)

    def meanwhile(_days: int) -> None:
        if (following := next(left, None)) is not None:
            play(trade, [following])

    rebuild.run(database, progress=meanwhile)
    play(trade, list(left))
    assert list(rebuild.compare(database)) == []
    for grain in GRAINS:
        assert_known(database, LONG_AGO, LONG_AGO + LONG_TIME, grain)
    trade.relay_all()
    assert unsent(database) == 0
    assert list(rebuild.compare(database)) == []


def spoil(database: Database) -> None:
    """Rows that are missing, rows that are wrong, and rows that should not be there."""
    from sqlalchemy import text

    wrong = datetime(2019, 5, 17, 10, 15, tzinfo=UTC)
    with database.transaction() as session:
        session.execute(text("DELETE FROM rollups WHERE kind IN ('user', 'country')"))
        session.execute(text("UPDATE rollups SET gross = gross + 7, orders = orders - 1 WHERE grain <> 'hour'"))
        rows = {rollups.Key("status", "quarter", wrong, "GBP", "paid"): [3, 0, 0, 0, 0]}
        rows |= {rollups.Key("product", "month", floor(wrong, "month"), "GBP", "NONE"): [0, 5, 0, 0, 1]}
        rollups.add(session.connection(), rows)
