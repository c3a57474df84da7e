"""The numbers by which people call orders. Short, unique, rising by and large; some are never used.

A process takes a block at a time in a transaction of its own, so that orders placed at once do not queue for one row.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from orderkit.batches import alone
from orderkit.db import Database
from orderkit.orders.models import OrderNumbers

FIRST = 1001
BLOCK = 100
"""At 1,000 orders a second, ten small transactions more; and what is lost when a process ends."""

_numbers = OrderNumbers.__table__  # type: ignore[attr-defined]


class Numbers:
    """The numbers that a process has left. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._left: deque[int] = deque()
        self._lock = threading.Lock()

    @contextmanager
    def reserved(self, count: int) -> Iterator[Reserved]:
        """Enough numbers for so many orders; those that none of them got are left. Begin it with no transaction open."""
        with self._lock:
            if len(self._left) < count:
                wanted = max(BLOCK, count)
                self._left.extend(alone(self._database, lambda connection: take(connection, wanted)))
            mine = Reserved([self._left.popleft() for _ in range(count)])
        try:
            yield mine
        finally:
            with self._lock:
                self._left.extendleft(reversed(mine.left))


class Reserved:
    """Numbers of one list of orders."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self.left = deque(numbers)
        self._given: dict[UUID, int] = {}

    def of(self, order_id: UUID) -> int:
        """The number of an order; the same when its transaction is rerun."""
        if order_id not in self._given:
            self._given[order_id] = self.left.popleft()
        return self._given[order_id]


def take(connection: Connection, count: int) -> range:
    """So many numbers that nobody else gets, if this transaction is kept."""
    insert = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(_numbers)
    taken = insert.values(name="orders", next=FIRST + count).on_conflict_do_update(
        index_elements=[_numbers.c.name], set_={"next": _numbers.c.next + count}
    )
    end: int = connection.execute(taken.returning(_numbers.c.next)).scalar_one()
    return range(end - count, end)
