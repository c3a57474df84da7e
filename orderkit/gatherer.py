"""Sharing a transaction. While one is under way, what arrives waits and goes together in the next.

There is no timer: idle, a request starts at once and waits for nobody; busy, the batch is whatever came meanwhile. A commit
costs the same for one order and for sixty-four, and so do the round trips.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from functools import partial
from typing import Generic, TypeVar

from orderkit.errors import Unavailable
from orderkit.observability import metrics

In = TypeVar("In")
Out = TypeVar("Out")

MAX_BATCH = 64


class Gatherer(Generic[In, Out]):
    """Runs `act` on lists of what was submitted, one list at a time, in a thread of its own.

    `act` answers one outcome for each member, in order; an outcome that is an exception is raised to its submitter only.
    If `act` itself raises, every member of that list gets the error. Belongs to one event loop.

    A list of one is acted on in the context of whoever submitted it, so that the log says for which request; a longer one is
    for several, and says none.

    With `max_waiting`, whoever would have to wait behind so many others is told so instead, with Unavailable.

    An error that is `hopeless` is raised to all who wait at that time as well: they would find the same, one list after
    another, each after as long a wait.
    """

    def __init__(
        self,
        name: str,
        act: Callable[[Sequence[In]], Sequence[Out | Exception]],
        *,
        max_waiting: int | None = None,
        hopeless: Callable[[BaseException], bool] = lambda _error: False,
    ) -> None:
        self._act = act
        self._hopeless = hopeless
        self._max_waiting = max_waiting
        self._waiting: deque[tuple[In, asyncio.Future[Out], Context]] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._busy = False

    async def submit(self, item: In) -> Out:
        """The outcome of `item`. A caller that is cancelled no longer waits; its item is still acted on."""
        if self._max_waiting is not None and len(self._waiting) >= self._max_waiting:
            metrics.shed.labels("orders").inc()
            raise Unavailable("too many are waiting; try again in a moment", headers={"Retry-After": "1"})
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Out] = loop.create_future()
        self._waiting.append((item, future, copy_context()))  # 0.1 µs: nothing is copied
        if not self._busy:
            self._busy = True
            # Not before the other requests that this turn of the loop has read: they come in bunches, as answers leave,
            # and the first alone would hold up all the rest for a transaction of its own.
            loop.call_soon(self._next)
        return await future

    def _next(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
        self._busy = bool(batch)
        if batch:
            items = [item for item, _, _ in batch]
            act = partial(self._act, items)
            if len(batch) == 1:
                act = partial(batch[0][2].run, act)
            done = asyncio.get_running_loop().run_in_executor(self._thread, act)
            done.add_done_callback(lambda done: self._deliver([future for _, future, _ in batch], done))

    def _deliver(self, futures: Sequence[asyncio.Future[Out]], done: asyncio.Future[Sequence[Out | Exception]]) -> None:
        failed = done.exception()
        if failed is not None and self._hopeless(failed):
            futures = [*futures, *(future for _, future, _ in self._waiting)]
            self._waiting.clear()
        self._next()  # first of all, so that the thread is never idle while there is work
        outcomes: Sequence[Out | BaseException] = [failed] * len(futures) if failed else done.result()
        for future, outcome in zip(futures, outcomes, strict=True):
            if future.cancelled():
                continue
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    def close(self) -> None:
        """Waits for the list under way."""
        self._thread.shutdown(wait=True)
