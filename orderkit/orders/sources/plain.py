"""Format `csv`: orders from anywhere, one line for each product of an order.

    order,customer_email,placed_at,sku,name,quantity,unit_price,currency,country
    1001,buyer1@example.com,2026-03-02T09:30:00Z,TEA-001,Green tea 100 g,2,7.50,EUR,Germany

`order` is the shop's own number; lines with the same number are one order. `placed_at` is ISO 8601 with its offset, and
`unit_price` a decimal in `currency`. `customer_email` may be empty (a guest), and so may `name` and `country`. An order is
taken whole or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from orderkit import money
from orderkit.auth import accounts
from orderkit.errors import Invalid
from orderkit.orders.sources.lines import Format, SourceLine, Unfit, amount, order_number, stock_code, whole_number
from orderkit.orders.sources.records import Record


def _read(record: Record, values: Sequence[str]) -> SourceLine:
    number, email, placed, sku, name, quantity_text, price, currency, country = values
    order = order_number(number)
    quantity = whole_number(quantity_text)
    if quantity <= 0:
        raise Unfit("the quantity is not positive")
    if not money.is_currency(currency):
        raise Unfit("the currency is not an ISO 4217 code")
    placed_at, day = _instant(placed)
    return SourceLine(
        record=record,
        order=order,
        cancels=False,
        customer=_email(email),
        placed_at=placed_at,
        day=day,
        sku=stock_code(sku),
        name=name,
        quantity=quantity,
        unit_price=amount(price, currency),
        currency=currency,
        country=country,
    )


@lru_cache(maxsize=10_000)
def _instant(text: str) -> tuple[datetime, str]:
    try:
        local = datetime.fromisoformat(text)
        if local.tzinfo is None:
            raise Unfit("placed_at has no offset from UTC, such as Z or +01:00")
        return local.astimezone(UTC), local.date().isoformat()
    except (ValueError, OverflowError):
        raise Unfit("placed_at is not a date and time in ISO 8601") from None


@lru_cache(maxsize=10_000)
def _email(text: str) -> str:
    try:
        return text and accounts.normal_email(text)
    except Invalid:
        raise Unfit("customer_email is not an e-mail address") from None


def _user_name(email: str) -> str:
    return email.partition("@")[0]


FORMAT = Format(
    name="csv",
    columns=("order", "customer_email", "placed_at", "sku", "name", "quantity", "unit_price", "currency", "country"),
    read=_read,
    user_name=_user_name,
    whole_orders=True,
)
