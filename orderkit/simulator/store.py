"""What the simulator remembers: a SQLite file that is on disk before anybody is answered, so that a kill loses nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from orderkit.errors import ConfigurationError
from orderkit.gatherer import Gatherer

T = TypeVar("T")
Act = Callable[[sqlite3.Connection], T]

BUSY_S = 5.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS charges (
    key TEXT PRIMARY KEY,
    reference TEXT UNIQUE,
    method TEXT,
    amount INTEGER NOT NULL CHECK (amount >= 0),
    currency TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('captured', 'declined', 'voided')),
    code TEXT,
    at TEXT NOT NULL,
    CHECK ((status = 'captured') = (reference IS NOT NULL)),
    CHECK ((status = 'declined') = (code IS NOT NULL))
);
CREATE TABLE IF NOT EXISTS refunds (
    key TEXT PRIMARY KEY,
    reference TEXT UNIQUE,
    charge TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0),
    currency TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('refunded', 'refused')),
    code TEXT,
    at TEXT NOT NULL,
    CHECK ((status = 'refunded') = (reference IS NOT NULL)),
    CHECK ((status = 'refused') = (code IS NOT NULL))
);
CREATE INDEX IF NOT EXISTS refunds_of_a_charge ON refunds (charge);
-- A key that was cancelled before anything was booked under it has no reference, and is never booked.
CREATE TABLE IF NOT EXISTS bookings (
    key TEXT PRIMARY KEY,
    reference TEXT UNIQUE,
    order_id TEXT,
    amount INTEGER,
    currency TEXT,
    status TEXT NOT NULL CHECK (status IN ('booked', 'cancelled')),
    at TEXT NOT NULL,
    CHECK (status = 'cancelled' OR reference IS NOT NULL)
);
-- What is said to be delivered, and since when.
CREATE TABLE IF NOT EXISTS deliveries (
    key TEXT PRIMARY KEY REFERENCES bookings (key),
    at TEXT NOT NULL
);
-- Calls that were failed on purpose, by key: some fail only so many times.
CREATE TABLE IF NOT EXISTS failures (
    operation TEXT NOT NULL CHECK (operation IN ('charge', 'book')),
    key TEXT NOT NULL,
    count INTEGER NOT NULL,
    healed INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (operation, key)
);
"""


class Store:
    """One connection that acts one after the other. Acts that arrive during a commit share the next one.

    Belongs to one event loop. Two processes on one file take turns.
    """

    def __init__(self, path: Path) -> None:
        """Makes the file and its folder where they are missing. Raises ConfigurationError if that cannot be."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # it may be ORDERKIT_HOME, where secrets are
            self._connection = _connect(path)
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"cannot keep the simulator's store in {path} ({error}); choose another --store"
            ) from None
        self._acts: Gatherer[Act[Any], Any] = Gatherer("simulator-store", self._together)

    async def run(self, act: Act[T]) -> T:
        """What `act` returns, once what it did is on disk. If it raises, nothing of it stays."""
        outcome: T = await self._acts.submit(act)
        return outcome

    def close(self) -> None:
        """Waits for the acts under way."""
        self._acts.close()
        self._connection.close()

    def _together(self, acts: Sequence[Act[Any]]) -> list[Any]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            outcomes = [self._alone(act) for act in acts]
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return outcomes

    def _alone(self, act: Act[Any]) -> Any:
        self._connection.execute("SAVEPOINT act")
        try:
            outcome = act(self._connection)
        except Exception as error:  # noqa: BLE001 - given to whoever asked for this act, and to nobody else
            self._connection.execute("ROLLBACK TO act")
            outcome = error
        self._connection.execute("RELEASE act")
        return outcome


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(
            "PRAGMA synchronous = FULL"
        )  # in WAL mode the default would lose answered charges with power
        connection.executescript(SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection
