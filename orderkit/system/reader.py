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
POOL = 2
"""The least that there may be. One is used."""


class Reader:
    """Reads in a thread, and at most every EVERY_S. Thread-safe. Opens nothing until somebody looks; close it at the end.

    It has a connection of its own, so that it can still tell what there is to tell when all others are taken. A reading that
    hangs is not waited for, and ends when the database is given up: until then there is no other.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.model_copy(update={"db_pool_size": POOL})
        self._lock = Lock()
        self._database: Database | None = None
        self._reading: _Reading | None = None

    def state(self) -> SystemState | None:
        """How the system is now, or was a moment ago; None if the database does not say within WITHIN_S."""
        with self._lock:
            if self._database is None:
                self._database = Database(self._settings, pool="system")
            if self._reading is None or self._reading.is_old():
                self._reading = _Reading(self._database)
            reading = self._reading
        return reading.wait()

    def close(self) -> None:
        """Waits for a reading under way, but not for one that hangs."""
        with self._lock:
            if self._reading is not None:
                self._reading.wait()
            if self._database is not None:
                self._database.dispose()
            if self._reading is not None:
                self._reading.left = True
            self._database = self._reading = None


class _Reading:
    """One look at the database, in a thread that the end of the process does not wait for."""

    def __init__(self, database: Database) -> None:
        self.left = False
        """Whether the database was closed meanwhile: what is open of it then is this reading's to close."""
        self._ended = Event()
        self._began = time.monotonic()
        self._found: SystemState | None = None
        Thread(target=self._read, args=(database,), name="system", daemon=True).start()

    def is_old(self) -> bool:
        return self._ended.is_set() and time.monotonic() - self._began >= EVERY_S

    def wait(self) -> SystemState | None:
        """What was found. Nobody waits long for a reading that hangs, and later ones not at all."""
        self._ended.wait(max(0.0, self._began + WITHIN_S - time.monotonic()))
        return self._found

    def _read(self, database: Database) -> None:
        try:
            with database.reading() as session:
                try:
                    self._found = state.read(session.connection())
                finally:
                    if self.left:
                        session.connection().invalidate()
        except Exception as error:  # noqa: BLE001 - a thread of its own, in which nobody else would hear of it
            told = "the state of the system cannot be read: {}"
            logger.bind(**reasons.facts(error)).warning(told, reasons.in_words(error))
        finally:
            self._ended.set()
