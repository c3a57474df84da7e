"""What an import takes, what it rejects and why, and what cancellations give back; all without a database."""

from __future__ import annotations

import csv
import io
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderkit.orders import import_plan
from orderkit.orders.import_plan import Plan
from orderkit.orders.sources import FORMATS, records
from orderkit.orders.sources.lines import Unfit

SAMPLE = Path(__file__).with_name("data") / "online-retail-sample.csv"
LATER = datetime(2026, 1, 1, tzinfo=UTC)

RETAIL = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
PLAIN = ("order", "customer_email", "placed_at", "sku", "name", "quantity", "unit_price", "currency", "country")


def retail(
    invoice: str,
    code: str = "A",
    quantity: object = 1,
    price: object = "1.00",
    *,
    customer: str = "17850",
    day: int = 1,
) -> tuple[Any, ...]:
    return (invoice, code, f"Thing {code}", quantity, f"12/{day}/2010 8:26", price, customer, "United Kingdom")


def plain(order: str, **values: Any) -> tuple[Any, ...]:
    defaults = {
        "order": order,
        "customer_email": "buyer1@example.com",
        "placed_at": "2025-03-02T09:30:00Z",
        "sku": "TEA",
        "name": "Tea",
        "quantity": 1,
        "unit_price": "7.50",
        "currency": "EUR",
        "country": "Germany",
    }
    return tuple((defaults | values)[column] for column in PLAIN)


def planned(*rows: tuple[Any, ...], format_name: str = "online-retail", at: datetime = LATER) -> Plan:
    out = io.StringIO()
    csv.writer(out).writerows([RETAIL if format_name == "online-retail" else PLAIN, *rows])
    return import_plan.plan(records.parse(out.getvalue(), name="test"), FORMATS[format_name], at=at)


def reasons(plan: Plan) -> dict[int, str]:
    """By row, from 1."""
    return {one.record.line - 1: one.reason for one in plan.rejected}


def refunds(plan: Plan) -> dict[str, list[int]]:
    return {order.number: [one.amount for one in order.refunds] for order in plan.orders if order.refunds}


# ── what is taken ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_lines_with_one_number_are_one_order_at_the_prices_of_the_file() -> None:
    plan = planned(retail("536365", "A", 6, "2.55"), retail("536366", "A", 1, "3.1"), retail("536365", "B", 2, "3"))
    assert [(one.number, one.total, len(one.lines)) for one in plan.orders] == [("536365", 2130, 2), ("536366", 310, 1)]
    assert plan.rejected == []


def test_a_line_priced_zero_inside_an_order_with_a_total_is_kept() -> None:
    [order] = planned(retail("1", "A", 2, "0"), retail("1", "B", 1, "5")).orders
    assert (len(order.lines), order.total) == (2, 500)


def test_stock_codes_are_case_sensitive() -> None:
    plan = planned(retail("1", "15056bl", 1), retail("C2", "15056BL", -1, day=2))
    assert list(reasons(plan)) == [2]


@pytest.mark.parametrize(
    ("date", "day", "instant"),
    [
        ("12/1/2010 8:26", "2010-12-01", datetime(2010, 12, 1, 8, 26, tzinfo=UTC)),
        ("6/15/2011 16:30", "2011-06-15", datetime(2011, 6, 15, 15, 30, tzinfo=UTC)),
        ("6/15/2011 0:10", "2011-06-15", datetime(2011, 6, 14, 23, 10, tzinfo=UTC)),
    ],
)
def test_british_local_time_becomes_utc_and_the_day_stays_the_file_s(date: str, day: str, instant: datetime) -> None:
    [order] = planned(("1", "A", "", 1, date, "1", "", "")).orders
    assert order.first.placed_at == instant
    assert order.first.day == day


def test_an_order_without_customer_is_a_guest_s() -> None:
    [order] = planned(retail("1", customer="")).orders
    assert order.first.customer == ""


def test_the_bound_on_lines_of_a_request_does_not_apply() -> None:
    [order] = planned(*(retail("1", f"SKU-{n}", 20_000) for n in range(700))).orders
    assert len(order.lines) == 700


def test_minor_units_are_the_currency_s() -> None:
    [order] = planned(plain("1", currency="JPY", unit_price="750"), format_name="csv").orders
    assert order.total == 750


# ── what is rejected ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (retail("1", quantity=-3), "the quantity is negative and the invoice is no cancellation"),
        (retail("1", quantity=0), "the quantity is zero"),
        (retail("C1", quantity=3), "the quantity is positive in a cancellation"),
        (retail("1", quantity="1.5"), "the quantity is not a whole number"),
        (retail("1", quantity=""), "the quantity is not a whole number"),
        (retail("1", quantity="٣"), "the quantity is not a whole number"),
        (retail("1", quantity=10**9 + 1), "the quantity is more than 1000000000"),
        (retail("1", price="free"), "the unit price is not a number"),
        (retail("1", price="NaN"), "the unit price is not a number"),
        (retail("1", price="1e3"), "the unit price is not a number"),
        (retail("1", price=""), "the unit price is not a number"),
        (retail("1", price="-2.50"), "the unit price is negative"),
        (retail("1", price="0.001"), "the unit price is not an amount in GBP"),
        (retail("1", price="0.00"), "the order's total is not positive"),
        (retail("1", quantity=10**9, price="999999999"), "the order's total is more than can be counted"),
        (retail("", "A"), "the order number is missing"),
        (retail("1" * 101), "the order number has more than 100 characters"),
        (retail("1", ""), "the stock code is missing"),
        (retail("1", "A" * 65), "the stock code has more than 64 characters, a slash, or spaces in a row"),
        (retail("1", "A\0"), "the line holds control characters"),
        (retail("1", customer="no/body"), "the customer is not a number"),
        (("1", "A", "", 1, "2010-12-01", "1", "", ""), "the date is not month/day/year hour:minute"),
        (("1", "A", "", 1, "13/1/2010 8:26", "1", "", ""), "the date is not month/day/year hour:minute"),
        (("1", "A", "", 1, "1/1/2126 8:26", "1", "", ""), "the date is in the future"),
        (("1", "A", "", 1, "12/31/1969 23:59", "1", "", ""), "the date is before 1970"),
        (("1", "A", "", 1), "the line has another number of fields than the header"),
        (
            (*retail("1"), "more", "and more"),
            "the line has another number of fields than the header; beyond it: more,and more",
        ),
        (
            retail("C1", quantity=-1),
            "the cancellation matches no earlier order of this customer and code with anything left",
        ),
    ],
)
def test_a_line_that_cannot_be_taken_has_a_reason(row: tuple[Any, ...], reason: str) -> None:
    plan = planned(row, retail("900", "OTHER"))
    assert reasons(plan) == {1: reason}
    assert [one.number for one in plan.orders] == ["900"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"quantity": -1}, "the quantity is not positive"),
        ({"quantity": 0}, "the quantity is not positive"),
        ({"customer_email": "buyer one"}, "customer_email is not an e-mail address"),
        ({"placed_at": "2025-03-02T09:30:00"}, "placed_at has no offset from UTC, such as Z or +01:00"),
        ({"placed_at": "yesterday"}, "placed_at is not a date and time in ISO 8601"),
        ({"placed_at": "0001-01-01T00:00:00+14:00"}, "placed_at is not a date and time in ISO 8601"),
        ({"placed_at": "0001-02-01T00:00:00Z"}, "the date is before 1970"),
        ({"placed_at": "1970-01-01T00:59:59+01:00"}, "the date is before 1970"),
        ({"currency": "EURO"}, "the currency is not an ISO 4217 code"),
        ({"currency": "JPY"}, "the unit price is not an amount in JPY"),
        ({"currency": "GBP"}, "the currency is not the file's first, EUR; import it as a file of its own"),
    ],
)
def test_a_line_of_a_plain_file_that_cannot_be_taken_has_a_reason(values: dict[str, Any], reason: str) -> None:
    plan = planned(plain("900"), plain("1", **values), format_name="csv")
    assert reasons(plan) == {2: reason}


def test_an_order_of_a_plain_file_is_taken_whole_or_not_at_all() -> None:
    plan = planned(plain("1"), plain("1", sku="MUG", quantity="two"), plain("2"), format_name="csv")
    assert reasons(plan) == {1: "another line of this order cannot be taken", 2: "the quantity is not a whole number"}
    assert [one.number for one in plan.orders] == ["2"]


def test_what_is_left_of_an_invoice_is_an_order_without_its_rejected_lines() -> None:
    plan = planned(retail("1", "A", 2), retail("1", "B", -1))
    assert [one.total for one in plan.orders] == [200]
    assert list(reasons(plan)) == [2]


def test_a_line_of_another_customer_does_not_belong_to_the_order() -> None:
    plan = planned(retail("1", "A"), retail("1", "B", customer="13047"))
    assert reasons(plan) == {2: "the customer is another one than on the first line of this order"}


def test_a_file_without_the_format_s_columns_is_refused() -> None:
    with pytest.raises(Unfit, match="no column InvoiceNo"):
        import_plan.plan(records.parse("a,b\n1,2\n", name="test"), FORMATS["online-retail"], at=LATER)


# ── cancellations ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_cancellation_refunds_the_latest_earlier_order_of_the_customer_with_that_code() -> None:
    plan = planned(
        retail("1", "A", 5, day=1),
        retail("2", "A", 5, day=2),
        retail("3", "B", 5, day=3),
        retail("4", "A", 5, customer="13047", day=4),
        retail("C5", "A", -2, "1.00", day=5),
        retail("6", "A", 5, day=6),
    )
    assert refunds(plan) == {"2": [200]}


def test_guests_cancel_what_guests_ordered() -> None:
    plan = planned(retail("1", customer=""), retail("2"), retail("C3", quantity=-1, customer="", day=2))
    assert refunds(plan) == {"1": [100]}


def test_a_cancellation_gives_back_no_more_pieces_than_are_left_of_that_one_order() -> None:
    plan = planned(retail("1", quantity=10), retail("2", quantity=4, day=2), retail("C3", quantity=-6, day=3))
    assert refunds(plan) == {"2": [400]}
    assert [one.whole for order in plan.orders for one in order.refunds] == [False]


def test_an_order_that_is_used_up_leaves_the_next_cancellation_to_the_one_before() -> None:
    plan = planned(
        retail("1", quantity=3),
        retail("2", quantity=2, day=2),
        retail("C3", quantity=-2, day=3),
        retail("C4", quantity=-2, day=4),
        retail("C5", quantity=-2, day=5),
        retail("C6", quantity=-1, day=6),
    )
    assert refunds(plan) == {"1": [200, 100], "2": [200]}
    assert list(reasons(plan)) == [6]


def test_pieces_of_a_code_on_several_lines_are_one_number() -> None:
    plan = planned(retail("1", "A", 2, "1.00"), retail("1", "A", 3, "2.00"), retail("C2", "A", -4, "2.00", day=2))
    assert refunds(plan) == {"1": [800]}


def test_a_refund_has_the_cancellation_s_price_up_to_the_money_that_is_left() -> None:
    plan = planned(
        retail("1", quantity=10, price="1.00"), *(retail(f"C{n}", quantity=-2, price="3.00", day=n) for n in (2, 3, 4))
    )
    assert refunds(plan) == {"1": [600, 400]}
    assert reasons(plan) == {4: "the order that the cancellation matches is already refunded in full"}


def test_what_cost_nothing_is_cancelled_for_nothing() -> None:
    plan = planned(retail("1", "A"), retail("1", "GIFT", price="0"), retail("C2", "GIFT", -1, "0", day=2))
    assert refunds(plan) == {"1": [0]}
    assert plan.rejected == []


def test_what_comes_first_is_decided_by_date_and_not_by_place_in_the_file() -> None:
    plan = planned(retail("C3", quantity=-1, day=3), retail("1", day=1), retail("4", day=4))
    assert refunds(plan) == {"1": [100]}


def test_a_refund_keeps_its_identity_when_the_file_grows_or_is_mended_elsewhere() -> None:
    rows = [retail("1", "A", 5), retail("C2", "A", -1, day=2), retail("C2", "A", -1, day=2)]
    broken = retail("C2", "B", "?", day=2)
    plans = [planned(*rows), planned(rows[0], broken, *rows[1:], retail("3", day=3)), planned(*reversed(rows))]
    identities = [[one.identity for order in plan.orders for one in order.refunds] for plan in plans]
    assert identities[0] == identities[1] == identities[2]
    assert len(set(identities[0])) == 2


def test_a_plan_is_the_same_whenever_it_is_made() -> None:
    file = records.load(SAMPLE)
    source = FORMATS["online-retail"]
    assert import_plan.plan(file, source, at=LATER) == import_plan.plan(file, source, at=LATER + timedelta(days=365))


# ── against a slower way to say the same ─────────────────────────────────────────────────────────────────────────────

Row = tuple[str, str, str, int, str, str, str, str]


def by_hand(rows: list[Row]) -> tuple[set[int], dict[str, Decimal], dict[str, Decimal]]:
    """Rows taken, gross by invoice and refunds by invoice: the rules as one would follow them with a pencil."""
    taken: set[int] = set()
    gross: dict[str, Decimal] = {}
    refunded: Counter[str] = Counter()
    orders: list[tuple[str, str, Counter[str]]] = []  # invoice, customer, pieces left
    numbers = list(dict.fromkeys(row[0] for row in rows))
    for number in sorted(
        numbers, key=lambda number: next(int(row[4].split("/")[1]) for row in rows if row[0] == number)
    ):
        mine = [n for n, row in enumerate(rows) if row[0] == number]
        customer = next((rows[n][6] for n in mine if good(rows[n])), None)
        fit = [n for n in mine if good(rows[n]) and rows[n][6] == customer]
        if number.startswith("C"):
            for n in fit:
                pieces, price = -rows[n][3], Decimal(rows[n][5])
                found = [one for one in orders if one[1] == customer and one[2][rows[n][1]] > 0]
                if not found:
                    continue
                invoice, _, left = found[-1]
                given = min(min(pieces, left[rows[n][1]]) * price, gross[invoice] - refunded[invoice])
                if given == 0 and price > 0:
                    continue
                left[rows[n][1]] -= min(pieces, left[rows[n][1]])
                refunded[invoice] += given  # type: ignore[assignment]
                taken.add(n)
        elif (total := sum((rows[n][3] * Decimal(rows[n][5]) for n in fit), Decimal(0))) > 0:
            taken |= set(fit)
            gross[number] = total
            pieces_left: Counter[str] = Counter()
            for n in fit:
                pieces_left[rows[n][1]] += rows[n][3]
            orders.append((number, str(customer), pieces_left))
    return taken, gross, {invoice: Decimal(amount) for invoice, amount in refunded.items() if amount}


def good(row: Row) -> bool:
    return row[5] != "x" and (row[3] < 0 if row[0].startswith("C") else row[3] > 0)


@st.composite
def files(draw: st.DrawFn) -> list[Row]:
    """Few customers, codes and prices, so that cancellations often match; each invoice on one day, days in file order."""
    rows: list[Row] = []
    for number in range(draw(st.integers(0, 12))):
        invoice = draw(st.sampled_from(["", "", "C"])) + str(100 + number)
        owner = draw(st.sampled_from(["", "1", "2"]))
        for _ in range(draw(st.integers(1, 4))):
            sign = draw(st.sampled_from([-1, -1, -1, 1] if invoice[0] == "C" else [1, 1, 1, -1]))
            rows.append(
                (
                    invoice,
                    draw(st.sampled_from("AaB")),
                    "",
                    sign * draw(st.integers(0, 6)),
                    f"12/{1 + number}/2010 9:00",
                    draw(st.sampled_from(["0", "1.5", "2.25", "0.01", "x"])),
                    draw(st.sampled_from([owner] * 5 + ["3"])),
                    "Norway",
                )
            )
    return rows


@given(files())
def test_every_line_is_accounted_for_once_and_totals_are_those_worked_out_by_hand(rows: list[Row]) -> None:
    plan = planned(*rows)
    taken = [line.record.line - 2 for order in plan.orders for line in order.all_lines()]
    rejected = [one.record.line - 2 for one in plan.rejected]
    assert sorted(taken + rejected) == list(range(len(rows)))
    expected, gross, refunded = by_hand(rows)
    assert set(taken) == expected
    assert {one.number: Decimal(one.total) / 100 for one in plan.orders} == gross
    given_back = {one.number: Decimal(sum(refund.amount for refund in one.refunds)) / 100 for one in plan.orders}
    assert {number: amount for number, amount in given_back.items() if amount} == refunded
    assert all(amount <= gross[number] for number, amount in given_back.items())
