"""Pools of connections that tell how full they are, and how long whoever wanted a connection waited for it."""

from __future__ import annotations

import time
from threading import Lock
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from orderkit.observability import metrics

_pools: WeakValueDictionary[str, Any] = WeakValueDictionary()


class Use(NamedTuple):
    """How many connections a pool may hold, and how many are in use."""

    name: str
    size: int
    in_use: int


def of_this_process() -> list[Use]:
    """The pools there are, by name."""
    return sorted(Use(name, one.size(), one.checkedout()) for name, one in list(_pools.items()))


def told_of(name: str) -> type[QueuePool]:
    """The class of a pool whose numbers are told under `name`, one of a few."""
    in_use, size = metrics.pool_in_use.labels(name), metrics.pool_size.labels(name)
    waited, timeouts = metrics.pool_seconds.labels(name), metrics.pool_timeouts.labels(name)

    telling = Lock()

    class Pool(QueuePool):
        __module__ = QueuePool.__module__  # by which it logs

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._is_used = False
            _pools[name] = self

        def _do_get(self) -> ConnectionPoolEntry:
            if not self._is_used:  # a process may open a database only to look whether it is migrated
                self._is_used = True
                size.set(self.size())
            started = time.perf_counter()
            try:
                return super()._do_get()
            except PoolTimeout:
                timeouts.inc()
                raise
            finally:
                waited.observe(time.perf_counter() - started)
                self._tell()

        def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
            super()._do_return_conn(record)
            self._tell()

        def dispose(self) -> None:
            super().dispose()
            self._is_used = False
            size.set(0)

        def _tell(self) -> None:
            with telling:  # or, of two who are at it, the one that asked first might tell last
                in_use.set(self.checkedout())

    return Pool
