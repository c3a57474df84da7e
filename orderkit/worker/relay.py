"""The relay: takes what the outbox says to those who must hear it, events of one order always in their sequence."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from loguru import logger
from sqlalchemy import Connection, select

from orderkit.analytics import facts, rollups
from orderkit.clock import now
from orderkit.db import Database
from orderkit.events import types
from orderkit.events.models import Lease, OutboxEvent
from orderkit.fulfillment import recalling, shipping
from orderkit.observability import logs, metrics, tracing
from orderkit.orders import snapshot
from orderkit.rows import insert_rows, update_rows

NAME = "relay"
BATCH = 200
STOPPING = (types.ORDER_CANCELLED, types.ORDER_REFUNDED)
"""After these nothing is to be shipped that has not been."""

_events = OutboxEvent.__table__  # type: ignore[attr-defined]
_leases = Lease.__table__  # type: ignore[attr-defined]

_unsent = facts.unsent_events().add_columns(_events.c.traceparent, _events.c.created_at)
# Asked for by themselves: NULL sorts behind every order on one engine and before them on the other, and either would
# have the one kind wait for as long as there is enough of the other.
_unsent_of_products = (
    select(_events.c.id, _events.c.type, _events.c.payload)
    .where(_events.c.sent_at.is_(None), _events.c.order_id.is_(None))
    .order_by(_events.c.created_at, _events.c.id)
    .execution_options(query="outbox.unsent_of_products")
)


class Relay:
    """One candidate for the relay. However many there are, one at a time relays: whoever has the lease's row locked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def turn(self) -> int:
        """Applies at most BATCH events of orders and as many of products, and marks them sent, in one transaction; how many.

        0 when there is nothing to do, or another relay is at it.
        """
        with self._database.reading() as session:  # not to take SQLite's write lock four times a second for nothing
            if all(
                session.connection().execute(one.limit(1)).first() is None for one in (_unsent, _unsent_of_products)
            ):
                return 0
        with self._database.transaction() as session:
            connection = session.connection()
            at = now()
            if not _leads(connection):
                return 0
            events = connection.execute(_unsent.limit(BATCH)).all()
            of_products = connection.execute(_unsent_of_products.limit(BATCH)).all()
            _apply(connection, events, at)
            sent = [{"id": event.id, "sent_at": at} for event in (*events, *of_products)]
            update_rows(connection, OutboxEvent, sent, only_if={"sent_at": None})
            # Last, for whoever adds to the rollups too waits for this to end: with the events, or not at all.
            added_to = rollups.apply(connection, facts.of_events(connection, events))
        metrics.events_relayed.inc(len(sent))
        metrics.rollup_rows.inc(added_to)
        _tell(events, at)  # after the commit, so that it is said once
        _warn(of_products)
        return len(sent)


def _leads(connection: Connection) -> bool:
    """Whether the caller has the lease, which it then keeps until its transaction ends, however that ends."""
    lease = select(_leases.c.name).where(_leases.c.name == NAME)
    free = lease.with_for_update(skip_locked=True, key_share=True)
    if connection.execute(free).first() is not None:
        return True
    if connection.execute(lease).first() is not None:
        return False
    insert_rows(connection, Lease, [{"name": NAME}], skip_existing=True)
    return connection.execute(free).first() is not None


def _apply(connection: Connection, events: Sequence[Any], at: datetime) -> None:
    """Who must hear of what. Other events concern nobody here.

    All that were paid before all that were cancelled or refunded: an order is never paid after that, so this keeps the
    sequence of each.

    Whatever orders are to be locked are locked before any fulfillment is written: who ships by hand waits for a fulfillment
    that is being written, holding its order, for which a settlement may wait, holding another. Orders that were merely paid
    need no lock, being most of what passes here: nothing that is done to them waits for an order.
    """
    stopping = [one.order_id for one in events if one.type in STOPPING]
    if stopping:
        snapshot.lock(connection, stopping)
    shipping.enqueue(connection, [one.order_id for one in events if one.type == types.ORDER_PAID], at=at)
    recalling.stop_orders(connection, stopping, at=at)


def _tell(events: Sequence[Any], at: datetime) -> None:
    """One line for each event of an order, in the trace of whoever made it, and past loguru: 200 come in a turn."""
    for one in events:
        with tracing.span(f"relay {one.type}", one.traceparent, order_id=one.order_id):
            waited_ms = round((at - one.created_at).total_seconds() * 1000, 1)
            told = {"event": one.type, "sequence": one.sequence, "waited_ms": waited_ms}
            logs.write("INFO", f"event {one.type} relayed", told, name=__name__)


def _warn(events: Sequence[Any]) -> None:
    """Says in the log what nothing else here acts on, and somebody should."""
    for one in events:
        if one.type == types.PRODUCT_LOW_STOCK:
            said = (one.payload[name] for name in ("sku", "stock", "threshold"))
            logger.warning("stock of {} is low: {} left, told of at {} or fewer", *said)
