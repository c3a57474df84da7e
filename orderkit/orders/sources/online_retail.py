"""Format `online-retail`: the "Online Retail" data set of the UCI Machine Learning Repository (D. Chen, 2015).

    InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
    536365,85123A,WHITE HANGING HEART T-LIGHT HOLDER,6,12/1/2010 8:26,2.55,17850,United Kingdom

An invoice whose number begins with C is a cancellation, with negative quantities. Prices are pounds, dates are
month/day/year in British local time, and a missing customer is a guest.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from orderkit.orders.sources.lines import Format, SourceLine, Unfit, amount, order_number, stock_code, whole_number
from orderkit.orders.sources.records import Record

CURRENCY = "GBP"
_DOMAIN = "online-retail.invalid"  # RFC 2606: nobody gets mail there, and nobody can register it
_LOCAL = ZoneInfo("Europe/London")


def _read(record: Record, values: Sequence[str]) -> SourceLine:
    number, code, description, quantity_text, date, price, customer, country = values
    order = order_number(number)
    cancels = order[0] in "Cc"
    quantity = whole_number(quantity_text)
    if quantity == 0:
        raise Unfit("the quantity is zero")
    if cancels and quantity > 0:
        raise Unfit("the quantity is positive in a cancellation")
    if not cancels and quantity < 0:
        raise Unfit("the quantity is negative and the invoice is no cancellation")
    placed_at, day = _instant(date)
    return SourceLine(
        record=record,
        order=order,
        cancels=cancels,
        customer=_email(customer),
        placed_at=placed_at,
        day=day,
        sku=stock_code(code),
        name=description,
        quantity=abs(quantity),
        unit_price=amount(price, CURRENCY),
        currency=CURRENCY,
        country=country,
    )


@lru_cache(maxsize=10_000)  # the lines of an invoice share one date
def _instant(text: str) -> tuple[datetime, str]:
    try:
        local = datetime.strptime(text, "%m/%d/%Y %H:%M").replace(tzinfo=_LOCAL)
        return local.astimezone(UTC), local.date().isoformat()
    except (ValueError, OverflowError):
        raise Unfit("the date is not month/day/year hour:minute") from None


@lru_cache(maxsize=10_000)
def _email(customer: str) -> str:
    if not customer:
        return ""
    if not customer.isascii() or not customer.isalnum() or len(customer) > 32:
        raise Unfit("the customer is not a number")
    return f"customer-{customer.lower()}@{_DOMAIN}"


def _user_name(email: str) -> str:
    return email.partition("@")[0].replace("-", " ").capitalize()


FORMAT = Format(
    name="online-retail",
    columns=("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"),
    read=_read,
    user_name=_user_name,
    whole_orders=False,
)
