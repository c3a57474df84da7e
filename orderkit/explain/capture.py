"""Taking a statement from the product at the very moment at which it would be executed: what is planned is what is shipped."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, event

from orderkit.errors import OrderkitError
from orderkit.explain.query import Bench, Query
from orderkit.settings import Settings

_LOCKS = re.compile(r"\s+FOR (NO KEY )?(UPDATE|SHARE)( OF \w+)?( SKIP LOCKED)?")
_READS = re.compile(r"\s*(SELECT|WITH)\b")
_WRITES = re.compile(r"\b(INSERT\s+INTO|UPDATE\s+\w+(\s+AS\s+\w+)?\s+SET|DELETE\s+FROM)\b")


@dataclass(frozen=True, slots=True)
class Captured:
    """A statement as the driver would have been given it."""

    statement: str
    parameters: Any

    @property
    def writes(self) -> bool:
        return not _only_reads(self.statement) or _LOCKS.search(self.statement) is not None


class NotAsked(LookupError):
    """There was nothing to ask about: the function of a query ended before it came to it."""


class _Caught(Exception):
    def __init__(self, captured: Captured) -> None:
        self.captured = captured


def capture(connection: Connection, query: Query, settings: Settings) -> Captured:
    """The statement of `query`, which is not executed. What its function reads before is read, without locks.

    Raises NotAsked if the function never came to it, and LookupError if it would have written something before.
    """
    with_name = _watcher(query.name)
    event.listen(connection, "before_cursor_execute", with_name, retval=True)
    try:
        query.act(Bench(connection, settings))
    except _Caught as caught:
        return caught.captured
    except OrderkitError:
        pass  # such as that there is no such row
    finally:
        event.remove(connection, "before_cursor_execute", with_name)
    raise NotAsked(f"{query.name}: no statement of that name was about to be executed")


def _only_reads(statement: str) -> bool:
    return _READS.match(statement) is not None and not _WRITES.search(statement)


def _watcher(name: str) -> Callable[..., tuple[str, Any]]:
    def watch(
        _connection: Any, _cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> tuple[str, Any]:
        if context.execution_options.get("query") == name:
            raise _Caught(Captured(statement, parameters[0] if many else parameters))
        if not _only_reads(statement):
            raise LookupError(f"{name}: another statement, which writes, comes before it: {statement[:80]}")
        return _LOCKS.sub("", statement), parameters

    return watch
