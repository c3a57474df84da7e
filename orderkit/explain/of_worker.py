"""Queries of the worker, of fulfillment, and of the story of an order, which joins them.

The worker and the API are imported when they are asked: whoever only wants names and texts need not wait for them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from orderkit.events import receipts
from orderkit.explain.query import Bench, Query
from orderkit.fulfillment import changes, dead_letters, reading, recalling
from orderkit.fulfillment.models import DeadLetter, Fulfillment

if TYPE_CHECKING:
    from orderkit.worker.due import Kind

DUE = {
    "payments": ("payments that nobody waits for and that have no verdict yet", "ix_payments_due", "pk_payments"),
    "recalls": ("bookings that the carrier is to forget", "ix_fulfillments_recall", "pk_fulfillments"),
    "refunds": ("refunds that the provider is to be asked for", "ix_refunds_due", "pk_refunds"),
    "fulfillments": ("parcels to be booked, and those whose worker died", "ix_fulfillments_due", "pk_fulfillments"),
    "mails": ("mails that are to be sent", "ix_account_mails_due", "pk_account_mails"),
}
"""Kinds of rows that the worker finds due: what they are, the index they are found by, and that by which they are stamped."""

STORY: dict[str, tuple[str, str | tuple[str, ...]]] = {
    "timeline.payment_attempts": ("what was asked of the provider", "ix_payment_attempts_payment_id"),
    "timeline.fulfillment_attempts": (
        "what was asked of the carrier",
        ("uq_fulfillments_order_id", "pk_fulfillment_attempts"),
    ),
    "timeline.history": ("changes of status and edits", "pk_order_history"),
    "timeline.fulfillments": ("its way to the carrier", "uq_fulfillments_order_id"),
    "timeline.refunds": ("refunds asked for", "ix_refunds_payment_id"),
    "timeline.settled_refunds": ("refunds that came to an end", "ix_refunds_payment_id"),
    "timeline.dead_letters": ("dead letters", "ix_dead_letters_order_id"),
    "timeline.closed_dead_letters": ("dead letters that were closed", "ix_dead_letters_order_id"),
    "timeline.deliveries": ("its delivery", "uq_fulfillments_order_id"),
}


class _Anything:
    """Stands for the worker's open connections and its queue, of which no query knows."""

    def __getattr__(self, _name: str) -> _Anything:
        return self


def _kind(name: str) -> Kind:
    from orderkit.worker import due

    anything: Any = _Anything()
    return next(kind for kind in due.kinds(anything, anything) if kind.name == name)


def _due(name: str) -> Query:
    def act(bench: Bench) -> object:
        from orderkit.worker import due

        return bench.connection.execute(due.due_first(_kind(name), bench.at).limit(1)).first()

    what, index, _key = DUE[name]
    return Query(f"{name}.due", f"whether there are {what}", index, act, ordered=True)


def _wake(name: str) -> Query:
    def act(bench: Bench) -> object:
        from orderkit.worker import due

        return due.stamp(bench.connection, _kind(name), 160, bench.at)

    what, index, key = DUE[name]
    return Query(f"{name}.wake", f"{what}: the longest due are stamped and woken", (index, key), act)


def _relay(bench: Bench) -> object:
    from orderkit.worker.relay import Relay

    return Relay(bench.database).turn()


def _relay_of_products(bench: Bench) -> object:
    from orderkit.worker import relay

    return bench.connection.execute(relay._unsent_of_products.limit(relay.BATCH)).all()


def _story(name: str) -> Query:
    what, index = STORY[name]
    return Query(name, f"the story of an order: {what}", index, _tell)


def _tell(bench: Bench) -> object:
    from orderkit.api import timeline

    return timeline.page(bench.connection, bench.order, limit=20, to_staff=True)


def _of_order(what: Callable[..., object], **more: Any) -> Callable[[Bench], object]:
    return lambda bench: what(bench.connection, [bench.order.id], **more)


QUERIES = (
    *map(_due, DUE),
    *map(_wake, DUE),
    Query(
        "outbox.unsent",
        "events of orders that the relay has not sent, those of each in their sequence",
        "ix_outbox_unsent",
        _relay,
        ordered=True,
    ),
    Query(
        "outbox.unsent_of_products",
        "events of products that the relay has not sent, oldest first",
        "ix_outbox_of_products",
        _relay_of_products,
        # SQLite takes "order_id IS NULL" for a key of the other index: it finds the same few rows, and sorts them.
        elsewhere={"sqlite": ("ix_outbox_unsent",)},
    ),
    Query(
        "receipts.forget",
        "receipts of callbacks that are old, oldest first",
        "ix_webhook_receipts_received_at",
        lambda b: receipts.forget(b.connection, before=b.at - timedelta(days=7)),
    ),
    Query(
        "fulfillments.claim",
        "the order of a parcel that a worker was woken for",
        "pk_fulfillments",
        lambda b: changes.lock(b.connection, b.id_of(Fulfillment)),
    ),
    Query(
        "fulfillments.claim_recall",
        "a recall that a worker was woken for, leased",
        "pk_fulfillments",
        lambda b: recalling.claim(b.connection, b.id_of(Fulfillment), settings=b.settings),
    ),
    Query(
        "fulfillments.of_orders",
        "fulfillments of the orders of a page",
        "uq_fulfillments_order_id",
        _of_order(reading.of_orders),
    ),
    Query(
        "fulfillments.stop",
        "fulfillments of orders that were cancelled or refunded, locked",
        "uq_fulfillments_order_id",
        lambda b: recalling.stop_orders(b.connection, [b.order.id], at=b.at),
    ),
    Query(
        "dead_letters.open",
        "open dead letters, newest first",
        "ix_dead_letters_open",
        lambda b: dead_letters.page(b.connection, limit=20),
        ordered=True,
    ),
    Query(
        "dead_letters.all",
        "all dead letters, newest first",
        "ix_dead_letters_created_at",
        lambda b: dead_letters.page(b.connection, limit=20, resolved=True),
        ordered=True,
    ),
    Query(
        "dead_letters.attempts",
        "every call to the carrier for a dead letter's parcel",
        "pk_fulfillment_attempts",
        lambda b: dead_letters.attempts(b.connection, _letter(b)),
    ),
    *map(_story, STORY),
)


def _letter(bench: Bench) -> dead_letters.Letter:
    some, parcel = bench.id_of(DeadLetter), bench.id_of(Fulfillment)
    return dead_letters.Letter(some, parcel, bench.order.id, "", 0, bench.at, None, None)
