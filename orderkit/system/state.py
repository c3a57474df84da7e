"""What waits in the database to be done, and for how long. Each question costs the same however large the shop is.

Each looks at rows that wait and nothing else, along the partial index that holds just these, and at no more than MOST of them:
who sees so many knows enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, case, func, null, select

from orderkit.auth.models import AccountMail
from orderkit.clock import now
from orderkit.events.models import OutboxEvent
from orderkit.fulfillment.models import DeadLetter, Fulfillment
from orderkit.payments.models import Payment, Refund

MOST = 10_001
"""Rows that are counted; so many mean: more than 10,000. Reading them takes PostgreSQL 10 ms."""

UNSHIPPED = ("queued", "running", "retrying")


@dataclass(frozen=True, slots=True)
class _Kind:
    """Rows that wait: their index, when each may be acted on (None: at once), and since when each waits."""

    table: Any
    index: str
    due: str | None
    since: str

    def rows(self, *columns: Any) -> Select[Any]:
        """At most MOST of them, as they lie in the index."""
        index = next(one for one in self.table.indexes if one.name == self.index)
        # The very text of the index's condition, else SQLite would not use it.
        those = select(*columns).where(index.dialect_options["sqlite"]["where"])
        return those.order_by(*index.columns).limit(MOST)


_T = "__table__"
KINDS: dict[str, _Kind] = {
    "events": _Kind(getattr(OutboxEvent, _T), "ix_outbox_unsent", None, "created_at"),
    "payments": _Kind(getattr(Payment, _T), "ix_payments_due", "run_at", "created_at"),
    "refunds": _Kind(getattr(Refund, _T), "ix_refunds_due", "run_at", "created_at"),
    "fulfillments": _Kind(getattr(Fulfillment, _T), "ix_fulfillments_due", "run_at", "created_at"),
    "recalls": _Kind(getattr(Fulfillment, _T), "ix_fulfillments_recall", "recall_at", "recall_at"),
    "mails": _Kind(getattr(AccountMail, _T), "ix_account_mails_due", "run_at", "created_at"),
    "dead_letters": _Kind(getattr(DeadLetter, _T), "ix_dead_letters_open", None, "created_at"),
}
"""What may wait. Events wait for the relay, dead letters for a person, the rest for a task of the worker."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Rows of one kind that wait, MOST at most: how many, how many of them are due, and since when the oldest waits.

    `due_since`: since when the longest due is. With more than MOST, `oldest` may be a little too young.
    """

    waiting: int
    due: int
    oldest: datetime | None
    due_since: datetime | None


@dataclass(frozen=True, slots=True)
class SystemState:
    """As it was `at`. `fulfillments` counts those that wait by their status; `rollups_since` is when the first event was made
    that is not in the rollups yet, None where all are."""

    at: datetime
    backlogs: Mapping[str, Backlog]
    fulfillments: Mapping[str, int] = field(default_factory=dict)
    rollups_since: datetime | None = None

    def age(self, since: datetime | None) -> float:
        """Seconds from `since` to then; 0.0 for nothing, and for what another clock made in our future."""
        return 0.0 if since is None else max(0.0, (self.at - since).total_seconds())


def read(connection: Connection) -> SystemState:
    """How it is now: one short query for each of KINDS."""
    at = now()
    rows = {name: connection.execute(_question(name, kind, at)).one() for name, kind in KINDS.items()}
    return SystemState(
        at,
        {name: Backlog(row.waiting, row.due or 0, row.oldest, row.due_since) for name, row in rows.items()},
        {status: getattr(rows["fulfillments"], status) or 0 for status in UNSHIPPED},
        rows["events"].of_orders_since,
    )


def _question(name: str, kind: _Kind, at: datetime) -> Select[Any]:
    columns = kind.table.c
    due = columns[kind.due] if kind.due else columns[kind.since]
    wanted = {"since": columns[kind.since], "due": due}
    if name == "fulfillments":
        wanted["status"] = columns.status
    if name == "events":
        wanted["order_id"] = columns.order_id
    labelled = (column.label(label) for label, column in wanted.items())
    rows = kind.rows(*labelled).subquery("some")
    some = rows.c
    is_due = some.due <= at
    asked = [
        func.count().label("waiting"),
        func.sum(case((is_due, 1), else_=0)).label("due"),
        func.min(some.since).label("oldest"),
        func.min(case((is_due, some.due), else_=null())).label("due_since"),
    ]
    if name == "fulfillments":
        asked += [func.sum(case((some.status == one, 1), else_=0)).label(one) for one in UNSHIPPED]
    if name == "events":
        of_order = some.order_id.is_not(None)
        asked.append(func.min(case((of_order, some.since), else_=null())).label("of_orders_since"))
    return select(*asked).select_from(rows).execution_options(query=f"system.{name}")
