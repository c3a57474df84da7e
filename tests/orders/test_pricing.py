"""What an order costs: a pure function of lines, products and prices."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderkit.errors import Invalid, PriceChanged
from orderkit.money import MAX_AMOUNT
from orderkit.orders import pricing
from orderkit.orders.pricing import Line

MAX_QUANTITY = 10_000


def product(unit_price: int, currency: str = "GBP") -> Any:
    return SimpleNamespace(name="of the moment", unit_price=unit_price, currency=currency)


def refused(lines: list[Line], products: dict[str, Any], *more: Any) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        pricing.price(lines, products, *more)
    return caught.value.pointers


amounts = st.integers(0, MAX_AMOUNT) | st.integers(0, 10_000) | st.sampled_from([0, 1, MAX_AMOUNT // 2, MAX_AMOUNT])
catalogs = st.dictionaries(st.sampled_from("ABCDE"), amounts, min_size=1)
quantities = st.integers(1, MAX_QUANTITY) | st.sampled_from([1, 2, MAX_QUANTITY])


@st.composite
def orders(draw: st.DrawFn) -> tuple[dict[str, int], list[Line]]:
    unit_prices = draw(catalogs)
    lines = st.builds(Line, st.sampled_from(sorted(unit_prices)), quantities)
    return unit_prices, draw(st.lists(lines, min_size=1, max_size=100))


@given(orders())
def test_the_total_is_the_exact_sum_or_the_order_is_refused(order: tuple[dict[str, int], list[Line]]) -> None:
    unit_prices, lines = order
    products = {sku: product(unit_price) for sku, unit_price in unit_prices.items()}
    exact = sum(unit_prices[line.sku] * line.quantity for line in lines)
    if exact > MAX_AMOUNT:
        assert all(where.startswith("#/items") for where, _ in refused(lines, products))
        return
    quote = pricing.price(lines, products)
    assert quote.total == exact == sum(line.line_total for line in quote.lines)
    assert [(one.sku, one.quantity, one.unit_price) for one in quote.lines] == [
        (one.sku, one.quantity, unit_prices[one.sku]) for one in lines
    ]
    assert all(0 <= line.line_total == line.quantity * line.unit_price <= MAX_AMOUNT for line in quote.lines)


@given(orders())
def test_one_order_costs_the_same_numbers_in_whichever_currency_has_these_prices(
    order: tuple[dict[str, int], list[Line]],
) -> None:
    unit_prices, lines = order
    own = {sku: product(unit_price, "KWD") for sku, unit_price in unit_prices.items()}
    other = {sku: product(1, "GBP") for sku in unit_prices}
    prices = {(sku, "KWD"): unit_price for sku, unit_price in unit_prices.items()}
    if sum(unit_prices[line.sku] * line.quantity for line in lines) > MAX_AMOUNT:
        assert refused(lines, own) == refused(lines, other, "KWD", prices)
    else:
        assert pricing.price(lines, own) == pricing.price(lines, other, "KWD", prices)


@given(orders())
def test_needs_are_the_pieces_of_every_line(order: tuple[dict[str, int], list[Line]]) -> None:
    _, lines = order
    needed = pricing.needs(lines)
    assert sum(needed.values()) == sum(line.quantity for line in lines)
    assert set(needed) == {line.sku for line in lines}


@pytest.mark.parametrize(
    ("unit_prices", "quantities", "total"),
    [([MAX_AMOUNT], [1], MAX_AMOUNT), ([MAX_AMOUNT - 1, 1], [1, 1], MAX_AMOUNT), ([0], [MAX_QUANTITY], 0)],
)
def test_what_can_just_be_counted_is_taken(unit_prices: list[int], quantities: list[int], total: int) -> None:
    products = {str(n): product(unit_price) for n, unit_price in enumerate(unit_prices)}
    lines = [Line(str(n), quantity) for n, quantity in enumerate(quantities)]
    assert pricing.price(lines, products).total == total


@pytest.mark.parametrize(
    ("unit_prices", "quantities", "where"),
    [
        ([MAX_AMOUNT, 1], [1, 1], ["#/items"]),  # each can be, together they cannot
        ([1, MAX_AMOUNT], [1, 2], ["#/items/1/quantity"]),
        ([MAX_AMOUNT, MAX_AMOUNT], [MAX_QUANTITY, 2], ["#/items/0/quantity", "#/items/1/quantity"]),
    ],
)
def test_what_cannot_be_counted_is_refused_where_it_is(
    unit_prices: list[int], quantities: list[int], where: list[str]
) -> None:
    products = {str(n): product(unit_price) for n, unit_price in enumerate(unit_prices)}
    lines = [Line(str(n), quantity) for n, quantity in enumerate(quantities)]
    assert [one for one, _ in refused(lines, products)] == where


def test_without_a_currency_each_product_costs_what_it_does_in_its_own() -> None:
    products = {"A": product(5, "EUR"), "B": product(7, "EUR")}
    quote = pricing.price([Line("A", 2), Line("B", 1)], products, None, {("A", "GBP"): 1, ("B", "GBP"): 1})
    assert (quote.currency, quote.total) == ("EUR", 17)


def test_without_a_currency_a_mixture_is_refused_at_the_lines_that_differ() -> None:
    products = {"A": product(5, "EUR"), "B": product(7, "GBP"), "C": product(7, "JPY")}
    lines = [Line("A", 1), Line("B", 1), Line("A", 1), Line("C", 1)]
    assert refused(lines, products) == [
        ("#/items/1/sku", "is priced in GBP, not EUR"),
        ("#/items/3/sku", "is priced in JPY, not EUR"),
    ]


def test_with_a_currency_a_mixture_is_priced_in_it() -> None:
    products = {"A": product(5, "EUR"), "B": product(7, "GBP")}
    prices = {("B", "EUR"): 9, ("A", "JPY"): 1, ("B", "JPY"): 1}
    quote = pricing.price([Line("A", 2), Line("B", 3)], products, "EUR", prices)
    assert (quote.currency, quote.total) == ("EUR", 2 * 5 + 3 * 9)


def test_a_price_of_nothing_is_a_price() -> None:
    assert pricing.price([Line("A", 3)], {"A": product(5)}, "EUR", {("A", "EUR"): 0}).total == 0


def test_a_product_without_that_price_is_pointed_at() -> None:
    products = {"A": product(5, "EUR"), "B": product(7, "GBP"), "C": product(7, "GBP")}
    lines = [Line("A", 1), Line("B", 1), Line("C", 1)]
    assert refused(lines, products, "EUR", {("B", "JPY"): 1, ("C", "EUR"): 1}) == [
        ("#/items/1/sku", "B has no price in EUR")
    ]


def test_what_does_not_exist_is_told_before_what_has_no_price() -> None:
    assert [where for where, _ in refused([Line("A", 1), Line("NONE", 1)], {"A": product(5)}, "EUR", {})] == [
        "#/items/1/sku"
    ]


def test_an_expectation_is_of_the_amount_in_the_currency_asked_for() -> None:
    quote = pricing.price([Line("A", 1)], {"A": product(5)}, "EUR", {("A", "EUR"): 6})
    pricing.check_expected(quote, 6)
    with pytest.raises(PriceChanged) as caught:
        pricing.check_expected(quote, 5)
    assert caught.value.facts == {"total": 6, "currency": "EUR"}
