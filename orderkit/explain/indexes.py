"""Why each index exists: which queries need it, and what it costs on write. The text is the same in the database, in
`orderkit explain` and in docs/indexes.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from sqlalchemy import Engine, Index, Table, UniqueConstraint
from sqlalchemy import text as sql
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateIndex

from orderkit.db import Database
from orderkit.errors import Invalid
from orderkit.explain.catalog import CATALOG, near
from orderkit.explain.query import Query
from orderkit.schema import metadata

ENGINES = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
LOCK_TIMEOUT_MS = 500
"""A comment needs its index for a moment. Who waits longer for it goes without: a text is not worth an outage."""

HEAD = """\
# Why each index exists

Every index serves queries of the catalog (`orderkit explain`), or is a rule: that something is there once. Each is written
again and again, so each has a price. *Cost* is how much more CPU time it takes to write orders with their lines, payments,
history, events and parcels than it takes without that index; measured by `python -m loadtests.index_costs`, a few percent
either way: on SQLite it counts the time of Python too, so that much is noise. The same text is each index's comment in PostgreSQL
(`\\di+`).

Written by: `orderkit explain --docs > docs/indexes.md`
"""


def all_indexes() -> dict[str, tuple[Table, Any]]:
    """Every index that is no primary key, by name, with its table."""
    found: dict[str, tuple[Table, Any]] = {}
    for table in metadata.sorted_tables:
        rules = [one for one in table.constraints if isinstance(one, UniqueConstraint)]
        for one in (*rules, *table.indexes):
            found[str(getattr(one, "name", None))] = (table, one)
    return dict(sorted(found.items()))


def primary_keys() -> dict[str, Table]:
    return {f"pk_{table.name}": table for table in metadata.sorted_tables}


def is_rule(name: str) -> bool:
    """Whether it says that something is there once."""
    index = all_indexes()[name][1]
    return isinstance(index, UniqueConstraint) or bool(index.unique)


def made_by(name: str, engine: Engine) -> str:
    """A half sentence with the statement that makes an index again; of a key or a rule, which none does, ""."""
    index = all_indexes()[name][1] if name in all_indexes() else None
    if not isinstance(index, Index):
        return ""
    statement = " ".join(str(CreateIndex(index).compile(dialect=engine.dialect)).split())
    return f"; make it again with: {statement}"


def queries_of(name: str) -> list[Query]:
    """The queries that must use an index, on whichever engine."""
    return [query for query in CATALOG.values() if any(name in query.indexes(engine) for engine in ENGINES)]


def that_use(name: str, queries: Sequence[Query]) -> list[Query]:
    """Those of `queries` that must use an index; if it is one query only, that. Raises Invalid, with near names."""
    known = {**all_indexes(), **primary_keys()}
    if name not in known:
        raise Invalid(f"there is no index {name}{near(name, known)}; docs/indexes.md lists all")
    if len(queries) == 1:
        return list(queries)
    users = [query for query in queries if query in queries_of(name)]
    if not users:
        raise Invalid(f"{name} is a rule, and no query needs it; name a query to see it without all the same")
    return users


def text(name: str) -> str:
    """Purpose and price of an index, in a sentence or two."""
    if name in primary_keys():
        return f"The key of {primary_keys()[name].name}."
    said = []
    if queries := queries_of(name):
        said.append("For " + "; ".join(f"{query.name} ({query.purpose})" for query in queries) + ".")
    if is_rule(name):
        table, index = all_indexes()[name]
        columns = ", ".join(column.name for column in index.columns)
        said.append(f"A rule: {columns} is there once in {table.name}{_where(index)}.")
    elif where := _where(all_indexes()[name][1]):
        said.append(f"Only of rows{where}.")
    said.append(_price(name))
    return " ".join(said)


def _where(index: Any) -> str:
    if not isinstance(index, Index):
        return ""
    condition = index.dialect_options["postgresql"]["where"]
    return "" if condition is None else f" where {condition}"


def _price(name: str) -> str:
    shares = costs().get(name, {})
    if not shares:
        return "An order does not write to it."
    return "Cost: " + ", ".join(f"{_percent(shares[engine])} on {ENGINES[engine]}" for engine in sorted(shares)) + "."


def _percent(share: float) -> str:
    return "less than 1 %" if share < 0.01 else f"{share:.0%}".replace("%", " %")


@cache
def costs() -> Mapping[str, Mapping[str, float]]:
    """By index and engine, how much longer an order takes to write for it, as a share, as it was measured."""
    found: dict[str, dict[str, float]] = json.loads((files("orderkit.explain") / "costs.json").read_text())["costs"]
    return found


def comment(database: Database) -> int:
    """Writes the texts into PostgreSQL where they differ; how many. Never raises for want of a lock: the next time does it."""
    if database.is_sqlite:
        return 0
    written = 0
    with database.reading() as session:
        there = {row.relname: row.told for row in session.connection().execute(sql(_COMMENTS))}
    for name in all_indexes():
        wanted = text(name)
        if name not in there or there[name] == wanted:
            continue
        literal = wanted.replace("'", "''").replace(":", "\\:")
        try:
            with database.transaction() as session:
                connection = session.connection()
                connection.execute(sql(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
                connection.execute(sql(f"COMMENT ON INDEX {name} IS '{literal}'"))
            written += 1
        except SQLAlchemyError:
            return written
    return written


_COMMENTS = """
SELECT c.relname, obj_description(c.oid, 'pg_class') AS told FROM pg_class c
WHERE c.relkind = 'i' AND c.relnamespace = current_schema()::regnamespace
"""


def page() -> str:
    """docs/indexes.md."""
    parts = [HEAD]
    for table in metadata.sorted_tables:
        rows = [(name, index) for name, (of, index) in all_indexes().items() if of is table]
        if not rows:
            continue
        parts.append(f"## {table.name}\n")
        for name, index in rows:
            columns = ", ".join(column.name for column in index.columns)
            parts.append(f"**`{name}`** ({columns})  \n{text(name)}\n")
    return "\n".join(parts)
