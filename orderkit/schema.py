"""All tables. Importing this module completes `Table.metadata`, which migrations and tests compare with the database."""

from orderkit import idempotency
from orderkit.analytics import models as analytics
from orderkit.auth import models as auth
from orderkit.catalog import models as catalog
from orderkit.db import Table
from orderkit.events import models as events
from orderkit.fulfillment import models as fulfillment
from orderkit.inventory import models as inventory
from orderkit.orders import models as orders
from orderkit.payments import models as payments

__all__ = [
    "analytics",
    "auth",
    "catalog",
    "events",
    "fulfillment",
    "idempotency",
    "inventory",
    "metadata",
    "orders",
    "payments",
]

metadata = Table.metadata
