"""The database that the settings name, open as long as a command needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orderkit.db import Database
    from orderkit.settings import Settings


@contextmanager
def opened_database(settings: Settings | None = None) -> Iterator[Database]:
    """Opens it, and closes it however the command ends. Raises ConfigurationError, also where the settings are read here.

    What a command asks may take its time: no slow query is told of on the stderr of whoever waits for it.
    """
    from orderkit.db import Database
    from orderkit.settings import load_settings

    database = Database((settings or load_settings()).model_copy(update={"slow_query": 0.0}))
    try:
        yield database
    finally:
        database.dispose()
