"""Password hashes: argon2id through libpass, which is the `passlib` module. Slow on purpose, hence in few threads."""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from passlib.hash import argon2

from orderkit.errors import Unavailable

MIN_LENGTH = 8
MAX_LENGTH = 128
MAX_WAITING = 64
"""At 30 ms a hash and one thread, whoever comes last waits 2 s; beyond that a refusal helps more than a place in line."""

T = TypeVar("T")

# OWASP's minimum for argon2id: 19 MiB, two passes, one lane.
_argon2id = argon2.using(type="ID", memory_cost=19456, time_cost=2, parallelism=1)


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
    """Runs what hashes passwords, at most half of the processors at once, so that logins cannot starve orders."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // 2), thread_name_prefix="hashing")
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
