"""The catalog: every query that orderkit ships, by name."""

from __future__ import annotations

import difflib

from orderkit.errors import Invalid
from orderkit.explain import of_accounts, of_orders, of_reports, of_system, of_worker
from orderkit.explain.query import Query

CATALOG: dict[str, Query] = {
    query.name: query
    for query in (
        *of_orders.QUERIES,
        *of_accounts.QUERIES,
        *of_worker.QUERIES,
        *of_reports.QUERIES,
        *of_system.QUERIES,
    )
}


def named(name: str) -> Query:
    """Raises Invalid, with names that are near."""
    if name not in CATALOG:
        raise Invalid(f"there is no query {name}{near(name, CATALOG)}; orderkit explain lists all")
    return CATALOG[name]


def near(name: str, known: object) -> str:
    """A half sentence with those of `known` that are like `name`, if any are."""
    alike = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)  # type: ignore[call-overload]
    return f"; near it: {', '.join(alike)}" if alike else ""
