"""Whether the store of the task queue answers. Asked without Huey, which only the worker knows, and without leaving a trace."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from orderkit import reasons
from orderkit.errors import Unavailable
from orderkit.settings import Settings


def require_store(settings: Settings, within_s: float) -> str:
    """What the store is and how it was reached, in a few words. Raises Unavailable, saying what is wrong."""
    if settings.redis_url is None:
        return _file(settings.home / "queue.db", within_s)
    return _redis(settings.redis_url, within_s)


def _redis(url: str, within_s: float) -> str:
    from redis import Redis
    from redis.exceptions import RedisError

    try:
        with closing(Redis.from_url(url, socket_timeout=within_s, socket_connect_timeout=within_s)) as client:
            version = client.info("server")["redis_version"]
    except ValueError:  # its text quotes what it takes for the port, and that may be half of a password
        raise Unavailable("its URL cannot be read") from None
    except (RedisError, OSError, KeyError) as error:
        raise Unavailable(f"Redis does not answer ({reasons.in_words(error)})") from None
    return f"Redis {version}"


def _file(path: Path, within_s: float) -> str:
    """The worker makes the file; until then, the folder must be one that it can be made in."""
    try:
        if path.exists():
            with closing(
                sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", timeout=within_s, uri=True)
            ) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return f"the file {path}"
    except (OSError, sqlite3.Error) as error:
        raise Unavailable(f"the file {path} cannot be used ({reasons.in_words(error)})") from None
    folder = next(one for one in (path.parent, *path.parent.resolve().parents) if one.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise Unavailable(f"no file can be made in {path.parent}")
    return f"a file that the worker will make, {path}"
