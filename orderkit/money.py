"""Money is an integer of minor units and an ISO 4217 currency. Nothing here, or anywhere, is a float."""

from __future__ import annotations

from decimal import Decimal
from functools import cache

from iso4217 import Currency

MAX_AMOUNT = 2**53 - 1
"""The largest amount, in minor units, that every JSON reader takes without losing a cent (RFC 8259, section 6)."""


@cache
def exponent(currency: str) -> int:
    """Decimals of a currency: 2 for GBP, 0 for JPY, 3 for KWD. Raises ValueError for what ISO 4217 does not list."""
    found = Currency(currency).exponent
    if found is None:  # XAU, XXX and the like have no minor unit and cannot be paid with
        raise ValueError(f"{currency} is not a currency one can pay with")
    return int(found)


def is_currency(code: str) -> bool:
    try:
        exponent(code)
    except ValueError:
        return False
    return True


def to_minor(text: str, currency: str) -> int:
    """Minor units of a decimal text: `("2.55", "GBP")` is 255.

    Raises ValueError for what is not a number, has more decimals than the currency, or exceeds MAX_AMOUNT.
    """
    try:
        minor = Decimal(text).scaleb(exponent(currency))
    except ArithmeticError:  # no number at all, or an exponent that Decimal does not have
        raise ValueError(f"{text!r} is not an amount") from None
    if not minor.is_finite() or minor != minor.to_integral_value() or abs(minor) > MAX_AMOUNT:
        raise ValueError(f"{text!r} is not an amount in {currency}")
    return int(minor)


def to_text(amount: int, currency: str) -> str:
    """`(123456, "GBP")` is `1,234.56 GBP`."""
    return f"{Decimal(amount).scaleb(-exponent(currency)):,f} {currency}"
