"""Which order is meant: people name it by its number, programs by its id."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from sqlalchemy import Connection

MAX_NUMBER = 2**63 - 1
"""Of an order, as the database counts."""


def is_number(text: str) -> bool:
    """Whether an order could have it as its number."""
    return text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= MAX_NUMBER


def found(connection: Connection, order: str) -> UUID | None:
    """The id of the order with this number or id, if there is one. Raises Invalid for what is neither."""
    from orderkit.errors import Invalid
    from orderkit.orders import reading

    if is_number(order):
        orders = reading.page(connection, reading.Wanted(number=int(order)), limit=1).orders
        return orders[0].id if orders else None
    try:
        wanted = UUID(order)
    except ValueError:
        raise Invalid(f"{order} is neither the number nor the id of an order") from None
    known = reading.find(connection, wanted)
    return known.id if known else None


def id_of(connection: Connection, order: str) -> UUID:
    """Like `found`. Raises NotFound where there is none."""
    from orderkit.errors import NotFound

    order_id = found(connection, order)
    if order_id is None:
        raise NotFound(f"there is no order {order}; see: orderkit orders list")
    return order_id
