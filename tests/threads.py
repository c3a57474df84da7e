"""Several acts at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from uuid import UUID

import pytest

from orderkit.auth import callers
from orderkit.auth.callers import Caller
from orderkit.db import Database

T = TypeVar("T")


def callers_known(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once it is known who sends a request over HTTP, which then goes on."""
    known, of_session = threading.Event(), callers.of_session

    def noticed(database: Database, user_id: UUID, session_id: UUID) -> Caller | None:
        found = of_session(database, user_id, session_id)
        known.set()
        return found

    monkeypatch.setattr(callers, "of_session", noticed)
    return known


def at_once(*acts: Callable[[], T]) -> list[T]:
    """Starts each in a thread of its own, all at the same moment; what they gave, or the first error that one raised."""
    barrier = threading.Barrier(len(acts), timeout=20)

    def act(one: Callable[[], T]) -> T:
        barrier.wait()
        return one()

    with ThreadPoolExecutor(len(acts)) as pool:
        return [future.result(60) for future in [pool.submit(act, one) for one in acts]]
