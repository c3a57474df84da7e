"""Requests for refunds: each under an idempotency key that is claimed, and answered, in the transaction of its refund."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, select

from orderkit import idempotency
from orderkit.batches import alone
from orderkit.clock import now
from orderkit.db import Database
from orderkit.idempotency import Answer, Claim, KeyId, Replay
from orderkit.orders import erasure, refunds
from orderkit.orders.refund_lines import AskedLine
from orderkit.orders.refunds import OrderRefund
from orderkit.payments.models import Payment, Refund
from orderkit.settings import Settings

_refunds = Refund.__table__  # type: ignore[attr-defined]
_payments = Payment.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class RequestRefund:
    """Somebody's wish for a refund. `refund_id`, made by the caller, is also the token of its claim on the key.

    Without `user_id` it is the command line's. Without `amount` (minor units) and `lines` it is for all that is left.
    """

    refund_id: UUID
    order_id: UUID
    user_id: UUID | None
    idempotency_key: str
    fingerprint: str
    reason: str
    amount: int | None = None
    lines: tuple[AskedLine, ...] | None = None
    restock: bool = False
    request_id: str | None = None

    @property
    def key(self) -> KeyId:
        return KeyId(self.user_id or idempotency.COMMAND_LINE, self.idempotency_key)


def location(order_id: UUID, refund_id: UUID) -> str:
    return f"/orders/{order_id}/refunds/{refund_id}"


def carry_out(
    database: Database, settings: Settings, wanted: RequestRefund, answer: Callable[[OrderRefund], Answer]
) -> Replay:
    """Asks for the refund, unless the key did before; the answer that is stored for the key either way.

    Raises what `refunds.request` and `idempotency.judge` do. What is refused does not use the key up.
    """

    def act(connection: Connection) -> Replay:
        return idempotency.once(
            connection,
            Claim(wanted.key, wanted.fingerprint, wanted.refund_id),
            lambda: answer(_request(connection, wanted)),
            at=now(),
            lease=timedelta(seconds=settings.lease),
            ttl=timedelta(days=settings.idempotency_ttl_days),
            location=place,
        )

    def place(made: UUID, same: bool) -> str:
        # A key that made something else tells no more than where the refunds of this order are.
        return location(wanted.order_id, made) if same else f"/orders/{wanted.order_id}/refunds"

    return alone(database, act)


def _request(connection: Connection, wanted: RequestRefund) -> OrderRefund:
    """Raises KeyExpired, besides, where the key made a refund and has been forgotten since.

    Whoever comes here holds the claim on the key, so that nobody else is just making a refund under it: that is what keeps
    the keys of the command line unique, whose refunds have no actor for an index to tell apart.
    """
    made = (
        select(_refunds.c.id, _payments.c.order_id)
        .join_from(_refunds, _payments, _payments.c.id == _refunds.c.payment_id)
        .where(_refunds.c.actor_id == wanted.user_id, _refunds.c.idempotency_key == wanted.idempotency_key)
    )
    if before := connection.execute(made).first():
        raise idempotency.expired(location(before.order_id, before.id))
    made_now = refunds.request(
        connection,
        wanted.order_id,
        amount=wanted.amount,
        lines=wanted.lines,
        reason=wanted.reason,
        restock=wanted.restock,
        actor_id=wanted.user_id,
        request_id=wanted.request_id,
        refund_id=wanted.refund_id,
        idempotency_key=wanted.idempotency_key,
    )
    erasure.look_again(connection, wanted.order_id)  # the reason may say of somebody deleted who they were
    return made_now
