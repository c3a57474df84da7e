"""The catalog: every query that has a name is in it, every index is named by a query or is a rule, and each can be planned."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from orderkit.db import Database
from orderkit.errors import Invalid
from orderkit.explain import indexes
from orderkit.explain.capture import capture
from orderkit.explain.catalog import CATALOG, named
from orderkit.explain.of_worker import DUE
from orderkit.explain.query import Query
from orderkit.explain.verdicts import NOT_ASKED, explain
from orderkit.orders.reading import WALKS
from orderkit.settings import Settings
from orderkit.system.state import KINDS
from tests import plans

PACKAGE = Path(__file__).resolve().parents[2] / "orderkit"
COMPUTED = {
    "orders/reading.py": {walk.name for walk in WALKS},
    "worker/due.py": {f"{kind}.{what}" for kind in DUE for what in ("due", "wake")},
    "api/timeline.py": {name for name in CATALOG if name.startswith("timeline.")},
    "auth/sessions.py": {"sessions.forget", "sessions.forget_of_user"},
    "analytics/reports/ranking.py": {"reports.users_by_net", "reports.products_by_sales"},
    "system/state.py": {f"system.{kind}" for kind in KINDS},
    "idempotency.py": {"keys.forget", "keys.forget_of_user"},
}
"""Names that a site is given, by its module."""


def names(tree: ast.Module) -> Iterator[str | None]:
    """The names of the queries of a module; None where one is not written there."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = [one.value for one in node.keywords if one.arg == "query"]
        if called == "Writes":
            given += node.args[1:2]
        if called in ("execution_options", "insert_rows", "update_rows", "Writes"):
            for one in given:
                yield str(one.value) if isinstance(one, ast.Constant) else None


def at_sites() -> set[str]:
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        module = str(path.relative_to(PACKAGE))
        if module.startswith("explain/") or module == "rows.py":
            continue
        here = set(names(ast.parse(path.read_text(encoding="utf-8"))))
        if None in here:
            assert module in COMPUTED, f"{module} names a query by a value; say which in COMPUTED"
            here |= COMPUTED[module]
        found |= {one for one in here if one is not None}
    return found


def test_every_name_at_a_site_is_in_the_catalog_and_the_reverse() -> None:
    assert at_sites() == set(CATALOG)


def test_a_name_at_a_site_is_found() -> None:
    code = 'x.execution_options(query="a.b")\nWrites(c, "c.d")\nupdate_rows(c, M, r, query="e.f")\ny.execution_options(query=n)'
    assert set(names(ast.parse(code))) == {"a.b", "c.d", "e.f", None}


def test_every_index_is_named_by_a_query_or_is_a_rule() -> None:
    idle = {name for name in indexes.all_indexes() if not indexes.queries_of(name) and not indexes.is_rule(name)}
    assert idle == set()


def test_every_index_that_a_query_names_exists() -> None:
    known = {*indexes.all_indexes(), *indexes.primary_keys()}
    wanted = {name for query in CATALOG.values() for engine in indexes.ENGINES for name in query.indexes(engine)}
    wanted |= {name for query in CATALOG.values() for name in query.or_else}
    assert wanted - known == set()


def test_every_query_is_captured_and_planned_in_an_empty_shop(database: Database, settings: Settings) -> None:
    plans.vacuum(database)
    found = explain(database, settings, CATALOG.values())
    assert [(one.query.name, one.verdict) for one in found if not one.holds] == []
    not_asked = {one.query.name for one in found if one.verdict == NOT_ASKED}
    assert all(name.startswith("reports.") for name in not_asked)
    assert all(one.plan.top for one in found if one.query.name not in not_asked)


def test_what_is_captured_is_not_executed(database: Database, settings: Settings) -> None:
    with database.transaction() as session:
        session.connection().execute(text("INSERT INTO webhook_receipts VALUES ('old', '2001-01-01 00:00:00')"))
    with database.reading() as session:
        captured = capture(session.connection(), named("receipts.forget"), settings)
        assert "DELETE FROM webhook_receipts" in captured.statement
        assert captured.writes
        assert session.connection().execute(text("SELECT count(*) FROM webhook_receipts")).scalar() == 1


def test_a_function_that_writes_before_its_query_is_not_run(database: Database, settings: Settings) -> None:
    writes = "INSERT INTO webhook_receipts VALUES ('new', '2001-01-01 00:00:00')"
    query = Query("a.b", "", "pk_users", lambda bench: bench.connection.execute(text(writes)))
    with database.reading() as session, pytest.raises(LookupError, match="another statement, which writes"):
        capture(session.connection(), query, settings)


def test_a_function_that_never_asks_its_query_is_told_of(database: Database, settings: Settings) -> None:
    with database.reading() as session, pytest.raises(LookupError, match=r"a\.b: no statement of that name"):
        capture(session.connection(), Query("a.b", "", "pk_users", lambda _bench: None), settings)


def test_an_unknown_name_is_told_with_those_that_are_near() -> None:
    with pytest.raises(Invalid, match=r"no query orders.by_tim; near it: .*orders\.by_time"):
        named("orders.by_tim")
