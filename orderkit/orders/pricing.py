"""What an order costs. Pure: products and lines in, a quote out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from orderkit.errors import Invalid, OutOfStock, PriceChanged
from orderkit.money import MAX_AMOUNT


@dataclass(frozen=True, slots=True)
class Line:
    """So many of a SKU."""

    sku: str
    quantity: int


class PricedLine(NamedTuple):
    """A line with the name and the price of the moment, in minor units."""

    sku: str
    name: str
    quantity: int
    unit_price: int
    line_total: int


@dataclass(frozen=True, slots=True)
class Quote:
    lines: tuple[PricedLine, ...]
    currency: str
    total: int


NO_PRICES: Mapping[tuple[str, str], int] = MappingProxyType({})


def price(
    lines: Sequence[Line],
    products: Mapping[str, Any],
    currency: str | None = None,
    prices: Mapping[tuple[str, str], int] = NO_PRICES,
) -> Quote:
    """Prices `lines` from `products` (rows by SKU with name, unit_price, currency).

    With a `currency` all in that: a product of another by its price in `prices`, minor units by SKU and currency. Without,
    each in its own.

    Raises Invalid with a pointer to every line whose SKU is unknown, that has no price in the currency asked for, whose
    currency is not that of the first line, or that costs more than can be counted; also when the total does.
    """
    unknown = [n for n, line in enumerate(lines) if line.sku not in products]
    if unknown:
        raise Invalid(
            "some products do not exist",
            pointers=[(f"#/items/{n}/sku", f"there is no {lines[n].sku}") for n in unknown],
        )
    unit_prices = _own(lines, products) if currency is None else _in(currency, lines, products, prices)
    priced = tuple(
        PricedLine(line.sku, products[line.sku].name, line.quantity, unit_price, line.quantity * unit_price)
        for line, unit_price in zip(lines, unit_prices, strict=True)
    )
    return Quote(priced, currency or products[lines[0].sku].currency, _total(priced))


def _own(lines: Sequence[Line], products: Mapping[str, Any]) -> list[int]:
    currency = products[lines[0].sku].currency
    strange = [n for n, line in enumerate(lines) if products[line.sku].currency != currency]
    if strange:
        raise Invalid(
            "an order has one currency",
            pointers=[
                (f"#/items/{n}/sku", f"is priced in {products[lines[n].sku].currency}, not {currency}") for n in strange
            ],
        )
    return [products[line.sku].unit_price for line in lines]


def _in(
    currency: str, lines: Sequence[Line], products: Mapping[str, Any], prices: Mapping[tuple[str, str], int]
) -> list[int]:
    unit_prices: list[int] = []
    missing: list[int] = []
    for n, line in enumerate(lines):
        product = products[line.sku]
        unit_price = product.unit_price if product.currency == currency else prices.get((line.sku, currency))
        if unit_price is None:
            missing.append(n)
        else:
            unit_prices.append(unit_price)
    if missing:
        raise Invalid(
            f"some products are not sold in {currency}",
            pointers=[(f"#/items/{n}/sku", f"{lines[n].sku} has no price in {currency}") for n in missing],
        )
    return unit_prices


def _total(lines: Sequence[PricedLine]) -> int:
    """Their sum. Nothing overflows on the way: Python's integers have no end; what would not fit is refused here."""
    total = sum(line.line_total for line in lines)
    if total <= MAX_AMOUNT:  # and so is every line, as none is negative
        return total
    told = f"costs more than can be counted, {MAX_AMOUNT}"
    beyond = [(f"#/items/{n}/quantity", told) for n, line in enumerate(lines) if line.line_total > MAX_AMOUNT]
    raise Invalid("the total is more than can be counted", pointers=beyond or [("#/items", f"together {told}")])


def check_expected(quote: Quote, expected_total: int | None) -> None:
    """Raises PriceChanged, with the new total, when the customer expected another one."""
    if expected_total is not None and expected_total != quote.total:
        raise PriceChanged(
            f"the total is {quote.total}, not {expected_total}",
            facts={"total": quote.total, "currency": quote.currency},
        )


def needs(lines: Sequence[Line | PricedLine]) -> Counter[str]:
    """Pieces needed of each SKU; a SKU on several lines is one need."""
    needed: Counter[str] = Counter()
    for line in lines:
        needed[line.sku] += line.quantity
    return needed


def check_stock(needed: Mapping[str, int], left: Mapping[str, int]) -> None:
    """Raises OutOfStock, naming every SKU of which less is left than needed."""
    short = sorted(sku for sku, quantity in needed.items() if left[sku] < quantity)
    if short:
        raise OutOfStock(f"not enough of {', '.join(short)}", facts={"skus": short})
