"""A circuit breaker: leaves a provider alone for a while that has failed many times in a row.

One for each provider and process, in memory: what one process has learnt costs another 20 calls to learn, and needs no
shared store that could fail too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Literal

from loguru import logger

from orderkit import clock
from orderkit.observability import metrics

State = Literal["closed", "open", "half_open"]

PROBE_S = 10.0
"""After this long a probe without a result counts as lost. A call takes 5 s at most by default, so it is twice that."""


class Breaker:
    """Thread-safe. Whoever gets 0.0 from `acquire` calls the provider and then says `succeeded` or `failed`.

    A definite no (a decline, any 4xx) is a success: the provider is well. A 5xx, a timeout, a lost connection is not.
    """

    def __init__(
        self, name: str, failures: int = 20, open_for: float = 2.0, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`failures` in a row open it for `open_for` seconds; then one call at a time may try."""
        self.name = name
        self._limit = failures
        self._open_for = open_for
        self._monotonic = monotonic
        self._lock = Lock()
        self._failures = 0
        self._opened_at: float | None = None
        self._probe_at: float | None = None
        self._failed_at: float | None = None
        metrics.breaker_open.labels(name).set(0)
        metrics.breaker_opened.labels(name)

    @property
    def state(self) -> State:
        with self._lock:
            if self._opened_at is None:
                return "closed"
            return "open" if self._monotonic() < self._opened_at + self._open_for else "half_open"

    @property
    def failures(self) -> int:
        """How many calls in a row failed, up to the last one; 0 once one was answered."""
        with self._lock:
            return self._failures

    def failing(self, within_s: float) -> int:
        """The same, if the last of them was within so many seconds; else 0: how the provider is now, nobody has asked."""
        with self._lock:
            is_news = self._failed_at is not None and self._monotonic() - self._failed_at <= within_s
            return self._failures if is_news else 0

    def acquire(self) -> float:
        """0.0 when the caller may call now, else the seconds to wait before asking again.

        Once the open period is over, 0.0 goes to one caller, the probe, and to the next only after `failed` and another
        open period, or when no result came within PROBE_S.
        """
        with self._lock:
            now = self._monotonic()
            wait = self._wait(now)
            if not wait and self._opened_at is not None:
                self._probe_at = now
                self._tell(now)
            return wait

    def open_for_seconds(self) -> float:
        """What `acquire` would answer, without taking the probe."""
        with self._lock:
            return self._wait(self._monotonic())

    def succeeded(self) -> None:
        """The provider answered. Closes the breaker, whichever call it was that found the provider well."""
        with self._lock:
            closes = self._opened_at is not None
            self._failures, self._opened_at, self._probe_at = 0, None, None
            if closes:
                self._tell(self._monotonic())
        if closes:
            logger.bind(breaker=self.name, state="closed").info("{} answers again", self.name)

    def failed(self) -> None:
        """No answer, or a 5xx. Calls that were under way when it opened do not prolong the wait."""
        with self._lock:
            now = self._monotonic()
            self._failures += 1
            self._failed_at = now
            if self._opened_at is None:
                opens = self._failures >= self._limit
            else:
                opens = self._probe_at is not None
            if opens:
                self._opened_at, self._probe_at = now, None
                self._tell(now)
        if opens:
            metrics.breaker_opened.labels(self.name).inc()
            logger.bind(breaker=self.name, state="open").warning(
                "{} fails; left alone for {} s", self.name, self._open_for
            )

    def _tell(self, now: float) -> None:
        """Until when calls are held back, as the time of day: whether they are is found out at each scrape."""
        wait = self._wait(now)
        metrics.breaker_open.labels(self.name).set(clock.now().timestamp() + wait if wait else 0)

    def _wait(self, now: float) -> float:
        if self._opened_at is None:
            return 0.0
        if (wait := self._opened_at + self._open_for - now) > 0:
            return wait
        if self._probe_at is None or (lost_in := self._probe_at + PROBE_S - now) <= 0:
            return 0.0
        return min(lost_in, self._open_for)
