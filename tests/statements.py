"""Statements that are put into SQL once for all tests of a process, and not again for each test's new engine.

SQLAlchemy keeps what it has put into SQL with the engine it was for, and a process of orderkit has one engine for all its
life. A test has one of its own, or three, and would spend a fifth of its CPU on writing the same SQL as the test before it.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy
from sqlalchemy.util import LRUCache

from orderkit import db
from orderkit.db import Table

ROOM = 5000
"""All statements of orderkit, of two engines and in every form that tests ask for, have room."""


class _Statements(LRUCache[Any, Any]):
    """As SQLAlchemy keeps them, but for any engine of the same dialect. Parameters are not part of it."""

    __slots__ = ()

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_for_any_engine(key), default)

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(_for_any_engine(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_for_any_engine(key), value)


def _for_any_engine(key: tuple[Any, ...]) -> tuple[Any, ...]:
    dialect, *rest = key
    return (type(dialect), *rest)


def share() -> None:
    """From now on every engine of `orderkit.db` shares. Once a process."""
    kept = _Statements(ROOM)

    def create_engine(*arguments: Any, **options: Any) -> sqlalchemy.Engine:
        engine = sqlalchemy.create_engine(*arguments, **options)
        engine._compiled_cache = kept
        return engine

    db.create_engine = create_engine  # type: ignore[attr-defined]
    for mapper in Table._sa_registry.mappers:
        mapper._compiled_cache = _Statements(ROOM)
