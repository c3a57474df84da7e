"""Money is whole minor units. No figure is rounded, and none goes through a float."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderkit import money
from orderkit.money import MAX_AMOUNT

CURRENCIES = ("JPY", "GBP", "KWD", "CLF")


@pytest.mark.parametrize(
    ("code", "decimals"), [("GBP", 2), ("USD", 2), ("JPY", 0), ("KRW", 0), ("KWD", 3), ("BHD", 3), ("CLF", 4)]
)
def test_currencies_have_the_decimals_that_iso_4217_gives_them(code: str, decimals: int) -> None:
    assert money.exponent(code) == decimals
    assert money.is_currency(code)


@pytest.mark.parametrize("code", ["", "GB", "GBX", "gbp", "GBP ", "XAU", "XXX", "XTS", "£", "DEM", "123"])
def test_what_one_cannot_pay_with_is_no_currency(code: str) -> None:
    assert not money.is_currency(code)
    with pytest.raises(ValueError, match=r"currency|not a valid|is not"):
        money.exponent(code)


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("2.55", "GBP", 255),
        ("2.5", "GBP", 250),
        ("2", "GBP", 200),
        ("2.550", "GBP", 255),
        ("0", "GBP", 0),
        ("-1.10", "GBP", -110),
        (" 7.00 ", "GBP", 700),
        ("500", "JPY", 500),
        ("500.0", "JPY", 500),
        ("1.234", "KWD", 1234),
        ("1e2", "GBP", 10000),
        ("0.29", "GBP", 29),  # 28.999… as a float
        ("1.15", "GBP", 115),  # 114.99… as a float
        ("90071992547409.91", "GBP", MAX_AMOUNT),
    ],
)
def test_a_decimal_text_is_minor_units_exactly(text: str, currency: str, minor: int) -> None:
    assert money.to_minor(text, currency) == minor


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("2.555", "GBP"),
        ("0.5", "JPY"),
        ("1.2345", "KWD"),
        ("", "GBP"),
        ("abc", "GBP"),
        ("1,50", "GBP"),
        ("1.5.0", "GBP"),
        ("NaN", "GBP"),
        ("Infinity", "GBP"),
        ("-Infinity", "GBP"),
        ("sNaN", "GBP"),
        ("90071992547409.92", "GBP"),
        ("-90071992547409.92", "GBP"),
        ("1e400", "GBP"),
        ("1e999999", "GBP"),
        ("1e-400", "GBP"),
        ("1", "GBX"),
    ],
)
def test_what_is_no_amount_is_refused_and_never_rounded(text: str, currency: str) -> None:
    with pytest.raises(ValueError, match=r"is not|currency"):
        money.to_minor(text, currency)


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (123456, "GBP", "1,234.56 GBP"),
        (5, "GBP", "0.05 GBP"),
        (0, "GBP", "0.00 GBP"),
        (-150, "GBP", "-1.50 GBP"),
        (1234567, "JPY", "1,234,567 JPY"),
        (1, "KWD", "0.001 KWD"),
        (MAX_AMOUNT, "GBP", "90,071,992,547,409.91 GBP"),
    ],
)
def test_an_amount_is_shown_with_all_its_decimals(amount: int, currency: str, text: str) -> None:
    assert money.to_text(amount, currency) == text


@given(st.integers(-MAX_AMOUNT, MAX_AMOUNT), st.sampled_from(CURRENCIES))
def test_what_is_shown_is_read_as_the_same_amount(amount: int, currency: str) -> None:
    number, code = money.to_text(amount, currency).replace(",", "").split()
    assert code == currency
    assert money.to_minor(number, currency) == amount


@given(st.decimals(allow_nan=False, allow_infinity=False, places=5, min_value=-1000, max_value=1000))
def test_an_amount_is_taken_exactly_or_not_at_all(value: Decimal) -> None:
    try:
        minor = money.to_minor(str(value), "GBP")
    except ValueError:
        assert value * 100 % 1 != 0
    else:
        assert Decimal(minor) == value * 100
