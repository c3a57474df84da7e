"""An order without an address was NULL on PostgreSQL and the JSON document `null` on SQLite.

SQLAlchemy's JSON writes None as a document unless told otherwise, and rows that go to PostgreSQL as arrays never ask it. Both
read back as None, so that only a query with IS NULL would ever have told.
"""

from __future__ import annotations

from sqlalchemy import text

from orderkit.db import Database
from orderkit.settings import Settings
from tests.factories import make_product, make_user, place_order


def test_an_order_without_an_address_has_none_on_both_engines(database: Database, settings: Settings) -> None:
    place_order(database, settings, make_user(database), make_product(database).sku)
    with database.reading() as session:
        assert session.execute(text("SELECT count(*) FROM orders WHERE shipping_address IS NULL")).scalar() == 1
