"""`orderkit dead-letters`, as an operator types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.settings import Settings
from tests.cli.conftest import Cli, Told
from tests.processes import Processes
from tests.shop import Shop


@pytest.fixture
def engine_name() -> str:
    """One engine will do: what the commands call is tested on both."""
    return "sqlite"


Orderkit = Callable[..., Told]


@pytest.fixture
def orderkit(processes: Processes, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> Orderkit:
    """`orderkit dead-letters …` in this process."""
    for name, value in processes.env.items():
        monkeypatch.setenv(name, value)
    return partial(cli, "dead-letters")


@pytest.fixture
def shop(database: Database, settings: Settings) -> Shop:
    return Shop(database, settings)


def test_operator_lists_looks_and_decides(shop: Shop, orderkit: Orderkit) -> None:
    retried, discarded = shop.dead(), shop.dead()

    def told(*arguments: str) -> Any:
        status, out, err = orderkit(*arguments, "--json")
        assert (status, err) == (0, "")
        return json.loads(out)

    assert [one["id"] for one in told("list")] == [str(discarded.id), str(retried.id)]
    [call] = told("show", str(retried.id))["calls"]
    assert (call["outcome"], call["detail"]) == ("rejected", "address_not_served")
    assert told("retry", str(retried.id))["resolution"] == "retried"
    assert told("discard", str(discarded.id))["resolution"] == "discarded"

    assert told("list") == []
    assert len(told("list", "--all")) == 2
    assert shop.fulfillment(retried.order_id).status == "queued"
    assert shop.order(discarded.order_id).status == "cancelled"


def test_people_get_tables_and_sentences(shop: Shop, orderkit: Orderkit) -> None:
    first, second = shop.dead(), shop.dead()

    _status, out, err = orderkit("list", "--limit", "1")
    assert str(second.id) in out
    assert str(first.id) not in out
    assert err == "there are more: orderkit dead-letters list --limit 10\n"
    _status, _out, err = orderkit("list", "--limit", "1", "--all")
    assert err == "there are more: orderkit dead-letters list --all --limit 10\n"
    _status, out, _err = orderkit("show", str(first.id))
    assert str(first.order_id) in out
    assert "rejected" in out
    _status, out, _err = orderkit("retry", str(first.id))
    assert f"dead letter {first.id} of order {first.order_id}: queued again" in out


@pytest.mark.usefixtures("narrow_terminal")
def test_a_narrow_terminal_shows_whole_ids(shop: Shop, orderkit: Orderkit) -> None:
    letters = shop.dead(), shop.dead()
    _status, out, _err = orderkit("list")
    assert "…" not in out
    for letter in letters:
        assert str(letter.id) in out
        assert str(letter.order_id) in out


@pytest.mark.usefixtures("shop")
def test_where_there_is_none_the_list_says_so(orderkit: Orderkit) -> None:
    assert orderkit("list") == (0, "none\n", "")
    assert orderkit("list", "--json") == (0, "[]\n", "")


def test_what_cannot_be_done_is_one_line_and_exit_1(shop: Shop, orderkit: Orderkit) -> None:
    letter, unknown = shop.dead(), new_id()
    orderkit("retry", str(letter.id))

    assert orderkit("discard", str(letter.id)) == (
        1,
        "",
        "error: this dead letter was retried; cancel the order if it is not to be shipped\n",
    )
    assert orderkit("show", str(unknown)) == (1, "", f"error: there is no dead letter {unknown}\n")
