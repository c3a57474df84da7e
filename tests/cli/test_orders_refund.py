"""`orderkit orders refund`, as an operator types it."""

from __future__ import annotations

import json

import pytest
import typer

from orderkit.api import timeline
from orderkit.cli import acting, orders
from orderkit.db import Database
from orderkit.fulfillment import by_hand
from orderkit.ids import new_id
from orderkit.orders import snapshot
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.settings import Settings
from tests.cli.conftest import Cli
from tests.shop import PRICE, SKU, Shop


@pytest.fixture
def engine_name() -> str:
    """One engine will do: what the command calls is tested on both."""
    return "sqlite"


@pytest.fixture
def shop(database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("ORDERKIT_DATABASE_URL", database.url.render_as_string(hide_password=False))
    return Shop(database, settings)


def send(shop: Shop, order: OrderSnapshot) -> OrderSnapshot:
    """Ships a paid order by hand."""
    with shop.database.transaction() as session:
        by_hand.ship(session.connection(), snapshot.lock(session.connection(), [order.id])[order.id])
    return order


def test_operator_gives_a_part_back_by_number_and_the_rest_by_id(shop: Shop, cli: Cli) -> None:
    order = send(shop, shop.paid(quantity=2))

    told = cli(
        "orders", "refund", str(order.number), "--amount", "300", "--reason", "late", "--yes", "--key", "a", "--json"
    )
    made = json.loads(told.out)
    assert (told.code, told.err) == (0, "")
    assert (made["order_id"], made["amount"], made["status"]) == (str(order.id), 300, "pending")
    assert (made["reason"], made["restock"], made["lines"]) == ("late", False, [])
    told = cli("orders", "refund", str(order.id), "--restock", "--yes")
    assert f"of order {order.id}: 7.00 GBP is on its way" in told.out

    assert [(one.amount, one.restock) for one in shop.refunds()] == [(300, False), (2 * PRICE - 300, True)]
    assert shop.payment(order.id).refunded == 2 * PRICE


def test_operator_gives_back_pieces_of_a_line_and_of_a_sku(shop: Shop, cli: Cli) -> None:
    number = str(send(shop, shop.paid(quantity=5)).number)

    told = cli("orders", "refund", number, "--line", "1:2", "--restock", "--yes", "--key", "a", "--json")
    assert (told.code, told.err) == (0, "")
    made = json.loads(told.out)
    assert (made["amount"], made["restock"]) == (2 * PRICE, True)
    assert made["lines"] == [{"line": 1, "sku": SKU, "quantity": 2}]
    told = cli("orders", "refund", number, "--line", "1:1", "--sku", f"{SKU}:1", "--yes")
    assert "10.00 GBP is on its way" in told.out

    assert cli("orders", "refund", number, "--line", "1:2", "--yes").err == (
        "error: 2 of TEA were asked for, but only 1 of them are not refunded yet\n"
    )
    assert [one.amount for one in shop.refunds()] == [2 * PRICE, 2 * PRICE]


def test_the_story_says_which_pieces_went_back_and_on_whose_command_line(
    shop: Shop, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acting, "_user", lambda: "ada")
    order = send(shop, shop.paid(quantity=5))
    for arguments in (["--line", "1:2", "--restock"], ["--amount", "300"]):
        assert cli("orders", "refund", str(order.number), *arguments, "--reason", "late", "--yes").code == 0

    shown = cli("orders", "show", str(order.number)).out
    asked = (
        "A refund of 10.00 GBP for 2 of TEA, to come back into stock, was asked for on the command line (ada): late."
    )
    assert asked in shown
    assert "A refund of 3.00 GBP was asked for on the command line (ada): late." in shown
    heading, line = (one.split() for one in shown.splitlines() if one.startswith(("line ", "1 ")))
    assert (heading[-1], line[0], line[-1]) == ("refunded", "1", "2")
    *_, by_line, _by_amount = json.loads(cli("orders", "show", str(order.number), "--json").out)["timeline"]
    assert by_line["detail"]["lines"] == [{"line": 1, "sku": SKU, "quantity": 2}]
    assert by_line["detail"]["restock"] is True
    assert by_line["actor"] == {"kind": "staff", "name": "command line (ada)"}


def test_the_owner_hears_of_staff_but_not_on_whose_command_line(
    shop: Shop, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acting, "_user", lambda: "ada")
    order = shop.paid()
    assert cli("orders", "refund", str(order.number), "--amount", "300", "--yes").code == 0
    assert cli("orders", "cancel", str(order.number), "--reason", "ordered twice", "--yes").code == 0
    with shop.database.reading() as session:
        found = snapshot.load(session.connection(), [order.id])[order.id]
        heard = timeline.page(session.connection(), found, limit=100, to_staff=False).items
    assert "ada" not in str(heard)
    told = [one["what"] for one in heard]
    assert "A refund of 3.00 GBP was asked for by staff: refunded by the shop." in told
    assert "The order was cancelled by staff: ordered twice." in told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--line", "1"], "1 does not say how many pieces of what, as 1:2 does"),
        (["--line", "1:"], "as 1:2 does"),
        (["--line", ":2"], "as 1:2 does"),
        (["--line", "1:0"], "as 1:2 does"),
        (["--line", "1:-1"], "as 1:2 does"),
        (["--line", "1:1.5"], "as 1:2 does"),
        (["--line", "1:1000001"], "as 1:2 does"),
        (["--line", f"1:{'9' * 5000}"], "as 1:2 does"),
        (["--line", f"{SKU}:1"], "TEA is not the number of a line; a SKU goes in --sku"),
        (["--line", "-1:1"], "-1 is not the number of a line"),
        (["--line", "2:1"], "error: line 2 is not on this order, which has 1\n"),
        (["--line", "0:1"], "line 0 is not on this order"),
        (["--sku", SKU], "as TEA-001:2 does"),
        (["--sku", "COFFEE:1"], "'COFFEE' is not on this order"),
        (["--line", "1:1", "--amount", "1"], "name an amount or pieces, not both"),
        (["--amount", "5.00"], "--amount': it is in minor units, without a point: 500 is 5.00 GBP"),
        (["--amount", "5."], "without a point"),
        (["--amount", "1_0"], "without a point"),
        (["--amount", "-5"], "without a point"),
        (["--amount", "0"], "from 1 to"),
        (["--amount", str(2**53)], "from 1 to"),
        (["--amount", "9" * 5000], "from 1 to"),
        (["--amount", "1", "--restock"], "say which goods come back"),
    ],
    ids=lambda value: " ".join(value)[:20] if isinstance(value, list) else "",
)
def test_pieces_that_cannot_be_refunded_are_wrong_use_in_one_line(
    shop: Shop, cli: Cli, arguments: list[str], said: str
) -> None:
    told = cli("orders", "refund", str(shop.paid(quantity=3).number), *arguments, "--yes")
    assert (told.code, told.out) == (2, "")
    assert said in told.err
    assert told.err.count("\n") == 1
    assert shop.refunds() == []


def test_it_asks_by_what_is_to_be_refunded(shop: Shop, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    number = str(shop.paid(quantity=3).number)
    asked: list[str] = []

    def ask(yes: bool, question: str, _otherwise: str) -> None:
        asked.append(question)
        raise typer.Abort

    monkeypatch.setattr(orders, "require_meant", ask)
    for arguments in ([], ["--amount", "5"], ["--line", "1:2", "--sku", f"{SKU}:1"]):
        assert cli("orders", "refund", number, *arguments).code == 1
    whats = ("all that is left", "5 in minor units", "2 of line 1, 1 of TEA")
    assert asked == [f"Refund {what} of order {number}?" for what in whats]
    assert shop.refunds() == []


def test_what_cannot_be_refunded_is_told_in_one_line(shop: Shop, cli: Cli) -> None:
    order, unknown = shop.paid(), new_id()
    number = str(order.number)

    for arguments, code, said in (
        ([number], 2, "add --yes"),
        ([number, "--amount", str(PRICE + 1), "--yes"], 1, "only 5.00 GBP is left"),
        ([number, "--reason", " ", "--yes"], 2, "a reason is one line"),
        ([number, "--reason", "card 4242 4242 4242 4242", "--yes"], 2, "never a card number"),
        (["99999999999999999999", "--yes"], 2, "neither"),
        (["1", "--yes"], 1, "there is no order 1"),
        ([str(unknown), "--yes"], 1, f"there is no order {unknown}"),
        (["nonsense", "--yes"], 2, "neither the number nor the id"),
    ):
        told = cli("orders", "refund", *arguments)
        assert (told.code, told.out) == (code, ""), arguments
        assert said in told.err
        assert told.err.count("\n") == 1
    assert shop.refunds() == []
