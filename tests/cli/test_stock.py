"""`orderkit stock`: what is left, why, and moving it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlmodel import Session, select

from orderkit.catalog import prices
from orderkit.cli import acting
from orderkit.db import Database
from orderkit.events.models import OutboxEvent
from orderkit.ids import new_id
from orderkit.inventory import stock
from orderkit.inventory.models import StockMovement
from orderkit.money import MAX_AMOUNT
from orderkit.settings import Settings
from tests.cli.conftest import Cli
from tests.factories import make_product, make_user, place_order


@pytest.fixture(autouse=True)
def _on_the_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERKIT_DATABASE_URL", database.url.render_as_string(hide_password=False))


def told(cli: Cli, *arguments: str) -> Any:
    key = ("--key", new_id().hex) if arguments[0] == "move" else ()
    answer = cli("stock", *arguments, *key, "--json")
    assert (answer.code, answer.err) == (0, "")
    return json.loads(answer.out)


def movements(database: Database) -> list[tuple[int, str, Any]]:
    with database.reading() as session:
        found = session.scalars(select(StockMovement).order_by("created_at", "id")).all()
    return [(one.delta, one.reason, one.author_id) for one in found]


def in_session(database: Database, act: Any, *arguments: Any) -> None:
    session: Session
    with database.transaction() as session:
        act(session, *arguments)


def test_where_there_is_none_it_says_so(cli: Cli) -> None:
    assert cli("stock", "show") == (0, "none\n", "")
    assert told(cli, "show") == []


def test_programs_get_minor_units_and_people_money(cli: Cli, database: Database) -> None:
    make_product(database, sku="TEA", name="Tea", unit_price=123_456, currency="GBP", stock=4, low_stock_at=5)
    make_product(database, sku="POT", name="Pot", unit_price=1_500, currency="JPY", stock=0)
    in_session(database, prices.put, "TEA", "KWD", 1_005)
    in_session(database, prices.put, "TEA", "JPY", 1_234)
    pot, tea = told(cli, "show")
    assert tea == {
        "sku": "TEA",
        "name": "Tea",
        "stock": 4,
        "low_stock_at": 5,
        "low": True,
        "prices": {"GBP": 123_456, "JPY": 1_234, "KWD": 1_005},
    }
    assert (pot["stock"], pot["low_stock_at"], pot["low"], pot["prices"]) == (0, None, False, {"JPY": 1_500})
    heading, first, second = cli("stock", "show").out.splitlines()
    assert heading.split() == ["sku", "name", "stock", "low_stock_at", "low", "prices"]
    assert first.split("  ")[-1].strip() == "1,500 JPY"
    assert second.endswith("low  1,234.56 GBP · 1,234 JPY · 1.005 KWD")


def test_low_is_what_is_at_its_threshold_or_below(cli: Cli, database: Database) -> None:
    for sku, pieces, threshold in [("A", 5, 5), ("B", 6, 5), ("C", 0, 5), ("D", 0, None), ("E", 0, 0)]:
        make_product(database, sku=sku, stock=pieces, low_stock_at=threshold)
    assert [one["sku"] for one in told(cli, "show", "--low")] == ["A", "C", "E"]
    cut = cli("stock", "show", "--low", "--limit", "2")
    assert "E" not in cut.out.split()
    assert cut.err == "there are more: orderkit stock show --low --limit 20\n"


def test_one_product_shows_why(cli: Cli, database: Database) -> None:
    author = make_user(database)
    make_product(database, sku="TEA", name="Tea", stock=4, low_stock_at=1)
    in_session(database, stock.move, "TEA", -1, "broken", author.id)
    shown = told(cli, "show", "TEA")
    assert (shown["stock"], shown["low"]) == (3, False)
    assert [(one["delta"], one["reason"], one["author_id"]) for one in shown["movements"]] == [
        (-1, "broken", str(author.id)),
        (4, "opening stock", None),
    ]
    said = cli("stock", "show", "TEA", "--limit", "1")
    assert "stock          3\n" in said.out
    assert "orders took    0\n" in said.out
    assert f"-1     broken  {author.email}" in said.out
    assert "opening stock" not in said.out
    assert said.err == "there are more: orderkit stock show 'TEA' --limit 10\n"


def test_the_movements_of_a_product_and_what_orders_took_come_to_its_stock(
    cli: Cli, database: Database, settings: Settings
) -> None:
    make_product(database, sku="TEA", stock=10)
    place_order(database, settings, make_user(database), "TEA", 6)
    in_session(database, stock.move, "TEA", 5, "delivery", None)
    shown = told(cli, "show", "TEA")
    assert (shown["stock"], shown["orders_took"], [one["delta"] for one in shown["movements"]]) == (9, 6, [5, 10])
    assert "orders took    6\n" in cli("stock", "show", "TEA").out


def test_a_movement_says_who_moved_it_from_the_command_line(
    cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acting, "_user", lambda: "ada")
    make_product(database, sku="TEA", stock=0)
    assert cli("stock", "move", "TEA", "12", "--reason", "delivery", "--key", "a") == (0, "TEA: 0 → 12\n", "")
    assert told(cli, "move", "TEA", "-3", "--reason", "broken in the rain")["stock"] == 9
    assert movements(database) == [
        (12, "command line (ada): delivery", None),
        (-3, "command line (ada): broken in the rain", None),
    ]


def test_a_movement_to_the_threshold_is_told_of(cli: Cli, database: Database) -> None:
    make_product(database, sku="TEA", stock=5, low_stock_at=4)
    assert told(cli, "move", "TEA", "-1", "--reason", "broken")["low"] is True
    with database.reading() as session:
        assert [one.payload["stock"] for one in session.scalars(select(OutboxEvent))] == [4]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["move", "TEA", "-6", "--reason", "x"], 1, "error: only 5 of TEA are left; 6 cannot be taken away\n"),
        (["move", "TEA", str(MAX_AMOUNT), "--reason", "x"], 1, f"TEA cannot hold more than {MAX_AMOUNT} pieces"),
        (["move", "NONE", "1", "--reason", "x"], 1, "error: there is no product NONE\n"),
        (["show", "NONE"], 1, "error: there is no product NONE\n"),
        (["show", "TEA", "--low"], 2, "leave the SKU out"),
        (["move", "TEA", "0", "--reason", "x"], 2, "a movement of 0 is none"),
        (["move", "TEA", str(MAX_AMOUNT + 1), "--reason", "x"], 2, "less than or equal"),
        (["move", "TEA", str(-MAX_AMOUNT - 1), "--reason", "x"], 2, "greater than or equal"),
        (["move", "TEA", "1.5", "--reason", "x"], 2, "1.5 is not a whole number"),
        (["move", "TEA", "3.0", "--reason", "x"], 2, "3.0 is not a whole number"),
        (["move", "TEA", "1_0", "--reason", "x"], 2, "not a whole number"),
        (["move", "TEA", "٣", "--reason", "x"], 2, "not a whole number"),
        (["move", "TEA", "1"], 2, "--reason"),
        (["move", "TEA", "1", "--reason", " "], 2, "a reason is one line"),
        (["move", "TEA", "1", "--reason", "a\nb"], 2, "a reason is one line"),
        (["move", "TEA", "1", "--reason", "x" * 201], 2, "a reason is one line"),
        (["move", "TEA", "1", "--reason", "4242 4242 4242 4242"], 2, "looks like a card number"),
        (["move", "TEA", "1", "--reasn", "x"], 2, "--reas"),
    ],
)
def test_what_cannot_be_done_says_so_and_moves_nothing(
    cli: Cli, database: Database, arguments: list[str], code: int, said: str
) -> None:
    make_product(database, sku="TEA", stock=5)
    answer = cli("stock", *arguments)
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err
    assert movements(database) == [(5, "opening stock", None)]
