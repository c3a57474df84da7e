"""Executing queries, and seeing them without an index, leaves the database as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from orderkit.analytics import rollups
from orderkit.db import Database
from orderkit.errors import Conflict, Invalid
from orderkit.explain import running
from orderkit.explain.catalog import CATALOG, named
from orderkit.explain.running import analyzed, compared
from orderkit.explain.verdicts import explain
from orderkit.orders import seeding
from orderkit.orders.seeding import History
from orderkit.schema import metadata
from orderkit.settings import Settings
from tests.engines import on_postgresql, on_sqlite


def everything(database: Database) -> Mapping[str, Any]:
    """All rows of all tables, and all indexes there are."""
    with database.reading() as session:
        connection = session.connection()
        rows: dict[str, Any] = {
            name: sorted(map(str, connection.execute(table.select()))) for name, table in metadata.tables.items()
        }
        indexes = "SELECT sql FROM sqlite_master WHERE type = 'index'"
        if not database.is_sqlite:
            indexes = "SELECT indexrelid::regclass::text || indisvalid FROM pg_index"
        rows["indexes"] = sorted(map(str, connection.execute(text(indexes)).scalars()))
    return rows


@pytest.fixture
def seeded(database: Database) -> Database:
    history = History(orders=300, days=30, users=20, seed=3)
    seeding.write(database, history, seeding.open_shop(database, history), after=rollups.add_past)
    # Something for the worker, so that claims and sweeps have something to lock and to write.
    with database.transaction() as session:
        for change in (
            "UPDATE refunds SET status = 'pending', provider_reference = NULL",
            "UPDATE users SET erase_at = created_at WHERE email LIKE '%1%'",
            "INSERT INTO webhook_receipts VALUES ('old', '2001-01-01 00:00:00')",
        ):
            session.connection().execute(text(change))
    return database


def test_executing_every_query_changes_nothing(seeded: Database, settings: Settings) -> None:
    before = everything(seeded)
    for query in CATALOG.values():
        captured, plan = analyzed(seeded, settings, query)
        assert plan.top, captured.statement
        assert plan.ms is not None
    assert everything(seeded) == before


def test_a_claim_that_is_executed_did_find_something(seeded: Database, settings: Settings) -> None:
    _captured, plan = analyzed(seeded, settings, named("refunds.wake"))
    if seeded.is_sqlite:
        assert plan.detail["told"] != "0 rows"
    else:
        assert max(step.actual_rows or 0 for step in plan.all()) > 0


@pytest.mark.parametrize("superuser", [True, False])
def test_a_query_is_planned_without_its_index_and_the_index_stays(
    seeded: Database, settings: Settings, superuser: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_is_superuser", lambda _database: superuser)
    before = everything(seeded)
    for name in ("orders.by_total", "refunds.wake", "users.by_name_prefix"):
        query = named(name)
        index = query.indexes("sqlite")[0]
        found = compared(seeded, settings, query, index, analyze=True)
        assert index not in found.without.indexes
        assert found.executed is (seeded.is_sqlite or superuser)
        if name == "orders.by_total":
            assert index in found.with_it.indexes
            assert found.times is not None
            assert found.times > 2
    assert everything(seeded) == before
    assert [one.verdict for one in explain(seeded, settings, [named("orders.by_total")])] == ["ok"]


@on_sqlite
def test_sqlite_is_never_without_a_key(seeded: Database, settings: Settings) -> None:
    with pytest.raises(Invalid, match="uq_users_email is a key or a rule"):
        compared(seeded, settings, named("users.by_email"), "uq_users_email")


@on_postgresql
def test_a_rule_is_hidden_by_a_superuser_only(
    seeded: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, index = named("users.by_email"), "uq_users_email"
    assert index not in compared(seeded, settings, query, index).without.indexes
    monkeypatch.setattr(running, "_is_superuser", lambda _database: False)
    with pytest.raises(Invalid, match="only a superuser"):
        compared(seeded, settings, query, index)


@on_postgresql
def test_a_table_in_use_is_not_waited_for(
    seeded: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for a table has everybody else wait behind them."""
    monkeypatch.setattr(running, "_is_superuser", lambda _database: False)
    monkeypatch.setattr(running, "TRIES", 2)
    with seeded.reading() as session:
        session.connection().execute(text("SELECT count(*) FROM orders"))
        with pytest.raises(Conflict, match="orders is in use"):
            compared(seeded, settings, named("orders.by_total"), "ix_orders_total")


@on_postgresql
def test_a_shop_goes_on_while_an_index_is_hidden(seeded: Database) -> None:
    with running._hidden(seeded, "ix_orders_total"), seeded.transaction() as session:
        session.connection().execute(text("SET LOCAL lock_timeout = 500"))
        session.connection().execute(text("UPDATE orders SET total = total"))
        plan = session.connection().execute(text("EXPLAIN SELECT id FROM orders ORDER BY total LIMIT 1")).scalars()
        assert "ix_orders_total" in "".join(plan)


@on_postgresql
@pytest.mark.parametrize("way", [running._hidden, running._dropped])
def test_who_is_killed_in_the_middle_leaves_the_index(seeded: Database, way: Any) -> None:
    before = everything(seeded)
    with way(seeded, "ix_orders_total") as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with seeded.reading() as session:
            session.connection().execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        with pytest.raises(SQLAlchemyError):
            connection.execute(text("SELECT 1"))
    assert everything(seeded) == before
