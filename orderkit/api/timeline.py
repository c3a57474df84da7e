"""The story of an order, in order of time: what it went through, who did it, what provider and carrier said.

It joins what orders, payments and fulfillment each keep. Each of SOURCES is a kind of row with a time; a page takes from each
what comes next, and merges that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import Connection, Select, and_, false, literal, not_, or_, select

from orderkit.api import telling
from orderkit.api.answers import instant
from orderkit.auth.audit_log import COMMAND_LINE
from orderkit.auth.models import User
from orderkit.fulfillment.models import DeadLetter, Fulfillment, FulfillmentAttempt
from orderkit.orders import editing, refund_lines
from orderkit.orders.models import OrderHistory
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.payments.models import PaymentAttempt, Refund, RefundStatus

_history = OrderHistory.__table__  # type: ignore[attr-defined]
_payment_attempts = PaymentAttempt.__table__  # type: ignore[attr-defined]
_refunds = Refund.__table__  # type: ignore[attr-defined]
_fulfillments = Fulfillment.__table__  # type: ignore[attr-defined]
_fulfillment_attempts = FulfillmentAttempt.__table__  # type: ignore[attr-defined]
_letters = DeadLetter.__table__  # type: ignore[attr-defined]
_users = User.__table__  # type: ignore[attr-defined]


class ActorAnswer(BaseModel):
    kind: str = Field(description="`customer`, `staff`, or `orderkit` itself.", examples=["staff"])
    id: UUID | None = Field(None, description="Of staff, shown to staff only.")
    name: str | None = Field(
        None,
        description="Of staff, shown to staff only; `command line (…)`, with whose it was, where that changed the order.",
    )


class TimelineItem(BaseModel):
    """Something that happened to an order. `what` is a sentence to be read aloud."""

    at: datetime
    kind: str = Field(
        description="`status`, `edit`, `payment` (it came late), `payment_attempt`, `refund`, `fulfillment`,"
        " `fulfillment_attempt`, `delivery` or `dead_letter`.",
        examples=["status"],
    )
    what: str
    detail: dict[str, Any]
    actor: ActorAnswer


class Position(NamedTuple):
    """Where a page ended: a time, and, among what happened then, the place of a source and of its row."""

    at: datetime
    source: int
    row: str


@dataclass(frozen=True, slots=True)
class Source:
    """A kind of row: the name of its query, the query of those of an order, the column that says when, and what tells rows
    of one time apart."""

    name: str
    query: Callable[[OrderSnapshot], Select[Any]]
    at: Any
    row: Any
    parse: Callable[[str], Any]
    tell: Callable[[Any, telling.Teller], telling.Told]


# What is an edit, orderkit says itself, beginning with words of its own. Of a cancel or a refund people say why, in any words.
_edit = and_(_history.c.from_status.is_not(None), _history.c.from_status == _history.c.to_status)
_of_a_staff_note = and_(_edit, _history.c.reason == editing.STAFF_NOTE_CHANGED)


def _of_history(order: OrderSnapshot) -> Select[Any]:
    # Refunds are told from their own rows.
    told_elsewhere = and_(_edit, _history.c.reason.like("refund of %"))
    return select(*_history.c).where(_history.c.order_id == order.id, not_(told_elsewhere))


def _of_payment_attempts(order: OrderSnapshot) -> Select[Any]:
    return select(*_payment_attempts.c).where(_payment_attempts.c.payment_id == order.payment_id)


def _of_refunds(order: OrderSnapshot) -> Select[Any]:
    return select(*_refunds.c).where(_refunds.c.payment_id == order.payment_id)


def _of_settled_refunds(order: OrderSnapshot) -> Select[Any]:
    return _of_refunds(order).where(_refunds.c.status != RefundStatus.PENDING.value)


def _of_fulfillments(order: OrderSnapshot) -> Select[Any]:
    return select(*_fulfillments.c).where(_fulfillments.c.order_id == order.id)


def _of_fulfillment_attempts(order: OrderSnapshot) -> Select[Any]:
    joined = _fulfillments.c.id == _fulfillment_attempts.c.fulfillment_id
    found = select(*_fulfillment_attempts.c).join_from(_fulfillment_attempts, _fulfillments, joined)
    return found.where(_fulfillments.c.order_id == order.id)


def _of_deliveries(order: OrderSnapshot) -> Select[Any]:
    return _of_fulfillments(order).where(_fulfillments.c.delivered_at.is_not(None))


def _of_letters(order: OrderSnapshot) -> Select[Any]:
    return select(*_letters.c).where(_letters.c.order_id == order.id)


def _of_closed_letters(order: OrderSnapshot) -> Select[Any]:
    return _of_letters(order).where(_letters.c.resolved_at.is_not(None))


# Those of one instant are told in this order: causes before what follows from them. Cursors hold the place: only append.
SOURCES = (
    Source(
        "timeline.payment_attempts",
        _of_payment_attempts,
        _payment_attempts.c.started_at,
        _payment_attempts.c.id,
        UUID,
        telling.payment_attempt,
    ),
    Source(
        "timeline.fulfillment_attempts",
        _of_fulfillment_attempts,
        _fulfillment_attempts.c.started_at,
        _fulfillment_attempts.c.token,
        int,
        telling.fulfillment_attempt,
    ),
    Source("timeline.history", _of_history, _history.c.at, _history.c.version, int, telling.change),
    Source(
        "timeline.fulfillments",
        _of_fulfillments,
        _fulfillments.c.created_at,
        _fulfillments.c.id,
        UUID,
        telling.fulfillment,
    ),
    Source("timeline.refunds", _of_refunds, _refunds.c.created_at, _refunds.c.id, UUID, telling.refund_asked),
    Source(
        "timeline.settled_refunds",
        _of_settled_refunds,
        _refunds.c.updated_at,
        _refunds.c.id,
        UUID,
        telling.refund_settled,
    ),
    Source("timeline.dead_letters", _of_letters, _letters.c.created_at, _letters.c.id, UUID, telling.letter_opened),
    Source(
        "timeline.closed_dead_letters",
        _of_closed_letters,
        _letters.c.resolved_at,
        _letters.c.id,
        UUID,
        telling.letter_closed,
    ),
    Source(
        "timeline.deliveries", _of_deliveries, _fulfillments.c.delivered_at, _fulfillments.c.id, UUID, telling.delivered
    ),
)


class Page(NamedTuple):
    """Items as TimelineItem has them, and where to go on, if there are more."""

    items: list[dict[str, Any]]
    more_after: Position | None


def page(
    connection: Connection, order: OrderSnapshot, *, limit: int, to_staff: bool, after: Position | None = None
) -> Page:
    """At most `limit` items of the story, after `after`. To its owner staff have no names, and staff notes never were."""
    rows: list[tuple[datetime, int, Any]] = []
    for number, source in enumerate(SOURCES):
        query = source.query(order).where(_comes_after(source, number, after))
        if source.tell is telling.change and not to_staff:
            query = query.where(not_(_of_a_staff_note))
        found = query.add_columns(source.at.label("told_at"), source.row.label("told_row"))
        ordered = found.order_by(source.at, source.row).limit(limit + 1).execution_options(query=source.name)
        rows += [(row.told_at, number, row) for row in connection.execute(ordered)]
    rows.sort(key=lambda one: one[:2])  # stable: rows of one source and one time stay as they were read
    shown = rows[:limit]
    teller = _teller(connection, order, [row for _, _, row in shown], to_staff)
    items = [_item(at, SOURCES[number].tell(row, teller)) for at, number, row in shown]
    last = Position(shown[-1][0], shown[-1][1], str(shown[-1][2].told_row)) if len(rows) > limit else None
    return Page(items, last)


def _comes_after(source: Source, number: int, after: Position | None) -> Any:
    if after is None:
        return literal(1) == 1
    later = source.at > after.at
    if number < after.source:
        return later
    if number > after.source:
        return source.at >= after.at
    try:
        row = source.parse(after.row)
    except ValueError:
        return false()
    return or_(later, and_(source.at == after.at, source.row > row))


def _teller(connection: Connection, order: OrderSnapshot, rows: Sequence[Any], to_staff: bool) -> telling.Teller:
    asked = [row for row in rows if "idempotency_key" in row._mapping]
    pieces = refund_lines.of_refunds(connection, list({row.id for row in asked})) if asked else {}
    typed = [
        row for row in asked if row.actor_id is None and row.idempotency_key is not None
    ]  # over HTTP all have an actor
    sources = _sources(connection, order) if typed else {}
    typed_in = {row.id: sources.get(row.created_at, f"{COMMAND_LINE} ()") for row in typed}
    return telling.Teller(order, _names(connection, rows, order, to_staff), to_staff, typed_in, pieces)


def _sources(connection: Connection, order: OrderSnapshot) -> dict[datetime, str]:
    """Whose command line changed the order, by when."""
    found = select(_history.c.at, _history.c.request_id).where(
        _history.c.order_id == order.id, _history.c.request_id.like(f"{COMMAND_LINE} (%")
    )
    return {row.at: row.request_id for row in connection.execute(found)}


def _names(connection: Connection, rows: Sequence[Any], order: OrderSnapshot, to_staff: bool) -> dict[UUID, str]:
    """The names of those who did something and are not the customer; asked only for staff."""
    wanted = {row.actor_id for row in rows if "actor_id" in row._mapping} - {None, order.user_id}
    if not (to_staff and wanted):
        return {}
    found = connection.execute(select(_users.c.id, _users.c.name).where(_users.c.id.in_(wanted)))
    return {row.id: row.name for row in found}


def _item(at: datetime, told: telling.Told) -> dict[str, Any]:
    return {
        "at": instant(at),
        "kind": told.kind,
        "what": told.what,
        "detail": {name: _plain(value) for name, value in told.detail.items()},
        "actor": told.actor,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return instant(value)
    return str(value) if isinstance(value, UUID) else value
