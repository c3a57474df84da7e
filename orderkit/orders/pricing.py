"""What an order costs. Pure: products and lines in, a quote out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orderkit.errors import Invalid, OutOfStock, PriceChanged
from orderkit.money import MAX_AMOUNT


@dataclass(frozen=True, slots=True)
class Line:
    """So many of a SKU."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class PricedLine:
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


def price(lines: Sequence[Line], products: Mapping[str, Any]) -> Quote:
    """Prices `lines` from `products` (rows by SKU with name, unit_price, currency).

    Raises Invalid with a pointer to every line whose SKU is unknown or whose currency is not that of the first line, and
    when the total is more than can be counted.
    """
    unknown = [n for n, line in enumerate(lines) if line.sku not in products]
    if unknown:
        raise Invalid(
            "some products do not exist",
            pointers=[(f"#/items/{n}/sku", f"there is no {lines[n].sku}") for n in unknown],
        )
    currency = products[lines[0].sku].currency
    strange = [n for n, line in enumerate(lines) if products[line.sku].currency != currency]
    if strange:
        raise Invalid(
            "an order has one currency",
            pointers=[
                (f"#/items/{n}/sku", f"is priced in {products[lines[n].sku].currency}, not {currency}") for n in strange
            ],
        )
    priced = tuple(_priced(line, products[line.sku]) for line in lines)
    total = sum(line.line_total for line in priced)
    if total > MAX_AMOUNT:
        raise Invalid(
            "the total is more than can be counted", pointers=[("#/items", f"the total exceeds {MAX_AMOUNT}")]
        )
    return Quote(priced, currency, total)


def _priced(line: Line, product: Any) -> PricedLine:
    return PricedLine(line.sku, product.name, line.quantity, product.unit_price, line.quantity * product.unit_price)


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
