"""The texts of indexes: in the database, and on a page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import UniqueConstraint, text

from orderkit.db import Database
from orderkit.errors import Invalid
from orderkit.explain import indexes
from orderkit.explain.catalog import CATALOG
from tests.engines import on_postgresql

ROOT = Path(__file__).resolve().parents[2]
COMMENTED = "SELECT count(*) FROM pg_class WHERE relkind = 'i' AND obj_description(oid, 'pg_class') = :told"


def test_the_page_of_indexes_is_what_the_command_prints() -> None:
    committed = (ROOT / "docs" / "indexes.md").read_text(encoding="utf-8")
    assert committed == indexes.page(), "run: orderkit explain --docs > docs/indexes.md"


def test_every_index_says_what_it_is_for_and_what_it_costs() -> None:
    for name in indexes.all_indexes():
        told = indexes.text(name)
        assert "For " in told or "A rule: " in told, name
        assert "Cost: " in told or "does not write to it" in told, name
    assert {name for name in indexes.costs() if name not in indexes.all_indexes()} == set()
    measured = {name for name, (table, _) in indexes.all_indexes().items() if table.name == "orders"}
    assert measured <= set(indexes.costs()), "run: python -m loadtests.index_costs"


def test_the_page_of_explain_names_what_sqlite_cannot_be_without() -> None:
    page = (ROOT / "docs" / "explain.md").read_text(encoding="utf-8")
    part_of_tables = {
        str(name) for name, (_, one) in indexes.all_indexes().items() if isinstance(one, UniqueConstraint)
    }
    assert {*re.findall(r"`(uq_\w+)`", page)} == part_of_tables


@on_postgresql
def test_comments_are_written_where_they_differ(database: Database) -> None:
    indexes.comment(database)
    assert indexes.comment(database) == 0
    with database.transaction() as session:
        session.connection().execute(text("COMMENT ON INDEX ix_orders_total IS 'something else'"))
    assert indexes.comment(database) == 1
    with database.reading() as session:
        for name in indexes.all_indexes():
            assert session.connection().execute(text(COMMENTED), {"told": indexes.text(name)}).scalar_one() >= 1


@on_postgresql
def test_a_comment_that_has_to_wait_is_left_for_the_next_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "LOCK_TIMEOUT_MS", 50)
    indexes.comment(database)
    with database.transaction() as session:
        session.connection().execute(text("COMMENT ON INDEX ix_orders_total IS 'something else again'"))
        assert indexes.comment(database) == 0
    assert indexes.comment(database) == 1


def test_a_database_without_comments_is_left_alone(database: Database) -> None:
    assert not database.is_sqlite or indexes.comment(database) == 0


def test_queries_of_an_index_are_those_that_must_use_it() -> None:
    users = [query.name for query in indexes.that_use("ix_refunds_due", list(CATALOG.values()))]
    assert users == ["refunds.due", "refunds.wake", "system.refunds"]
    with pytest.raises(Invalid, match=r"no index ix_refund_due; near it: ix_refunds_due"):
        indexes.that_use("ix_refund_due", list(CATALOG.values()))
    with pytest.raises(Invalid, match="is a rule, and no query needs it"):
        indexes.that_use("uq_outbox_order_id_sequence", list(CATALOG.values()))
