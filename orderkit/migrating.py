"""Bringing a database to the schema that this version needs: one history, for SQLite and PostgreSQL.

A revision is a file in `migrations/versions` whose name begins with its number; the numbers are the history. So that what
serves need not import Alembic, which takes 0.2 s, only migrating itself does.
"""

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

BASE, HEAD = "base", "head"


@cache
def revisions() -> tuple[str, ...]:
    """All revisions there are, oldest first."""
    return tuple(sorted(path.name.partition("_")[0] for path in (asset("migrations") / "versions").glob("[0-9]*.py")))


def head() -> str:
    """The newest revision there is."""
    return revisions()[-1]


def current(database: Database) -> str | None:
    """The revision that the database is at; None for one that was never migrated, or taken back to nothing."""
    with database.reading() as session:
        return _revision(session.connection())


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def require_current(database: Database) -> None:
    """Raises ConfigurationError, saying what to run, unless the database is at the newest revision, or newer.

    A newer one is fine, because during a rollout the database is migrated first and old code runs on the new schema.
    """
    found = current(database)
    if found == head() or _is_newer(found):
        return
    state = "has no tables yet" if found is None else f"is at revision {found}, not {head()}"
    raise ConfigurationError(f"the database {state}; run: orderkit migrate")


def _is_newer(revision: str | None) -> bool:
    return revision is not None and revision.isdigit() and revision > head()


def migrate(database: Database, to: str = HEAD) -> tuple[str | None, str | None]:
    """Takes the database up or down to revision `to` ("head", "base", or a revision); from where and to where it went.

    All of it in one transaction. Of two at once the second waits and finds nothing to do. A database that is newer than
    this version is at "head" already. Raises ConfigurationError for a revision that does not exist.
    """
    _check(to)
    from alembic import command
    from alembic.util.exc import CommandError

    with database.changing_schema() as session:
        connection = session.connection()
        if not database.is_sqlite:
            # The wait for another who migrates is not bounded; that for a table is.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:alone)"), {"alone": _ALONE})
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'"))
        before = _revision(connection)
        if to == HEAD and _is_newer(before):
            return before, before
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


def _check(to: str) -> None:
    if to not in (BASE, HEAD, *revisions()):
        raise ConfigurationError(f"there is no revision {to}; there are {', '.join((BASE, *revisions(), HEAD))}")


def _is_older(to: str, than: str | None) -> bool:
    return to == BASE or (to != HEAD and than is not None and to < than)


def sql(database: Database, to: str = HEAD) -> str:
    """The statements that would take an empty database to `to`, without running them."""
    _check(to)
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
