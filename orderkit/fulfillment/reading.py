"""How far orders have come on their way out of the door."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select

from orderkit.fulfillment.models import Fulfillment
from orderkit.rows import any_of

_fulfillments = Fulfillment.__table__  # type: ignore[attr-defined]


def of_orders(connection: Connection, order_ids: Sequence[UUID]) -> dict[UUID, Any]:
    """Rows of order_id, status and tracking_number for those orders whose fulfillment has been queued."""
    if not order_ids:
        return {}
    columns = (_fulfillments.c.order_id, _fulfillments.c.status, _fulfillments.c.tracking_number)
    query = select(*columns).where(any_of(connection, _fulfillments.c.order_id, order_ids))
    found = connection.execute(query.execution_options(query="fulfillments.of_orders"))
    return {row.order_id: row for row in found}
