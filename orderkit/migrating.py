"""Bringing a database to the schema that this version needs: one history, for SQLite and PostgreSQL."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from orderkit.assets import asset
from orderkit.db import Database
from orderkit.errors import ConfigurationError

if TYPE_CHECKING:
    from alembic.config import Config

LOCK_TIMEOUT_S = 5
"""A migration that waits longer for a table than this gives up, because everything else would queue up behind it."""

_ALONE = 0x6F726465726B6974
"""PostgreSQL's advisory lock of whoever migrates: "orderkit" in ASCII."""


@cache
def head() -> str:
    """The newest revision there is."""
    from alembic.script import ScriptDirectory

    newest = ScriptDirectory(str(asset("migrations"))).get_current_head()
    assert newest is not None  # noqa: S101 - there is always the first
    return newest


def current(database: Database) -> str | None:
    """The revision that the database is at; None for one that was never migrated."""
    with database.reading() as session:
        return _revision(session.connection())


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def require_current(database: Database) -> None:
    """Raises ConfigurationError, saying what to run, unless the database is at the newest revision."""
    found = current(database)
    if found == head():
        return
    state = "has no tables yet" if found is None else f"is at revision {found}, not {head()}"
    raise ConfigurationError(f"the database {state}; run: orderkit migrate")


def migrate(database: Database, to: str = "head") -> tuple[str | None, str | None]:
    """Takes the database up or down to revision `to` ("head", "base", or a revision); from where and to where it went.

    Of two at once the second waits and finds nothing to do. Raises ConfigurationError for a revision that does not exist.
    """
    from alembic import command
    from alembic.util.exc import CommandError

    with database.transaction() as session:
        connection = session.connection()
        if not database.is_sqlite:
            # The wait for another who migrates is not bounded; that for a table is.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:alone)"), {"alone": _ALONE})
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'"))
        before = _revision(connection)
        config = _config()
        config.attributes["connection"] = connection
        try:
            if _is_older(to, before):
                command.downgrade(config, to)
            else:
                command.upgrade(config, to)
        except CommandError as error:
            raise ConfigurationError(f"cannot migrate to {to}: {error}") from None
        return before, _revision(connection)


def _is_older(to: str, than: str | None) -> bool:
    if to == "head" or than is None:
        return False
    if to == "base":
        return True
    from alembic.script import ScriptDirectory

    history = [one.revision for one in ScriptDirectory(str(asset("migrations"))).walk_revisions()]  # newest first
    return to in history and than in history and history.index(to) > history.index(than)


def sql(database: Database, to: str = "head") -> str:
    """The statements that would take an empty database to `to`, without running them."""
    from alembic import command

    output = io.StringIO()
    config = _config()
    config.attributes |= {"dialect_name": database.engine.dialect.name, "output": output}
    command.upgrade(config, to, sql=True)
    script = output.getvalue()
    return script if database.is_sqlite else f"SET lock_timeout = '{LOCK_TIMEOUT_S}s';\n\n{script}"


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(asset("migrations")).replace("%", "%%"))
    return config
