"""What a database says of its own tables."""

from __future__ import annotations

from sqlalchemy import text

from orderkit.db import Database

_POSTGRESQL = """
    SELECT format('%s: %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull)
      FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
     WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT format('%s: %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
      FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
"""


def definitions(database: Database) -> set[str]:
    """Every column, constraint and index, as the database itself tells it."""
    with database.reading() as session:
        if not database.is_sqlite:
            found = {row[0] for row in session.execute(text(_POSTGRESQL))}
        else:
            found = set()
            for name, sql in session.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")):
                # One line for each column and constraint, whose order means nothing: SQLite appends what is added later.
                found |= {f"{name}: {part}" for part in _parts(sql)} if sql.startswith("CREATE TABLE") else {sql}
    return {line for line in found if "alembic_version" not in line}


def _parts(sql: str) -> list[str]:
    """What is between the parentheses of a CREATE TABLE, separated where a comma is in no other."""
    parts, depth = [""], 0
    for character in sql[sql.index("(") + 1 : sql.rindex(")")]:
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [" ".join(part.split()) for part in parts]
