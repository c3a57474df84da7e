"""Passwords: which are taken, and their hashes, argon2id through libpass, which is the `passlib` module.

Hashing is slow on purpose, hence in few threads.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import TypeVar

from passlib.hash import argon2

from orderkit.errors import Invalid, Unavailable

MIN_LENGTH = 8
MAX_LENGTH = 128
OUR_WORDS = ("orderkit",)
"""What somebody thinks of first who is asked for a password here."""

MAX_WAITING = 64
"""At 30 ms a hash and one thread, whoever comes last waits 2 s; beyond that a refusal helps more than a place in line."""
NICENESS = 19
"""A thread with this gets a sixtieth of what one without gets, where both want the same processor."""

_TRAILING = re.compile(r"[\W\d_]+$")

T = TypeVar("T")

# OWASP's minimum for argon2id: 19 MiB, two passes, one lane.
_argon2id = argon2.using(type="ID", memory_cost=19456, time_cost=2, parallelism=1)


def check(password: str, *, about: Iterable[str] = (), pointer: str = "#/password") -> None:
    """Raises Invalid, with `pointer`, for a password that is too short or long, common, or said by `about`, its owner.

    `about` is e-mail address and name. Their case, and digits or signs that were put behind them, make no difference.
    Nothing is cut off or converted: what passes is hashed as it is. The first call reads the list, 50 ms.
    """
    if problem := _problem(password, about):
        raise Invalid(f"the password {problem}", pointers=[(pointer, problem)])


def _problem(password: str, about: Iterable[str]) -> str | None:
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        return f"has to have {MIN_LENGTH} to {MAX_LENGTH} characters"
    if "\0" in password or any("\ud800" <= character <= "\udfff" for character in password):
        return "has a character that cannot be hashed"
    folded = password.casefold()
    if folded in _common():
        return "is one of the most common ones; choose another"
    told = (one.casefold() for one in about)
    words = {*OUR_WORDS, *(part for one in told for part in (one, one.partition("@")[0]))}
    if folded in words or _bare(folded) in {*map(_bare, words)} - {""}:
        return "is too easy to guess from the account or from where it is for; choose another"
    return None


def _bare(word: str) -> str:
    """`word` without the digits and signs at its end: `orderkit2026!` is no better than `orderkit`."""
    return _TRAILING.sub("", word)


@cache
def _common() -> frozenset[str]:
    """Those of the 30,000 most used passwords that are long enough, folded."""
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # takes 50 ms, and most processes ask for no password

    return frozenset(one.casefold() for one in FREQUENCY_LISTS["passwords"] if len(one) >= MIN_LENGTH)


def hash_password(password: str) -> str:
    """About 30 ms of CPU and 19 MiB of memory."""
    return str(_argon2id.hash(password))


def matches(password: str, hashed: str | None) -> bool:
    """Whether `hashed` was made of `password`. Without a hash the answer is no, and takes as long."""
    try:
        return bool(_argon2id.verify(password, hashed or _NOBODYS)) and hashed is not None
    except ValueError:  # what is stored is no hash, or what was sent is no text that can be hashed
        return False


def is_outdated(hashed: str) -> bool:
    """Whether `hashed` was made with other parameters than today's, and should be made again at the next login."""
    return bool(_argon2id.needs_update(hashed))


_NOBODYS = "$argon2id$v=19$m=19456,t=2,p=1$j5FSKgXA+L+3lpLSeg/hnA$kc8QUFcBhO5VUmvLWcMN2AGbqIwvQ6s9kMMBmodIutA"
"""A hash that is only compared with, for accounts that do not exist."""


class HashingThreads:
    """Runs what hashes passwords, at most half of the processors at once and behind whatever else wants them.

    So logins cannot starve orders.
    """

    def __init__(self) -> None:
        most = max(1, (os.cpu_count() or 1) // 2)
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="hashing", initializer=_give_way)
        self._waiting = 0

    async def run(self, act: Callable[..., T], *arguments: object) -> T:
        """`act(*arguments)` in a hashing thread. Raises Unavailable when too many are waiting already."""
        if self._waiting >= MAX_WAITING:
            raise Unavailable("too many logins and registrations at once; try again")
        self._waiting += 1
        try:
            context = contextvars.copy_context()
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, lambda: context.run(act, *arguments))
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Waits for what is under way."""
        self._threads.shutdown(wait=True, cancel_futures=True)


def _give_way() -> None:
    """Lowers the priority of this thread. Only Linux has one for each thread; elsewhere nothing happens."""
    if sys.platform == "linux":
        with suppress(OSError):  # a sandbox may forbid it, and logging in is worth more than the order of the queue
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
