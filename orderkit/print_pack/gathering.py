"""Evidence that costs seconds, gathered at every run: what the program says of itself, and what its database makes of queries."""

from __future__ import annotations

import platform
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata as installed
from pathlib import Path
from typing import Any

from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import SQLAlchemyError

from orderkit import __version__, migrating
from orderkit.analytics import rollups
from orderkit.app import create_app
from orderkit.db import Database, missing_file
from orderkit.errors import OrderkitError
from orderkit.explain import catalog, indexes, verdicts
from orderkit.orders import seeding
from orderkit.print_pack import stamps
from orderkit.schema import metadata
from orderkit.settings import PREFIX, Settings

SEEDED = seeding.History(orders=2_000, days=120, users=200, seed=1)
"""What is asked about where there is no database yet: enough that a plan without its index would show."""
PIECES = ("openapi", "models", "plans", "versions", "commands", "settings")
"""What `gather` finds; what the checks find is the other cheap piece."""
LIBRARIES = (
    "fastapi",
    "starlette",
    "pydantic",
    "sqlmodel",
    "sqlalchemy",
    "alembic",
    "psycopg",
    "huey",
    "redis",
    "pyjwt",
    "libpass",
    "argon2-cffi",
    "aiohttp",
    "uvicorn",
    "loguru",
    "prometheus-client",
    "typer",
    "rich",
)
"""Those that a reader may ask about."""


def gather(settings: Settings, commands: Any, each: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
    """The data of each cheap piece but `checks`, by name. `commands` is the tree of the command line, as `commands` shows it.

    `each` is told 1 for each that is done. Changes nothing: where the database is not migrated, another is made for it.
    """
    makers: dict[str, Callable[[], Any]] = {
        "openapi": lambda: create_app(settings).openapi(),
        "models": models,
        "plans": lambda: plans(settings),
        "versions": versions,
        "commands": lambda: commands,
        "settings": all_settings,
    }
    found = {}
    for name in PIECES:
        found[name] = makers[name]()
        each(1)
    return found


def models() -> list[dict[str, Any]]:
    """Every table: columns with their types in PostgreSQL, keys, and indexes with why they exist."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    by_table: dict[str, list[dict[str, Any]]] = {}
    for name, (table, index) in indexes.all_indexes().items():
        by_table.setdefault(table.name, []).append(
            {
                "name": name,
                "columns": [column.name for column in index.columns],
                "rule": indexes.is_rule(name),
                "why": indexes.text(name),
                "queries": [query.name for query in indexes.queries_of(name)],
            }
        )
    return [
        {
            "name": table.name,
            "columns": [
                {
                    "name": column.name,
                    "type": column.type.compile(dialect=dialect),
                    "nullable": bool(column.nullable),
                    "key": bool(column.primary_key),
                    "references": sorted(key.target_fullname for key in column.foreign_keys),
                }
                for column in table.columns
            ],
            "indexes": by_table.get(table.name, []),
        }
        for table in metadata.sorted_tables
    ]


def plans(settings: Settings) -> dict[str, Any]:
    """What the database makes of every query of the catalog: that of the settings if it is migrated, else one with a seed."""
    with _asked_about(settings) as (database, where):
        found = verdicts.explain(database, settings, catalog.CATALOG.values())
        return {
            "engine": "SQLite" if database.is_sqlite else "PostgreSQL",
            "database": where,
            "queries": [
                {
                    "name": one.query.name,
                    "purpose": one.query.purpose,
                    "indexes": list(one.query.indexes(one.engine)),
                    "holds": one.holds,
                    "verdict": one.verdict,
                    "remark": one.remark,
                    "plan": one.plan.text(),
                    "statement": one.captured.statement,
                }
                for one in found
            ],
        }


@contextmanager
def _asked_about(settings: Settings) -> Iterator[tuple[Database, str]]:
    if missing_file(settings) is None:
        database = Database(settings.model_copy(update={"slow_query": 0.0}))
        try:
            if _is_migrated(database):
                yield database, "the database of this installation"
                return
        finally:
            database.dispose()
    with tempfile.TemporaryDirectory(prefix="orderkit-print-pack-") as folder:
        database = seeded(Path(folder), settings)
        try:
            yield database, f"a new one with {SEEDED.orders:,} orders of `orderkit seed`"
        finally:
            database.dispose()


def _is_migrated(database: Database) -> bool:
    """Whether it answers, with the schema of this version; else it is no database to ask about."""
    try:
        migrating.require_current(database)
    except (OrderkitError, SQLAlchemyError):
        return False
    return True


def seeded(folder: Path, settings: Settings) -> Database:
    """A database of its own in `folder`, with a past."""
    # By its own argument: a copy of settings remembers the URL that the settings once resolved.
    database = Database(settings.model_copy(update={"slow_query": 0.0}), url=f"sqlite:///{folder / 'orderkit.db'}")
    migrating.migrate(database)
    shop = seeding.open_shop(database, SEEDED)
    seeding.write(database, SEEDED, shop, progress=lambda _: None, after=rollups.add_past)
    return database


def versions() -> dict[str, Any]:
    """What runs here. Names no host and no user."""
    return {
        "orderkit": __version__,
        "commit": stamps.revision(),
        "machine": stamps.machine(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "sqlite": sqlite3.sqlite_version,
        "libraries": {name: installed.version(name) for name in LIBRARIES},
    }


def all_settings() -> list[Mapping[str, str]]:
    """Name, default and description of each setting; none's value."""
    return [
        {
            "name": f"{PREFIX}{name.upper()}",
            "default": "" if field.default is None else str(field.default),
            "description": field.description or "",
        }
        for name, field in Settings.model_fields.items()
    ]
