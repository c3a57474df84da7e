"""What a check is, and how it says that something does not hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orderkit.print_pack.checks.site import Site

WITHIN_S = 30.0
"""A check that takes longer has failed. Most take less than a second on an idle machine."""


class Fails(Exception):
    """It does not hold. The message is one line: what was seen instead."""


class NotChecked(Exception):
    """There was nothing to look at, so nothing is claimed. The message says what is missing."""


@dataclass(frozen=True, slots=True)
class Check:
    """Something that the software shows, and the program that looks whether it does.

    `shows` is a short sentence. `look` says in a few words what it saw, or raises. `places` are files of the repository, or
    tests of it (`tests/api/test_health.py::test_alive`), that hold it. One that is `alone` disturbs others, or would be
    disturbed, and has the stack to itself.
    """

    name: str
    shows: str
    look: Callable[[Site], Awaitable[str]]
    places: tuple[str, ...]
    alone: bool = False
    within_s: float = WITHIN_S


def expect(holds: object, otherwise: str) -> None:
    """Raises Fails with `otherwise` unless it holds."""
    if not holds:
        raise Fails(otherwise)


def same(found: object, wanted: object, what: str) -> None:
    """Raises Fails unless both are equal."""
    if found != wanted:
        raise Fails(f"{what}: {found!r} instead of {wanted!r}")
