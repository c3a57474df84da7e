"""Reading the state of the system for whoever looks, without ever making them wait for a database that does not answer."""

from __future__ import annotations

import time
from threading import Event, Lock, Thread

from loguru import logger

from orderkit import reasons
from orderkit.db import Database
from orderkit.settings import Settings
from orderkit.system import state
from orderkit.system.state import SystemState

EVERY_S = 5.0
"""What was read so lately is good for everybody who asks."""
WITHIN_S = 2.0
GIVEN_UP_AFTER_S = 60.0
"""A server that is frozen never answers, and neither end of a connection may ever hear that it broke."""
POOL = 2
"""The least that there may be. One is used; the other, where the first hangs."""


class Reader:
    """Reads in a thread, and at most every EVERY_S. Thread-safe. Opens nothing until somebody looks; close it at the end.

    It has a connection of its own, so that it can still tell what there is to tell when all others are taken.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.model_copy(update={"db_pool_size": POOL})
        self._lock = Lock()
        self._database: Database | None = None
        self._reading: _Reading | None = None

    def state(self) -> SystemState | None:
        """How the system is now, or was a moment ago; None if the database does not say within WITHIN_S."""
        with self._lock:
            reading = self._reading
            if reading is None or reading.is_old():
                reading = self._reading = self._begin(reading)
        return reading.wait()

    def _begin(self, last: _Reading | None) -> _Reading:
        if last is not None and not last.ended.is_set() and self._database is not None:
            last.abandon()
            self._database.dispose()
            self._database = None
        if self._database is None:
            self._database = Database(self._settings, pool="system")
        return _Reading(self._database)

    def close(self) -> None:
        """Waits for a reading under way, but not for one that hangs."""
        with self._lock:
            if self._reading is not None:
                self._reading.abandon()
                self._reading.wait()
            if self._database is not None:
                self._database.dispose()
                self._database = None
            self._reading = None


class _Reading:
    """One look at the database, in a thread that the end of the process does not wait for."""

    def __init__(self, database: Database) -> None:
        self.ended = Event()
        self._database = database
        self._began = time.monotonic()
        self._found: SystemState | None = None
        self._is_abandoned = False
        Thread(target=self._read, name="system", daemon=True).start()

    def is_old(self) -> bool:
        return time.monotonic() - self._began >= (EVERY_S if self.ended.is_set() else GIVEN_UP_AFTER_S)

    def wait(self) -> SystemState | None:
        """What was found. Nobody waits long for a reading that hangs, and later ones not at all."""
        self.ended.wait(max(0.0, self._began + WITHIN_S - time.monotonic()))
        return self._found

    def abandon(self) -> None:
        """Has it close its connection when it ends, because the pool will be gone by then."""
        self._is_abandoned = True

    def _read(self) -> None:
        try:
            with self._database.reading() as session:
                connection = session.connection()
                self._found = state.read(connection)
                if self._is_abandoned:
                    connection.invalidate()
        except Exception as error:  # noqa: BLE001 - a thread of its own, in which nobody else would hear of it
            told = "the state of the system cannot be read: {}"
            logger.bind(**reasons.facts(error)).warning(told, reasons.in_words(error))
        finally:
            self.ended.set()
