"""The worker process: Huey's consumer, the loop beside it, and an end in good order."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from threading import Event, Thread
from types import FrameType
from typing import Any

from huey.consumer import Consumer
from loguru import logger

from orderkit import serving
from orderkit.errors import Unavailable
from orderkit.observability import metrics
from orderkit.settings import Settings
from orderkit.worker.due import TURN_S, Due
from orderkit.worker.queue import Calm, open_queue
from orderkit.worker.runtime import Runtime, open_runtime
from orderkit.worker.scraping import scraped
from orderkit.worker.tasks import register

WORKERS = 16
"""Threads that act at once. They wait for providers more than they work: 16 carry 50 calls a second of 300 ms each."""

DRAIN_S = 22
"""A call takes 5 s at most by default, and whoever stops us waits 30 s before it kills."""

HEALTH_CHECK_S = 10.0


def run(settings: Settings, workers: int = WORKERS) -> None:
    """Works until SIGTERM or SIGINT, then finishes the acts under way and returns; a second signal interrupts them.

    `workers` threads act at once. Must be called on the main thread. Raises Unavailable when Redis does not answer, or when
    the loop dies.
    """
    signals = _Signals()
    queue = open_queue(settings)
    metrics.begin("worker")
    with signals, open_runtime(settings) as runtime, scraped(settings):
        due = Due(runtime, queue, register(queue, runtime), settings)
        loop = _Loop(due.run)
        consumer = _Consumer(
            queue,
            workers=workers,
            worker_type="thread",
            periodic=False,
            max_delay=TURN_S,
            scheduler_interval=1,
            shutdown_timeout=DRAIN_S,
        )
        consumer.start()
        loop.start()
        logger.bind(workers=workers, queue=type(queue).__name__).info("the worker is up")
        _watch(consumer, loop, signals)
        _drain(consumer, loop, runtime, signals)
    if loop.died:
        raise Unavailable("the loop that finds what is due has died; the log above says why")
    logger.info("the worker has stopped")


def _watch(consumer: Consumer, loop: _Loop, signals: _Signals) -> None:
    """Waits for a signal, or the end of the loop. A waiting main thread would not run the handlers, hence the naps."""
    check_at = time.monotonic() + HEALTH_CHECK_S
    while not signals.received and loop.is_alive():
        time.sleep(0.1)
        if time.monotonic() >= check_at:
            consumer.check_worker_health()
            check_at = time.monotonic() + HEALTH_CHECK_S


def _drain(consumer: Consumer, loop: _Loop, runtime: Runtime, signals: _Signals) -> None:
    """Takes no more tasks and waits for those under way; gives them up after DRAIN_S, or at the second signal."""
    loop.stop.set()
    consumer.stop(graceful=True)
    if signals.received > 1 or any(thread.is_alive() for _, thread in consumer.worker_threads):
        logger.warning("stopped before all was done; what was under way is due again when its lease ends")
        runtime.abandon()
    loop.join(timeout=1)


class _Loop(Thread):
    """The thread of the loop. An error ends it, is logged, and is not forgotten: `died`."""

    def __init__(self, run: Callable[[Event], None]) -> None:
        super().__init__(name="due", daemon=True)
        self.stop = Event()
        self.died = False
        self._run = run

    def run(self) -> None:
        try:
            self._run(self.stop)
        except Exception:  # noqa: BLE001 - whatever it is, the process is to end with it
            self.died = True
            logger.exception("the loop that finds what is due has died")


class _Signals:
    """Counts SIGTERM and SIGINT, which mean the same here; from the second on, they interrupt as Ctrl-C does elsewhere."""

    NUMBERS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.received = 0

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._handle) for number in self.NUMBERS}

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if not self.received:
            serving.end_within(serving.ENDED_WITHIN_S)
        self.received += 1
        if self.received > 1:
            raise KeyboardInterrupt


class _Consumer(Consumer):  # type: ignore[misc]  # huey has no types
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        calm = Calm()
        for name in ("huey.consumer.Worker", "huey.consumer.Scheduler"):
            logging.getLogger(name).addFilter(calm)

    def _set_signal_handlers(self) -> None:
        """None of its own: it would take one signal for draining and the other for stopping dead, and SIGHUP to restart."""
