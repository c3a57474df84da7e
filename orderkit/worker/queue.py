"""The alarm clock: a Huey queue, in a file or on Redis, that carries nothing but the ids of rows.

It may lose what is in it, or give it out twice: the database is the truth, and the loop wakes again whatever stays due.
"""

from __future__ import annotations

import json
import logging
import math
import sqlite3
import time
from collections.abc import Sequence
from typing import Any

from huey import Huey, RedisHuey, SqliteHuey
from huey.registry import Message
from huey.serializer import Serializer
from huey.storage import SqliteStorage
from redis import ConnectionPool, Redis
from redis.exceptions import RedisError

from orderkit import reasons
from orderkit.errors import ConfigurationError, Unavailable
from orderkit.settings import Settings

NAME = "orderkit"
UNREACHABLE = (RedisError, sqlite3.Error, OSError)
"""What the queue raises when its store does not answer."""

REDIS_TIMEOUT_S = 5


def open_queue(settings: Settings) -> Huey:
    """The queue that the settings name; without results, which nobody would read.

    Raises Unavailable when Redis does not answer, ConfigurationError when it never could or the file cannot be kept.
    """
    if settings.redis_url is None:
        return _file_queue(settings)
    try:
        # Longer than the second that a worker blocks for a task; without it a silent Redis would hold a worker for ever.
        pool = ConnectionPool.from_url(
            settings.redis_url, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S
        )
    except ValueError:  # its text quotes what it takes for the port, and that may be half of a password
        raise ConfigurationError("ORDERKIT_REDIS_URL cannot be read; try redis://host:6379/0") from None
    try:
        Redis(connection_pool=pool).ping()
    except (RedisError, OSError) as error:
        raise Unavailable(
            f"Redis does not answer ({reasons.in_words(error)}); check that it runs where ORDERKIT_REDIS_URL says"
        ) from None
    return RedisHuey(NAME, results=False, serializer=_Json(), connection_pool=pool)


def _file_queue(settings: Settings) -> Huey:
    path = settings.home / "queue.db"
    try:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return SqliteHuey(NAME, results=False, serializer=_Json(), storage_class=_FileStorage, filename=str(path))
    except (OSError, sqlite3.Error) as error:
        raise ConfigurationError(f"cannot keep the task queue in {path} ({error}); set ORDERKIT_HOME") from None


class Calm(logging.Filter):
    """For Huey's loggers: a store that does not answer is one line in a while, not a traceback a quarter second a thread."""

    EVERY_S = 5.0

    def __init__(self) -> None:
        super().__init__()
        self._told_at = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, UNREACHABLE):
            return True
        if time.monotonic() < self._told_at + self.EVERY_S:
            return False
        self._told_at = time.monotonic()
        record.exc_info, record.levelno, record.levelname = None, logging.WARNING, "WARNING"
        record.msg, record.args = (
            "the task queue does not answer: %s (%s)",
            (reasons.in_words(error), reasons.name(error)),
        )
        return True


class _FileStorage(SqliteStorage):  # type: ignore[misc]  # huey has no types
    """Syncs at checkpoints only: a power cut may lose tasks, which cost one turn each, but does not break the file."""

    def _create_connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = super()._create_connection()
        connection.execute("PRAGMA synchronous=NORMAL").close()
        return connection


class _Json(Serializer):  # type: ignore[misc]  # huey has no types
    """Tasks as JSON. Huey's own pickles would let whoever can write to the store run code in the worker."""

    def _serialize(self, data: Sequence[Any]) -> bytes:
        return json.dumps(data).encode()

    def _deserialize(self, data: bytes) -> Any:
        return Message(*json.loads(data))
