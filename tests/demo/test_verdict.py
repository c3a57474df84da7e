"""The verdict: it holds when three witnesses agree, and says which do not when anything is off by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orderkit.demo.evidence import Facts, Kept, Ledger, Money, Parcel, Stock, read_ledger
from orderkit.demo.verdict import Told, judge

CAPTURES = (
    Money("p1", "ch_1", 1250, "GBP"),
    Money("p2", "ch_2", 899, "GBP"),
    Money("p3", "ch_3", 2200, "JPY"),
    Money("p5", "ch_5", 500, "GBP"),
)
REFUNDS = (Money("r1", "re_1", 500, "GBP"), Money("r2", "re_2", 100, "GBP"))
"""All of o5, and a part of o1."""

PARCELS = (Parcel("f1", "tr_1"), Parcel("f2", "tr_2"), Parcel("f3", "tr_3", delivered=True))
TOLD = Told(
    taken=frozenset({"o1", "o2", "o3", "o4", "o5"}),
    refused=frozenset({"k6"}),
    declined=frozenset({"o4"}),
    cancelled=frozenset({"o5"}),
    delivered=frozenset({"o3"}),
    paid_back={"GBP": 600},
    asked=6,
    requests=9,
    pieces=6,
    acts=3,
    as_foretold=3,
)
FACTS = Facts(
    orders=(
        Kept("o1", "k1", "shipped", left=1150),
        Kept("o2", "k2", "shipped", left=899),
        Kept("o3", "k3", "delivered", left=2200),
        Kept("o4", "k4", "payment_failed"),
        Kept("o5", "k5", "cancelled", left=0),
    ),
    captures=CAPTURES,
    refunds=REFUNDS,
    parcels=PARCELS,
    stock=(Stock("CUP", received=10, left=5, held=5), Stock("TEA", received=7, left=6, held=1)),
    payments_unresolved=0,
    parcels_under_way=0,
    refunds_pending=0,
    events_unsent=0,
    dead_letters_open=0,
    dead_letters=1,
)
LEDGER = Ledger(captures=CAPTURES, refunds=REFUNDS, parcels=PARCELS)


def wrong(told: Told = TOLD, facts: Facts = FACTS, ledger: Ledger = LEDGER) -> list[str]:
    return [check.what for check in judge(told, facts, ledger) if not check.holds]


def test_three_witnesses_that_agree() -> None:
    assert wrong() == []


def test_sums_are_given_for_each_currency() -> None:
    sums = {check.what: (check.database, check.provider) for check in judge(TOLD, FACTS, LEDGER)}
    assert sums["captured, GBP"] == ("26.49 GBP", "26.49 GBP")
    assert sums["paid back, GBP"] == ("6.00 GBP", "6.00 GBP")
    assert sums["captured, JPY"] == ("2,200 JPY", "2,200 JPY")


@pytest.mark.parametrize(
    ("captures", "checks"),
    [
        ((*CAPTURES[:2], CAPTURES[3]), {"paid, captured exactly once", "captured, JPY"}),
        ((*CAPTURES, CAPTURES[0]), {"paid, captured exactly once", "captured, GBP"}),
        ((*CAPTURES, Money("p9", "ch_9", 1, "EUR")), {"paid, captured exactly once", "captured, EUR"}),
        ((CAPTURES[0]._replace(amount=1251), *CAPTURES[1:]), {"paid, captured exactly once", "captured, GBP"}),
        ((CAPTURES[0]._replace(key="p9"), *CAPTURES[1:]), {"paid, captured exactly once"}),
    ],
    ids=["missing", "twice", "of nobody", "of another amount", "under another key"],
)
def test_a_capture_that_only_the_provider_knows_so(captures: tuple[Money, ...], checks: set[str]) -> None:
    assert set(wrong(ledger=replace(LEDGER, captures=captures))) == checks


def test_the_same_captures_but_an_order_that_is_paid_without_one() -> None:
    orders = (*FACTS.orders[:3], Kept("o4", "k4", "paid"), FACTS.orders[4])
    assert "paid, captured exactly once" in wrong(facts=replace(FACTS, orders=orders))


@pytest.mark.parametrize("parcels", [PARCELS[1:], (*PARCELS, PARCELS[0]), (Parcel("f1", "tr_9"), *PARCELS[1:])])
def test_a_parcel_that_the_carrier_knows_otherwise(parcels: tuple[Parcel, ...]) -> None:
    assert wrong(ledger=replace(LEDGER, parcels=parcels)) == ["shipped, booked exactly once"]


@pytest.mark.parametrize(
    ("refunds", "checks"),
    [
        (REFUNDS[:1], ["refunds, each paid once", "paid back, GBP"]),
        ((*REFUNDS, REFUNDS[0]), ["refunds, each paid once", "paid back, GBP"]),
        ((*REFUNDS, Money("r9", "re_9", 1, "EUR")), ["refunds, each paid once", "paid back, EUR"]),
        ((REFUNDS[0], REFUNDS[1]._replace(amount=101)), ["refunds, each paid once", "paid back, GBP"]),
        ((REFUNDS[0], REFUNDS[1]._replace(key="r9")), ["refunds, each paid once"]),
    ],
    ids=["missing", "twice", "of nobody", "of another amount", "under another key"],
)
def test_money_paid_back_on_one_side_only(refunds: tuple[Money, ...], checks: list[str]) -> None:
    assert wrong(facts=replace(FACTS, refunds=refunds)) == checks
    assert wrong(ledger=replace(LEDGER, refunds=refunds)) == checks


def test_money_paid_back_that_nobody_told_the_customers_of() -> None:
    refunds = (*REFUNDS, Money("r9", "re_9", 1, "EUR"))
    assert wrong(facts=replace(FACTS, refunds=refunds), ledger=replace(LEDGER, refunds=refunds)) == ["paid back, EUR"]


@pytest.mark.parametrize(
    ("order", "checks"),
    [
        (Kept("o5", "k5", "cancelled", left=1), ["cancelled, all paid back"]),
        (Kept("o5", "k5", "paid"), ["cancelled, all paid back"]),
        (Kept("o5", "k5", "shipped"), ["cancelled, all paid back", "shipped, booked exactly once"]),
    ],
    ids=["part of the money is kept", "it goes on", "it is shipped"],
)
def test_an_order_that_was_cancelled_and_is_not_so(order: Kept, checks: list[str]) -> None:
    assert wrong(facts=replace(FACTS, orders=(*FACTS.orders[:4], order))) == checks


def test_an_order_that_was_cancelled_by_nobody() -> None:
    orders = (*FACTS.orders, Kept("o6", "k7", "cancelled"))
    assert "cancelled, all paid back" in wrong(facts=replace(FACTS, orders=orders))


@pytest.mark.parametrize(
    "changes",
    [
        {"ledger": replace(LEDGER, parcels=(*PARCELS[:2], PARCELS[2]._replace(delivered=False)))},
        {"ledger": replace(LEDGER, parcels=(PARCELS[0]._replace(delivered=True), *PARCELS[1:]))},
        {"facts": replace(FACTS, parcels=(*PARCELS[:2], PARCELS[2]._replace(delivered=False)))},
        {"facts": replace(FACTS, orders=(Kept("o1", "k1", "delivered"), *FACTS.orders[1:]))},
        {"told": replace(TOLD, delivered=frozenset({"o1"}))},
        {"told": replace(TOLD, delivered=frozenset())},
    ],
    ids=["only reported", "not reported", "not heard", "delivered by itself", "another one", "nobody knows"],
)
def test_a_delivery_that_one_witness_does_not_know_of(changes: dict[str, Any]) -> None:
    assert wrong(**changes) == ["delivered, as the carrier says"]


def test_an_order_that_is_lost() -> None:
    assert "orders kept, of 9 requests" in wrong(facts=replace(FACTS, orders=FACTS.orders[1:]))


def test_an_order_that_is_there_twice() -> None:
    doubled = (*FACTS.orders, Kept("o9", "k1", "pending"))
    assert "orders kept, of 9 requests" in wrong(facts=replace(FACTS, orders=doubled))


def test_two_orders_told_of_under_one_key() -> None:
    told = replace(TOLD, taken=TOLD.taken | {"o9"})
    assert wrong(told=told) == ["orders asked for, answered", "orders kept, of 9 requests"]


def test_a_refused_order_that_was_kept() -> None:
    assert "refused, nothing kept" in wrong(facts=replace(FACTS, orders=(*FACTS.orders, Kept("o6", "k6", "pending"))))


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"as_foretold": 2}, "acts that ended as they must"),
        ({"asked": 7}, "orders asked for, answered"),
        ({"paid_back": {"GBP": 599}}, "paid back, GBP"),
        ({"paid_back": {"GBP": 600, "EUR": 1}}, "paid back, EUR"),
        ({"cancelled": frozenset()}, "cancelled, all paid back"),
        ({"declined": frozenset()}, "payment declined"),
        ({"pieces": 7}, "pieces sold = received − left"),
    ],
)
def test_customers_that_tell_another_story(changes: dict[str, Any], check: str) -> None:
    assert wrong(told=replace(TOLD, **changes)) == [check]


@pytest.mark.parametrize(
    ("stock", "checks"),
    [
        (Stock("TEA", received=7, left=6, held=2), ["products never oversold"]),
        (Stock("TEA", received=0, left=-1, held=1), ["products never oversold"]),
        (Stock("TEA", received=7, left=5, held=1), ["pieces sold = received − left", "products never oversold"]),
    ],
)
def test_stock_that_does_not_add_up(stock: Stock, checks: list[str]) -> None:
    assert wrong(facts=replace(FACTS, stock=(FACTS.stock[0], stock))) == checks


@pytest.mark.parametrize(
    ("member", "check"),
    [
        ("payments_unresolved", "payments unresolved"),
        ("parcels_under_way", "parcels, refunds, events due"),
        ("refunds_pending", "parcels, refunds, events due"),
        ("events_unsent", "parcels, refunds, events due"),
        ("dead_letters_open", "dead letters open, of 1"),
    ],
)
def test_something_left_to_be_done(member: str, check: str) -> None:
    changes: dict[str, Any] = {member: 1}
    assert wrong(facts=replace(FACTS, **changes)) == [check]


def test_a_failed_check_names_what_differs() -> None:
    [check, *_] = [one for one in judge(TOLD, FACTS, replace(LEDGER, parcels=PARCELS[1:])) if not one.holds]
    assert check.why == "only the database: f1; only the ledger: none"
    many = replace(LEDGER, captures=())
    [check, *_] = [one for one in judge(TOLD, FACTS, many) if not one.holds]
    assert check.why == "4 orders are paid; only the database: p1, p2, p3 and 1 more; only the ledger: none"


def test_a_cancelled_booking_is_no_parcel() -> None:
    booking = {"key": "f1", "reference": "tr_1", "status": "booked"}
    cancelled = {"key": "f2", "reference": "tr_2", "status": "cancelled"}
    delivered = {"key": "f3", "reference": "tr_3", "status": "delivered"}
    capture = {"key": "p1", "reference": "ch_1", "amount": 1250, "currency": "GBP", "status": "captured", "at": "then"}
    read = read_ledger({"captures": [capture], "refunds": [], "bookings": [booking, cancelled, delivered]})
    assert read == Ledger(captures=CAPTURES[:1], refunds=(), parcels=(PARCELS[0], PARCELS[2]))
