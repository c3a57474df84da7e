"""The database that the settings name, open as long as a command needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError

    from orderkit.db import Database
    from orderkit.settings import Settings


@contextmanager
def opened_database(settings: Settings | None = None, *, new: bool = False) -> Iterator[Database]:
    """Opens it, and closes it however the command ends. Raises ConfigurationError, also where the settings are read here, and
    where the command failed for want of a table or a column: the database is not migrated.

    Only with `new` a file of SQLite is made that is not there: an empty one would look like a shop without orders.

    What a command asks may take its time: no slow query is told of on the stderr of whoever waits for it.
    """
    from sqlalchemy.exc import DBAPIError

    from orderkit.db import Database, missing_file
    from orderkit.errors import ConfigurationError
    from orderkit.settings import load_settings

    settings = settings or load_settings()
    if not new and (path := missing_file(settings)) is not None:
        raise ConfigurationError(
            f"there is no database {path}; run: orderkit migrate, or set ORDERKIT_HOME or ORDERKIT_DATABASE_URL"
        )
    database = Database(settings.model_copy(update={"slow_query": 0.0}))
    try:
        yield database
    except DBAPIError as error:
        _require_tables(database, error)
        raise
    finally:
        database.dispose()


def _require_tables(database: Database, error: DBAPIError) -> None:
    from orderkit import migrating
    from orderkit.cli import failures

    if failures.lacks_tables(error):
        migrating.require_current(database)
