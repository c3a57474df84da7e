"""Where reports are read: from the replica, if there is one and it answers, else from the database itself.

A report decides nothing, so it may be a little behind; it says how far. Nothing else is ever read from a replica: whether there
is somebody to report on is asked of the database itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Literal, TypeVar

from loguru import logger
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from orderkit import clock, reasons
from orderkit.analytics.tallies import Books
from orderkit.db import UNREACHABLE, Database
from orderkit.settings import Settings

PAUSE_S = 10.0
"""A replica that failed is left alone for so long: to find out again costs each report the time to connect."""
FAILED = "the replica cannot be read just now; this is from the database itself"
UNTOLD = "the replica follows no primary as a standby does: how far behind it is cannot be told"
UNTOLD_S = 600.0
"""The log says so at most once in so long."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Read(Generic[T]):
    """What was read, and where. `as_of` is the moment it is true of, and `lag_seconds` how long ago that was.

    Both are None where a replica does not know, because it does not follow PostgreSQL's own stream; `warning` says so then.
    """

    value: T
    as_of: datetime | None
    source: Literal["primary", "replica"]
    lag_seconds: float | None
    warning: str | None = None


class Source:
    """Both databases, for as long as a process lives; close it at the end."""

    def __init__(self, settings: Settings, primary: Database) -> None:
        self._primary = primary
        self._replica = Database(settings, url=settings.replica_url) if settings.replica_url else None
        self._again_at = self._log_untold_at = 0.0

    def read(self, report: Callable[[Books], T]) -> Read[T]:
        """What `report` makes of one snapshot."""
        warning = None
        if self._replica is not None:
            if time.monotonic() >= self._again_at:
                try:
                    read = _from_replica(self._replica, report)
                    if read.warning is not None:
                        self._log_untold()
                    return read
                except (DBAPIError, *UNREACHABLE) as error:
                    # Also a query that the standby cancelled to go on replaying, and a schema that has not got there yet.
                    self._again_at = time.monotonic() + PAUSE_S
                    told = "reports are read from the database itself, not from the replica: {}"
                    logger.bind(**reasons.facts(error)).warning(told, reasons.in_words(error))
            warning = FAILED
        with self._primary.snapshot() as session:
            at = clock.now()
            return Read(report(Books(session.connection())), at, "primary", 0.0, warning)

    def decide(self, question: Callable[[Connection], T]) -> T:
        """What the database itself answers now."""
        with self._primary.reading() as session:
            return question(session.connection())

    def _log_untold(self) -> None:
        if time.monotonic() >= self._log_untold_at:
            self._log_untold_at = time.monotonic() + UNTOLD_S
            logger.warning("ORDERKIT_REPLICA_URL: {}", UNTOLD)

    def close(self) -> None:
        if self._replica is not None:
            self._replica.dispose()


def _from_replica(replica: Database, report: Callable[[Books], T]) -> Read[T]:
    with replica.snapshot() as session:
        at = clock.now()
        connection = session.connection()
        # Asked first: what is replayed meanwhile is not in the snapshot.
        lag = None if replica.is_sqlite else _lag(connection)
        value = report(Books(connection))
    if lag is None:
        return Read(value, None, "replica", None, UNTOLD)
    return Read(value, at - timedelta(seconds=lag), "replica", lag)


def _lag(connection: Connection) -> float | None:
    """Seconds since the last transaction that the standby has replayed; 0 if it has all that it was sent, and is being sent.

    None of a server that is no standby.
    """
    found = connection.execute(_LAG).one()
    if not found.standby:
        return None
    return 0.0 if found.streaming and found.caught_up else round(float(found.since or 0), 3)


# A standby whose stream has broken off has replayed all that it was sent, too, and says nothing of what it was not sent.
_LAG = text(
    "SELECT pg_is_in_recovery() AS standby,"
    " EXISTS (SELECT FROM pg_stat_wal_receiver) AS streaming,"
    " pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() AS caught_up,"
    " extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) AS since"
)
