"""How an engine would answer a question."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, text
from sqlalchemy.orm import Session

from orderkit.db import Database


def is_postgresql(session: Session) -> bool:
    return session.connection().dialect.name == "postgresql"


def analyze(session: Session, *tables: str) -> None:
    """Lets the engine learn what is in those tables, as it does by itself after a while."""
    for table in tables:
        session.execute(text(f"ANALYZE {table}"))


def vacuum(database: Database) -> None:
    """Lets the engine learn what is in all tables, and forget what other tests had in them: neither pages nor statistics."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE" if database.is_sqlite else "VACUUM ANALYZE"))


def plan(session: Session, query: Select[Any]) -> str:
    """The plan of the engine for a query, with its values, a line for each step."""
    compiled = query.compile(session.connection(), compile_kwargs={"literal_binds": True})
    explain = "EXPLAIN (COSTS OFF)" if is_postgresql(session) else "EXPLAIN QUERY PLAN"
    return "\n".join(str(row[-1]) for row in session.connection().exec_driver_sql(f"{explain} {compiled}"))
