"""Executing queries, and seeing them without an index, leaves the database as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from orderkit.analytics import rollups
from orderkit.db import Database
from orderkit.errors import Conflict, Invalid, NotFound
from orderkit.explain import running
from orderkit.explain.catalog import CATALOG, named
from orderkit.explain.query import Bench
from orderkit.explain.running import analyzed, compared
from orderkit.explain.verdicts import explain
from orderkit.orders import seeding
from orderkit.orders.models import Order
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


def stock_of(database: Database, stock: int) -> None:
    with database.transaction() as session:
        session.connection().execute(text(f"UPDATE products SET stock = {stock}"))


def test_goods_are_found_to_sell_and_a_shop_that_has_none_is_tried_too(seeded: Database, settings: Settings) -> None:
    """Products that came with imported orders have no stock, and the database keeps it from going below 0."""
    query = named("orders.place")
    stock_of(seeded, 0)
    before = everything(seeded)
    assert analyzed(seeded, settings, query)[1].ms is not None
    assert everything(seeded) == before
    with seeded.transaction() as session:
        session.connection().execute(text("UPDATE products SET stock = 5 WHERE sku = (SELECT max(sku) FROM products)"))
    with seeded.reading() as session:
        bench = Bench(session.connection(), settings)
        assert bench.sku == session.connection().execute(text("SELECT max(sku) FROM products")).scalar_one()
    assert analyzed(seeded, settings, query)[1].ms is not None


def test_a_query_that_cannot_be_executed_says_so_in_its_verdict(
    seeded: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock_of(seeded, 0)
    monkeypatch.setattr(Bench, "in_stock", True)  # as if it were sold out just then
    [explained] = explain(seeded, settings, [named("orders.place")])
    assert explained.holds
    found, plan = running.tried(seeded, settings, explained)
    assert found.verdict.startswith("cannot be executed: ")
    assert "ck_products_stock_not_negative" in found.verdict
    assert "\n" not in found.verdict
    assert (found.holds, plan) == (False, None)


def test_an_index_that_is_missing_is_told_as_such(seeded: Database, settings: Settings) -> None:
    index = next(one for one in Order.__table__.indexes if one.name == "ix_orders_total")  # type: ignore[attr-defined]
    with seeded.transaction() as session:
        index.drop(session.connection())
    try:
        with pytest.raises(
            NotFound, match=r"ix_orders_total is missing.* make it again with: CREATE INDEX ix_orders_total"
        ):
            compared(seeded, settings, named("orders.by_total"), "ix_orders_total")
    finally:
        with seeded.transaction() as session:
            index.create(session.connection())


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
