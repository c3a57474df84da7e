"""What a line of any file says, once it could be read, and how its parts are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from orderkit import money
from orderkit.catalog.products import is_sku
from orderkit.orders.sources.records import Record

MAX_QUANTITY = 10**9
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Unfit(Exception):
    """A line cannot be taken. The text is its reason, the same for all lines with the same fault, so that they can be counted."""


@dataclass(frozen=True, slots=True)
class SourceLine:
    """One line of a source. `quantity` counts pieces, from 1, sold or, if it `cancels`, taken back.

    `order` is the source's own number of the order, or of the cancellation. `customer` is an email address, empty for a
    guest. `unit_price` is in minor units. `day` is the date as the file has it; `placed_at` the instant, in UTC.
    """

    record: Record
    order: str
    cancels: bool
    customer: str
    placed_at: datetime
    day: str
    sku: str
    name: str
    quantity: int
    unit_price: int
    currency: str
    country: str


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file: the columns it must have, in any order and among others, and how to read their values.

    The first column is the order's number. `read` takes the record and those values, stripped, in the order of `columns`,
    and raises Unfit. `user_name` names a customer who is not a user yet. With `whole_orders`, an order of which one line
    cannot be taken is left out altogether, to be imported once it is mended; else what can be taken is the order.
    """

    name: str
    columns: tuple[str, ...]
    read: Callable[[Record, Sequence[str]], SourceLine]
    user_name: Callable[[str], str]
    whole_orders: bool


def order_number(text: str) -> str:
    if not text:
        raise Unfit("the order number is missing")
    if len(text) > 100:
        raise Unfit("the order number has more than 100 characters")
    return text


def stock_code(text: str) -> str:
    if not text:
        raise Unfit("the stock code is missing")
    if not is_sku(text):
        raise Unfit("the stock code has more than 64 characters, a slash, or spaces in a row")
    return text


def whole_number(text: str) -> int:
    """A quantity as written, whatever its sign."""
    if not _WHOLE.fullmatch(text):
        raise Unfit("the quantity is not a whole number")
    quantity = int(text)
    if abs(quantity) > MAX_QUANTITY:
        raise Unfit(f"the quantity is more than {MAX_QUANTITY}")
    return quantity


@lru_cache(maxsize=10_000)
def amount(text: str, currency: str) -> int:
    """A unit price in minor units; zero is one, too."""
    if not _DECIMAL.fullmatch(text):
        raise Unfit("the unit price is not a number")
    if text.startswith("-"):
        raise Unfit("the unit price is negative")
    try:
        return money.to_minor(text, currency)
    except ValueError:
        raise Unfit(f"the unit price is not an amount in {currency}") from None


def check_text(values: Sequence[str]) -> None:
    """Raises Unfit for control characters, which no name holds and PostgreSQL in part refuses."""
    if any(_CONTROL.search(value) for value in values):
        raise Unfit("the line holds control characters")
