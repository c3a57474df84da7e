"""Things that tests need to exist, made through the database and named so that two never clash."""

from __future__ import annotations

from tests.factories.accounts import GRANTS, PASSWORD, all_users, logs_in, make_user
from tests.factories.catalog import make_product
from tests.factories.orders import insert_orders, place_order, to_place

__all__ = [
    "GRANTS",
    "PASSWORD",
    "all_users",
    "insert_orders",
    "logs_in",
    "make_product",
    "make_user",
    "place_order",
    "to_place",
]
