"""The loop beside the consumer: relays the outbox, and wakes a task for every row that is due. Four times a second.

It sleeps no delays and remembers nothing: what is due is a question to the database, so a worker that starts anew, or next to
others, just asks it too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event
from typing import Any
from uuid import UUID

from huey import Huey
from loguru import logger
from sqlalchemy import Connection, Select, or_, select, text
from sqlalchemy.exc import SQLAlchemyError

from orderkit import idempotency, reasons
from orderkit.auth import api_keys, directory, mails, sessions
from orderkit.auth.models import AccountMail
from orderkit.breaker import Breaker
from orderkit.clock import now
from orderkit.events import receipts
from orderkit.fulfillment.models import Fulfillment
from orderkit.observability import metrics
from orderkit.orders import erasure
from orderkit.payments.models import Payment, Refund
from orderkit.settings import Settings
from orderkit.worker import queue as queues
from orderkit.worker.relay import BATCH, Relay
from orderkit.worker.runtime import Runtime
from orderkit.worker.tasks import Tasks

TURN_S = 0.25
MAX_BACKOFF_S = 5.0
WAKE_AGAIN = timedelta(seconds=5)
"""A task that was lost costs its row this long."""

RELAYS_A_TURN = 10
FORGET_EVERY_S = 60.0
FORGET_AT_ONCE = 1000
FOLD_EVERY_S = 60.0
FOLD_AT_ONCE = 1000
ERASE_EVERY_S = 2.0
ERASE_AT_ONCE = 20

_fulfillments = Fulfillment.__table__  # type: ignore[attr-defined]
_payments = Payment.__table__  # type: ignore[attr-defined]
_refunds = Refund.__table__  # type: ignore[attr-defined]
_mails = AccountMail.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Kind:
    """Rows that may be due: `where` is the very text of the partial index on `due`, else SQLite would not use it.

    `ceiling`: no task for them is put on a queue in which so many wait. A backlog is to stay in the database; on the queue
    it would be woken anew every 5 s. `a_turn`: nor are more than so many put there in one turn.
    """

    name: str
    table: Any
    due: str
    where: str
    ceiling: int
    breaker: Breaker
    wake: Callable[[UUID], object]
    a_turn: int = 160


def kinds(runtime: Runtime, tasks: Tasks) -> Sequence[Kind]:
    """The most urgent first, and with the highest ceiling, so that a crowd of parcels does not keep a payment waiting.

    Mails come last, a few at a time, and above the ceiling of parcels: no crowd of these locks anybody out for good.
    """
    gateway, carrier = runtime.gateway_breaker, runtime.carrier_breaker
    unsettled = "status IN ('created', 'unknown')"
    unshipped = "status IN ('queued', 'running', 'retrying')"
    return (
        Kind("payments", _payments, "run_at", unsettled, 160, gateway, tasks.resolve_payment),
        Kind("recalls", _fulfillments, "recall_at", "recall_at IS NOT NULL", 128, carrier, tasks.recall),
        Kind("refunds", _refunds, "run_at", "status = 'pending'", 96, gateway, tasks.refund),
        Kind("fulfillments", _fulfillments, "run_at", unshipped, 64, carrier, tasks.ship),
        Kind("mails", _mails, "run_at", "done_at IS NULL", 72, runtime.mail_breaker, tasks.mail, a_turn=8),
    )


def due_first(kind: Kind, at: datetime) -> Select[tuple[UUID]]:
    """The ids of those rows of a kind that are due and not just woken, the longest due first."""
    columns = kind.table.c
    not_just_woken = or_(columns.woken_at.is_(None), columns.woken_at <= at - WAKE_AGAIN)
    found = select(columns.id).where(text(kind.where), columns[kind.due] <= at, not_just_woken)
    return found.order_by(columns[kind.due]).execution_options(query=f"{kind.name}.due")


class Due:
    """The loop. `run` it on a thread of its own."""

    def __init__(self, runtime: Runtime, queue: Huey, tasks: Tasks, settings: Settings) -> None:
        self._database = runtime.database
        self._queue = queue
        self._kinds = kinds(runtime, tasks)
        self._relay = Relay(runtime.database)
        self._key_ttl = timedelta(days=settings.idempotency_ttl_days)
        self._forget_at = 0.0
        self._fold_at = 0.0
        self._erase_at = 0.0

    def run(self, stop: Event) -> None:
        """Turns until `stop`. An outage is logged and waited out; any other error is a bug, and ends the loop with it."""
        failures = 0
        while not stop.is_set():
            failures = 0 if self.turn() else failures + 1
            stop.wait(min(MAX_BACKOFF_S, TURN_S * 2 ** min(failures, 8)))

    def turn(self) -> bool:
        """One turn; whether database and queue answered. Each part gets its chance, whatever befell the others."""
        done = [self._survives("relay", self._relay_all)]
        done.append(self._survives("wake", self._wake_all))
        if time.monotonic() >= self._forget_at:
            done.append(self._survives("forget", self._forget))
        if time.monotonic() >= self._fold_at:
            done.append(self._survives("fold", self._fold))
        if time.monotonic() >= self._erase_at:
            done.append(self._survives("erase", self._erase))
        whole = all(done)
        metrics.turns.labels("done" if whole else "failed").inc()
        if whole:
            metrics.turned_at.set(now().timestamp())
        return whole

    def _survives(self, name: str, part: Callable[[], None]) -> bool:
        try:
            part()
        except (SQLAlchemyError, *queues.UNREACHABLE) as error:
            logger.bind(part=name, **reasons.facts(error)).warning(
                "the worker's loop goes on without {}: {}", name, reasons.in_words(error)
            )
            return False
        return True

    def _relay_all(self) -> None:
        for _ in range(RELAYS_A_TURN):
            if self._relay.turn() < BATCH:
                return

    def _wake_all(self) -> None:
        waiting = self._queue.pending_count()
        metrics.queue_tasks.set(waiting)
        for kind in self._kinds:
            limit = _limit(kind.breaker, min(kind.a_turn, kind.ceiling - waiting))
            if limit > 0:
                waiting += self.wake(kind, limit)

    def wake(self, kind: Kind, limit: int) -> int:
        """Puts a task on the queue for at most `limit` rows of a kind that are due and not just woken; how many."""
        at = now()
        with self._database.reading() as session:  # most turns find nothing, and nothing is to be locked for that
            if session.connection().execute(due_first(kind, at).limit(1)).first() is None:
                return 0
        with self._database.transaction() as session:
            woken = stamp(session.connection(), kind, limit, at)
        for row_id in woken:
            kind.wake(row_id)
        return len(woken)

    def _forget(self) -> None:
        """One batch of each, so that nothing waits for it; the next turn takes another if there may be more."""
        self._forget_at = time.monotonic() + FORGET_EVERY_S
        at = now()
        for forget, before in (
            (idempotency.forget, at - self._key_ttl),
            (mails.forget, at - mails.KEPT),
            (sessions.forget, at),
            (api_keys.forget, at - api_keys.KEPT),
            (receipts.forget, at - receipts.KEPT),
        ):
            with self._database.transaction() as session:
                forgotten = forget(session.connection(), before=before, limit=FORGET_AT_ONCE)
            if forgotten == FORGET_AT_ONCE:
                self._forget_at = 0.0

    def _fold(self) -> None:
        """Names that the search does not know yet: all after an update, a few at a time; then none."""
        self._fold_at = time.monotonic() + FOLD_EVERY_S
        with self._database.reading() as session:  # nothing is to be locked to find nothing
            if session.connection().execute(directory.unfolded().limit(1)).first() is None:
                return
        with self._database.transaction() as session:
            if directory.fold_names(session.connection(), limit=FOLD_AT_ONCE) == FOLD_AT_ONCE:
                self._fold_at = 0.0

    def _erase(self) -> None:
        """Goes on with users who were deleted while an order of theirs was still to be shipped."""
        self._erase_at = time.monotonic() + ERASE_EVERY_S
        with self._database.reading() as session:
            waiting = erasure.waiting(session.connection(), limit=ERASE_AT_ONCE)
        for user_id in waiting:
            with self._database.transaction() as session:
                erasure.go_on(session.connection(), user_id)


def _limit(breaker: Breaker, room: int) -> int:
    """0 while the provider is left alone; at most 1, the probe, when it may be tried again; else as much as there is room."""
    if breaker.open_for_seconds():
        return 0
    return room if breaker.state == "closed" else min(room, 1)


def stamp(connection: Connection, kind: Kind, limit: int, at: datetime) -> Sequence[UUID]:
    """Notes on the rows that somebody was woken for them. Rows that are locked are just being looked after."""
    table = kind.table
    due = due_first(kind, at).limit(limit).with_for_update(skip_locked=True, key_share=True).cte("due")
    stamped = table.update().where(table.c.id.in_(select(due.c.id))).values(woken_at=at).returning(table.c.id)
    return connection.execute(stamped.execution_options(query=f"{kind.name}.wake")).scalars().all()
