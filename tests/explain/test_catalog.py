"""The catalog: every query that has a name is in it, every index is named by a query or is a rule, and each can be planned."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from orderkit.db import Database
from orderkit.errors import Invalid
from orderkit.explain import indexes, verdicts
from orderkit.explain.capture import capture
from orderkit.explain.catalog import CATALOG, named
from orderkit.explain.of_worker import DUE
from orderkit.explain.plans import Plan, Step
from orderkit.explain.query import Query
from orderkit.explain.verdicts import NOT_ASKED, OK, explain, judge
from orderkit.orders.reading import WALKS
from orderkit.settings import Settings
from orderkit.system.state import KINDS
from tests import plans
from tests.engines import on_postgresql

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
    assert [(one.query.name, one.verdict, one.remark) for one in found if not one.holds or one.remark] == []
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


def test_another_index_is_remarked_on_where_the_right_one_is_there(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of several the planner takes depends on what it knows of the rows."""
    monkeypatch.setattr(verdicts, "SMALL_PAGES", -1)
    query = named("orders.of_user_and_status_by_time")
    index, other = query.indexes("sqlite")[0], "ix_orders_status_created_at"
    taken, walked, sorted_ = Step("", index=other), Step("", scans="orders"), Step("", sorts=True)
    remark = f"the planner takes {other} here, not {index}"
    with database.reading() as session:
        connection = session.connection()
        assert judge(connection, query, Plan((Step("", index=index),))) == (OK, "")
        assert judge(connection, query, Plan((taken,))) == (OK, remark)
        assert judge(connection, query, Plan((taken, sorted_))) == (f"sorts; {remark}", "")
        assert judge(connection, query, Plan((taken, walked))) == (f"scans orders; {remark}", "")
        assert judge(connection, query, Plan((walked,))) == (f"does not use {index}; scans orders", "")
        session.connection().execute(text(f"DROP INDEX {index}"))
        assert judge(connection, query, Plan((taken,))) == (f"there is no {index}", "")
        session.rollback()


@on_postgresql
def test_an_index_that_is_not_valid_is_no_good(database: Database) -> None:
    query = named("orders.by_total")
    with database.reading() as session:
        connection = session.connection()
        connection.execute(
            text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_orders_total'::regclass")
        )
        found = judge(connection, query, Plan((Step("", index="ix_orders_total"),)))
        assert found == ("ix_orders_total is not valid; run: REINDEX INDEX ix_orders_total", "")
        session.rollback()


def test_one_query_that_cannot_be_planned_does_not_sink_the_others(database: Database, settings: Settings) -> None:
    writes = "INSERT INTO webhook_receipts VALUES ('new', '2001-01-01 00:00:00')"
    bad = [
        Query("a.b", "", "pk_users", lambda bench: bench.connection.execute(text("SELECT x FROM nowhere"))),
        Query("c.d", "", "pk_users", lambda bench: bench.connection.execute(text(writes))),
    ]
    one, other, good = explain(database, settings, [*bad, named("users.by_email")])
    assert one.verdict.startswith("cannot be planned: ")
    assert "nowhere" in one.verdict
    assert other.verdict.startswith("cannot be planned: c.d: another statement, which writes")
    assert (one.holds, other.holds, good.holds) == (False, False, True)
    assert good.plan.top
