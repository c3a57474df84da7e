"""Fulfillments that were given up, and what people decide about them: try again, or discard and pay back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from loguru import logger
from sqlalchemy import Connection, select, tuple_

from orderkit.clock import now
from orderkit.errors import Conflict, NotFound
from orderkit.fulfillment import changes, recalling
from orderkit.fulfillment.models import DeadLetter, FulfillmentAttempt, FulfillmentStatus
from orderkit.orders import cancellation
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.orders.states import OrderStatus
from orderkit.rows import update_rows

_letters = DeadLetter.__table__  # type: ignore[attr-defined]
_attempts = FulfillmentAttempt.__table__  # type: ignore[attr-defined]

RETRIED = "retried"
DISCARDED = "discarded"


class Position(NamedTuple):
    """Where a page ended, newest first; the id decides among letters of one instant."""

    created_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Attempt:
    """One booking that was tried. `duration_ms` is what it took, or the lease of a worker that never came back."""

    number: int
    outcome: str
    detail: str | None
    started_at: datetime
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter. `resolution` is `retried`, `discarded`, or None while somebody has to decide."""

    id: UUID
    fulfillment_id: UUID
    order_id: UUID
    reason: str
    attempts: int
    created_at: datetime
    resolved_at: datetime | None
    resolution: str | None

    @property
    def position(self) -> Position:
        return Position(self.created_at, self.id)


def page(
    connection: Connection, *, limit: int, resolved: bool = False, after: Position | None = None
) -> Sequence[Letter]:
    """At most `limit` letters after `after`, newest first: those that are open, or with `resolved` all there are."""
    query = select(_letters).order_by(_letters.c.created_at.desc(), _letters.c.id.desc()).limit(limit)
    if resolved:
        query = query.execution_options(query="dead_letters.all")
    else:
        query = query.where(_letters.c.resolved_at.is_(None)).execution_options(query="dead_letters.open")
    if after is not None:
        query = query.where(tuple_(_letters.c.created_at, _letters.c.id) < tuple_(*after))
    return [_letter(row) for row in connection.execute(query)]


def get(connection: Connection, letter_id: UUID) -> Letter:
    """Raises NotFound."""
    row = connection.execute(select(_letters).where(_letters.c.id == letter_id)).first()
    if row is None:
        raise NotFound(f"there is no dead letter {letter_id}")
    return _letter(row)


def latest_of(connection: Connection, order_id: UUID) -> Letter | None:
    """The last dead letter of an order, which is the open one, if one is. Rides ix_dead_letters_order_id."""
    found = select(_letters).where(_letters.c.order_id == order_id)
    row = connection.execute(found.order_by(_letters.c.created_at.desc(), _letters.c.id.desc()).limit(1)).first()
    return None if row is None else _letter(row)


def attempts(connection: Connection, letter: Letter) -> Sequence[Attempt]:
    """Every call made to the carrier for the letter's fulfillment, oldest first; those before an earlier retry too."""
    found = select(_attempts).where(_attempts.c.fulfillment_id == letter.fulfillment_id).order_by(_attempts.c.token)
    return [
        Attempt(number, row.outcome, row.detail, row.started_at, row.duration_ms)
        for number, row in enumerate(
            connection.execute(found.execution_options(query="dead_letters.attempts")), start=1
        )
    ]


def retry(connection: Connection, letter_id: UUID, *, actor_id: UUID | None = None) -> Letter:
    """Queues the fulfillment anew, with all its attempts before it. A letter that was retried stays as it is: one run.

    Raises NotFound; Conflict for one that was discarded, or whose order is no longer to be shipped.
    """
    order, fulfillment, letter = _lock(connection, letter_id)
    at = now()
    if letter.resolution == RETRIED:
        return letter
    if letter.resolution is not None:
        raise Conflict("this dead letter was discarded; its order was cancelled, or shipped by hand")
    if order.status != OrderStatus.PAID:
        raise Conflict(f"the order is {order.status}; there is nothing to ship")
    status = changes.moved(fulfillment.status, FulfillmentStatus.QUEUED)
    changes.update(connection, fulfillment, status=status, attempts=0, run_at=at, updated_at=at)
    return _resolve(connection, letter, RETRIED, at, actor_id)


def discard(
    connection: Connection, letter_id: UUID, *, actor_id: UUID | None = None, request_id: str | None = None
) -> Letter:
    """Gives the fulfillment up for good and cancels its order: money and stock go back. Repeating it is harmless.

    Raises NotFound, and Conflict for a letter that was retried.
    """
    order, fulfillment, letter = _lock(connection, letter_id)
    at = now()
    if letter.resolution == DISCARDED:
        return letter
    if letter.resolution is not None:
        raise Conflict("this dead letter was retried; cancel the order if it is not to be shipped")
    recalling.stop(connection, [fulfillment], at=at)
    if order.status == OrderStatus.PAID:
        cancellation.cancel(
            connection, order.id, reason="given up in the dead letters", actor_id=actor_id, request_id=request_id
        )
    _log(letter, DISCARDED, actor_id)
    return get(connection, letter_id)


def _lock(connection: Connection, letter_id: UUID) -> tuple[OrderSnapshot, Any, Letter]:
    """The order, the fulfillment's row and the letter, locked in that order."""
    found = changes.lock(connection, get(connection, letter_id).fulfillment_id)
    assert found is not None  # noqa: S101 - a foreign key says so
    letter = select(_letters).where(_letters.c.id == letter_id).with_for_update(key_share=True)
    return *found, _letter(connection.execute(letter).one())


def _resolve(connection: Connection, letter: Letter, resolution: str, at: datetime, actor_id: UUID | None) -> Letter:
    row = {"id": letter.id, "resolved_at": at, "resolution": resolution}
    update_rows(connection, DeadLetter, [row], only_if={"resolved_at": None})
    _log(letter, resolution, actor_id)
    return get(connection, letter.id)


def _log(letter: Letter, resolution: str, actor_id: UUID | None) -> None:
    logger.bind(
        order_id=str(letter.order_id),
        fulfillment_id=str(letter.fulfillment_id),
        dead_letter_id=str(letter.id),
        actor_id=actor_id and str(actor_id),
    ).info("dead letter {}", resolution)


def _letter(row: Any) -> Letter:
    return Letter(**row._mapping)
