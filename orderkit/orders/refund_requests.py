"""Requests for refunds: each under an idempotency key that is claimed, and answered, in the transaction of its refund."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from orderkit import idempotency
from orderkit.batches import in_one_transaction
from orderkit.clock import now
from orderkit.db import Database
from orderkit.idempotency import Answer, KeyId, Replay
from orderkit.orders import refund_reading, refunds
from orderkit.orders.refund_lines import AskedLine
from orderkit.orders.refunds import OrderRefund
from orderkit.settings import Settings


@dataclass(frozen=True, slots=True)
class RequestRefund:
    """Somebody's wish for a refund. `refund_id`, made by the caller, is also the token of its claim on the key.

    Without `amount` (minor units) and `lines` it is for all that is left.
    """

    refund_id: UUID
    order_id: UUID
    user_id: UUID
    idempotency_key: str
    fingerprint: str
    reason: str
    amount: int | None = None
    lines: tuple[AskedLine, ...] | None = None
    restock: bool = False
    request_id: str | None = None

    @property
    def key(self) -> KeyId:
        return KeyId(self.user_id, self.idempotency_key)


def location(order_id: UUID, refund_id: UUID) -> str:
    return f"/orders/{order_id}/refunds/{refund_id}"


def carry_out(
    database: Database, settings: Settings, wanted: RequestRefund, answer: Callable[[OrderRefund], Answer]
) -> Replay:
    """Asks for the refund, unless the key did before; the answer that is stored for the key either way.

    Raises what `refunds.request` and `idempotency.judge` do. What is refused does not use the key up.
    """

    def act(connection: Connection, members: Sequence[RequestRefund], rerun: bool) -> Sequence[Replay]:
        return [_carry_out(connection, settings, one, answer, rerun=rerun) for one in members]

    [outcome] = in_one_transaction(database, [wanted], act)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _carry_out(
    connection: Connection,
    settings: Settings,
    wanted: RequestRefund,
    answer: Callable[[OrderRefund], Answer],
    *,
    rerun: bool,
) -> Replay:
    at = now()
    claim = idempotency.Claim(wanted.key, wanted.fingerprint, wanted.refund_id)
    rows = idempotency.claim(connection, [claim], at=at, lease=timedelta(seconds=settings.lease))
    row = rows.get(wanted.key)
    if row is None:  # whoever held the key gave it up between the two statements
        raise idempotency.in_use()
    if row.resource_id != wanted.refund_id:
        return _repeated(row, settings, wanted)
    if rerun:
        # The COMMIT that failed may have happened, or been under way until the claim had waited for it: not before.
        made = refund_reading.find(connection, wanted.order_id, wanted.refund_id)
        if made is not None:
            return Replay(wanted.refund_id, Answer(row.status_code, row.body), replayed=False)
    made = refunds.request(
        connection,
        wanted.order_id,
        amount=wanted.amount,
        lines=wanted.lines,
        reason=wanted.reason,
        restock=wanted.restock,
        actor_id=wanted.user_id,
        request_id=wanted.request_id,
        refund_id=wanted.refund_id,
    )
    given = answer(made)
    idempotency.store(connection, {wanted.key: given})
    return Replay(wanted.refund_id, given, replayed=False)


def _repeated(row: Any, settings: Settings, wanted: RequestRefund) -> Replay:
    def place(made: UUID) -> str:
        # A key that made something else tells no more than where the refunds of this order are.
        same = row.fingerprint == wanted.fingerprint
        return location(wanted.order_id, made) if same else f"/orders/{wanted.order_id}/refunds"

    found = idempotency.judge(
        row,
        wanted.fingerprint,
        at=now(),
        ttl=timedelta(days=settings.idempotency_ttl_days),
        location=place,
    )
    assert isinstance(found, Replay)  # noqa: S101 - a refund's key is committed with its answer
    return found
