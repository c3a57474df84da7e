"""`orderkit explain`, on both engines, in a shop of some thousand orders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from orderkit.analytics import rollups
from orderkit.db import Database
from orderkit.explain.catalog import CATALOG
from orderkit.explain.query import Bench
from orderkit.orders import seeding
from orderkit.orders.seeding import History
from orderkit.schema import metadata
from tests import plans
from tests.cli.conftest import Cli

HISTORY = History(orders=3_000, days=90, users=60, seed=1)


@pytest.fixture
def shop(database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Database:
    """An empty one, which the commands of the test find."""
    monkeypatch.setenv("ORDERKIT_DATABASE_URL", database_url)
    return database


@pytest.fixture
def seeded(shop: Database) -> Database:
    seeding.write(shop, HISTORY, seeding.open_shop(shop, HISTORY), after=rollups.add_past)
    plans.vacuum(shop)
    return shop


@contextmanager
def dropped(database: Database, index: str) -> Iterator[None]:
    """Without that index; others may use the server's database after this test."""
    [found] = [one for table in metadata.tables.values() for one in table.indexes if one.name == index]
    with database.transaction() as session:
        found.drop(session.connection())
    try:
        yield
    finally:
        with database.transaction() as session:
            found.create(session.connection())


def test_all_queries_use_their_indexes_and_one_without_its_index_is_named(cli: Cli, seeded: Database) -> None:
    told = cli("explain", "--all")
    assert told.err == ""
    assert told.code == 0
    assert all(name in told.out for name in CATALOG)
    assert f"{len(CATALOG)} queries on" in told.out
    assert "nothing to ask about" not in told.out
    assert "the planner takes" not in told.out
    with dropped(seeded, "ix_orders_user_id_total"):
        told = cli("explain", "--all", "--json")
        assert told.code == 1
        assert "orders.of_user_by_total: there is no ix_orders_user_id_total" in told.err
        assert {one["name"] for one in json.loads(told.out) if one["verdict"] != "ok"} == {"orders.of_user_by_total"}
        assert cli("explain", "orders.of_user_by_total").code == 1
        assert cli("explain", "orders.by_total").code == 0


def test_json_has_what_the_plan_is_and_what_for(cli: Cli, shop: Database) -> None:
    told = cli("explain", "--json")
    found = json.loads(told.out)
    assert told.code == 0
    assert [one["name"] for one in found] == list(CATALOG)
    assert all({"name", "purpose", "index", "verdict", "plan"} <= one.keys() for one in found)
    by_time = next(one for one in found if one["name"] == "orders.by_time")
    assert by_time["index"] == "ix_orders_created_at"
    assert "ix_orders_created_at" in by_time["plan"]


def test_a_plan_is_shown_as_a_tree_with_time_and_rows(cli: Cli, seeded: Database) -> None:
    told = cli("explain", "orders.by_time", "--analyze")
    assert told.code == 0
    assert "└── " in told.out
    assert "ix_orders_created_at" in told.out
    assert " ms" in told.out
    assert "rows" in told.out
    assert "and was rolled back" in told.out


def test_a_query_that_cannot_be_tried_is_named_and_the_others_go_on(
    cli: Cli, seeded: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with seeded.transaction() as session:
        session.connection().execute(text("UPDATE products SET stock = 0"))
    assert cli("explain", "orders.place", "--analyze").code == 0
    monkeypatch.setattr(Bench, "in_stock", True)
    told = cli("explain", "--all", "--analyze", "--save", str(tmp_path))
    assert told.code == 1
    [complaint] = [line for line in told.err.splitlines() if not line.startswith("queries: ")]
    assert complaint.startswith("orders.place: cannot be executed: ")
    found = {one["name"]: one for one in json.loads((tmp_path / "explain.json").read_text())}
    assert found.keys() == CATALOG.keys()
    assert "executed" not in found["orders.place"]
    assert found["orders.by_time"]["ms"] is not None


def test_plans_with_an_index_and_without_stand_side_by_side(cli: Cli, seeded: Database) -> None:
    told = cli("explain", "--without", "ix_orders_total")
    assert told.code == 0
    assert any("with ix_orders_total" in line and "without it (" in line for line in told.out.splitlines())
    [found] = json.loads(cli("explain", "orders.by_total", "--without", "ix_orders_total", "--json").out)
    assert found["without"]["cost"] > 2 * found["with"]["cost"]
    assert "ix_orders_total" in found["with"]["plan"]
    assert "ix_orders_total" not in found["without"]["plan"]
    assert cli("explain", "orders.by_total").code == 0


def test_evidence_is_saved_as_text_and_as_json(cli: Cli, shop: Database, tmp_path: Path) -> None:
    folder = tmp_path / "evidence" / "plans"
    told = cli("explain", "--save", str(folder))
    assert (told.code, told.err) == (0, "")
    assert told.out.endswith(f"\nwritten to {folder}/explain.txt and .json\n")
    told = cli("explain", "--without", "ix_orders_total", "--save", str(folder))
    assert told.code == 0
    assert told.out.endswith(f"\nwritten to {folder}/without-ix_orders_total.txt and .json\n")
    told = cli("explain", "orders.by_total", "--json", "--save", str(tmp_path / "json"))
    assert [one["name"] for one in json.loads(told.out)] == ["orders.by_total"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "explain.json",
        "explain.txt",
        "without-ix_orders_total.json",
        "without-ix_orders_total.txt",
    ]
    assert len(json.loads((folder / "explain.json").read_text())) == len(CATALOG)
    assert "orders.by_time" in (folder / "explain.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["orders.by_tim"], "no query orders.by_tim; near it: orders.by_time"),
        (["nothing-like-it"], "no query nothing-like-it; orderkit explain lists all"),
        (["--without", "ix_orders_totals"], "no index ix_orders_totals; near it: ix_orders_total"),
        (["orders.by_time", "--all"], "either a query, or --all"),
    ],
)
def test_wrong_use_is_told_in_a_line(cli: Cli, shop: Database, arguments: list[str], said: str) -> None:
    told = cli("explain", *arguments)
    assert told.code == 2
    assert said in told.err
    assert told.err.count("\n") == 1


def test_a_database_that_is_not_migrated_is_told_how_to(
    cli: Cli, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORDERKIT_DATABASE_URL", empty_database_url)
    told = cli("explain")
    assert told.code == 2
    assert "run: orderkit migrate" in told.err


def test_the_folder_that_cannot_be_written_is_told(cli: Cli, shop: Database, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = cli("explain", "orders.by_time", "--save", str(tmp_path / "file"))
    assert told.code == 2
    assert "cannot write to" in told.err
