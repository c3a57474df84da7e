"""Several acts at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def at_once(*acts: Callable[[], T]) -> list[T]:
    """Starts each in a thread of its own, all at the same moment; what they gave, or the first error that one raised."""
    barrier = threading.Barrier(len(acts), timeout=20)

    def act(one: Callable[[], T]) -> T:
        barrier.wait()
        return one()

    with ThreadPoolExecutor(len(acts)) as pool:
        return [future.result(60) for future in [pool.submit(act, one) for one in acts]]
