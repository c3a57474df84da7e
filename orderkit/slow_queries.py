"""Slow statements say in the log which they are: by the name that their site gave them, and never with their parameters.

A statement is named where it is made, `execution_options(query="orders.by_time")`; `orderkit explain` plans it by that name.
"""

from __future__ import annotations

from sqlite3 import Connection, Cursor
from time import perf_counter
from typing import Any

from loguru import logger
from sqlalchemy import Engine, ExceptionContext, event

WORDS = 8
"""What is said of a statement that has no name: its first words. Values are bound, so none is among them."""


class WatchedCursor(Cursor):
    """Counts the time that rows take: SQLite looks for a row only when it is fetched, where PostgreSQL has found them all."""

    watched: tuple[str | None, str, float] | None = None
    """Name and text of the statement, and the seconds that it may take.

    Not its context, which has this cursor: a cursor in a circle would stay open when nobody has it any more, and with it
    a read of the database that keeps its connection from writing ever after.
    """
    taken = 0.0

    def fetchone(self) -> Any:
        started = perf_counter()
        try:
            return Cursor.fetchone(self)
        finally:
            self.taken += perf_counter() - started

    def fetchmany(self, size: int | None = None) -> list[Any]:
        started = perf_counter()
        try:
            return Cursor.fetchmany(self, self.arraysize if size is None else size)
        finally:
            self.taken += perf_counter() - started

    def fetchall(self) -> list[Any]:
        started = perf_counter()
        try:
            return Cursor.fetchall(self)
        finally:
            self.taken += perf_counter() - started

    def close(self) -> None:
        Cursor.close(self)
        if self.watched is not None:
            (name, statement, limit), self.watched = self.watched, None
            if self.taken >= limit:
                _tell(name, statement, self.taken)


class WatchedConnection(Connection):
    def cursor(self, factory: Any = WatchedCursor) -> Any:
        return Connection.cursor(self, factory)


def watch(engine: Engine, seconds: float) -> None:
    """Logs, from now on, each statement of `engine` that takes so many seconds or more, also one that fails in the end.

    Costs a statement one to four microseconds. SQLite's connections are to be WatchedConnections.
    """

    def begun(_connection: Any, cursor: Any, _statement: str, _parameters: Any, context: Any, _many: bool) -> None:
        context.orderkit_begun = perf_counter()

    def done(_connection: Any, cursor: Any, statement: str, _parameters: Any, context: Any, _many: bool) -> None:
        taken = perf_counter() - context.orderkit_begun
        if cursor.__class__ is WatchedCursor and cursor.description is not None:
            cursor.taken, cursor.watched = taken, (_name(context), statement, seconds)
        elif taken >= seconds:
            _tell(_name(context), statement, taken)

    def failed(told: ExceptionContext) -> None:
        begun_at = getattr(told.execution_context, "orderkit_begun", None)
        if begun_at is not None and (taken := perf_counter() - begun_at) >= seconds:
            _tell(_name(told.execution_context), told.statement or "", taken)

    event.listen(engine, "before_cursor_execute", begun)
    event.listen(engine, "after_cursor_execute", done)
    event.listen(engine, "handle_error", failed)


def _name(context: Any) -> str | None:
    name: str | None = context.execution_options.get("query")
    return name


def _tell(name: str | None, statement: str, seconds: float) -> None:
    name = name or " ".join(statement.split(maxsplit=WORDS)[:WORDS])
    ms = round(seconds * 1e3, 1)
    logger.bind(query=name, milliseconds=ms).warning("a slow query: {} took {} ms", name, ms)
