"""Writing to SQLite, one at a time: turns within a process, and what is left of somebody's time for another process's lock."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orderkit.observability import metrics

_FILE_AWAY = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
)
"""The errors of SQLite that are those of its file or of its lock: the driver calls a statement's own, code 1, the same."""


def is_file_away(error: object) -> bool:
    """Whether that is an error of the driver that is the file's or its lock's, and no statement's own."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _FILE_AWAY  # the rest of the code is which kind of it


class NoTurn(PoolTimeout):
    """Others in this process wrote to SQLite, or waited for its lock, for as long as one may wait."""


class Writers:
    """Those of one process that want to write to SQLite, one at a time: its own waiting sleeps up to 100 ms between tries.

    Nobody waits longer than `timeout_s`, for their turn and for another process's lock together. When somebody waited for
    that lock in vain, whoever has the next turn only looks whether it is gone: one after another would all wait as long again.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        # Both are of whoever has the turn.
        self.in_vain = False
        self._until = 0.0

    @contextmanager
    def turn(self) -> Iterator[None]:
        until = time.monotonic() + self._timeout_s
        if not self._lock.acquire(timeout=self._timeout_s):
            metrics.lock_timeouts.inc()
            raise NoTurn(f"no turn to write within {self._timeout_s:g} s")
        try:
            self._until = until
            yield
        finally:
            self._lock.release()

    def begin(self, connection: Connection, statement: str) -> None:
        """Takes the write lock of the file in what is left of the time of whoever has the turn."""
        left_s = max(0.0, self._until - time.monotonic())
        if self.in_vain:
            left_s = min(left_s, self._timeout_s / 10)
        left_ms, whole_ms = int(left_s * 1e3), int(self._timeout_s * 1e3)
        driver: Any = connection.connection.dbapi_connection
        if left_ms < whole_ms - 100:
            driver.execute(f"PRAGMA busy_timeout={left_ms}").close()
        try:
            connection.exec_driver_sql(statement)
            self.in_vain = False
        except OperationalError as error:
            if is_file_away(error.orig):
                self.in_vain = True
                metrics.lock_timeouts.inc()
            raise
        finally:
            if left_ms < whole_ms - 100:
                driver.execute(f"PRAGMA busy_timeout={whole_ms}").close()
