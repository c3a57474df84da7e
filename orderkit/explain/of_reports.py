"""Queries of the reports. Whoever adds one names it at its site and here, with the function that asks it."""

from __future__ import annotations

from orderkit.explain.query import Query

QUERIES: tuple[Query, ...] = ()
