"""When to try again: capped exponential backoff with full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS, 2015)."""

from __future__ import annotations

import random
from datetime import timedelta


def delay(attempt: int, *, base: float, cap: float) -> timedelta:
    """How long to wait after the `attempt`-th failure, from 1: anything up to `base` seconds doubled each time, at most `cap`.

    Full jitter, because clients that failed together would otherwise come back together.
    """
    ceiling = min(cap, base * 2 ** min(attempt - 1, 32))
    return timedelta(seconds=random.uniform(0, ceiling))  # noqa: S311 - spreads load, hides nothing
