"""`orderkit orders refund`, as an operator types it."""

from __future__ import annotations

import json

import pytest

from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.settings import Settings
from tests.cli.conftest import Cli
from tests.shop import PRICE, Shop


@pytest.fixture
def engine_name() -> str:
    """One engine will do: what the command calls is tested on both."""
    return "sqlite"


@pytest.fixture
def shop(database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("ORDERKIT_DATABASE_URL", database.url.render_as_string(hide_password=False))
    return Shop(database, settings)


def test_operator_gives_a_part_back_by_number_and_the_rest_by_id(shop: Shop, cli: Cli) -> None:
    order = shop.paid(quantity=2)

    told = cli("orders", "refund", str(order.number), "--amount", "300", "--reason", "late", "--yes", "--json")
    made = json.loads(told.out)
    assert (told.code, told.err) == (0, "")
    assert (made["order_id"], made["amount"], made["status"]) == (str(order.id), 300, "pending")
    assert (made["reason"], made["restock"], made["lines"]) == ("late", False, [])
    told = cli("orders", "refund", str(order.id), "--restock", "--yes")
    assert f"of order {order.id}: 7.00 GBP is on its way" in told.out

    assert [(one.amount, one.restock) for one in shop.refunds()] == [(300, False), (2 * PRICE - 300, True)]
    assert shop.payment(order.id).refunded == 2 * PRICE


def test_what_cannot_be_refunded_is_told_in_one_line(shop: Shop, cli: Cli) -> None:
    order, unknown = shop.paid(), new_id()
    number = str(order.number)

    for arguments, code, said in (
        ([number], 2, "add --yes"),
        ([number, "--amount", str(PRICE + 1), "--yes"], 1, f"only {PRICE} is left"),
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
