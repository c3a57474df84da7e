"""`orderkit dead-letters`, as an operator types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.orders import cancellation
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
    assert told("list")[0]["order_number"] == shop.order(discarded.order_id).number
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
def test_people_see_the_number_of_the_order_and_decide_by_it(shop: Shop, orderkit: Orderkit) -> None:
    retried, discarded = (shop.order(shop.dead().order_id) for _ in range(2))
    heading, *lines = orderkit("list")[1].splitlines()
    assert heading.split() == ["order", "reason", "attempts", "given", "up", "at", "resolution"]
    assert [line.split()[:3] for line in lines] == [
        [str(one.number), "address_not_served", "1"] for one in (discarded, retried)
    ]
    assert "address_not_served" in orderkit("show", str(retried.number))[1]
    assert "queued again" in orderkit("retry", str(retried.number))[1]
    assert "its order is cancelled" in orderkit("discard", str(discarded.number))[1]
    assert shop.fulfillment(retried.id).status == "queued"
    assert shop.order(discarded.id).status == "cancelled"


def test_what_was_decided_before_is_told_so(shop: Shop, orderkit: Orderkit) -> None:
    letters = {"retry": shop.dead(), "discard": shop.dead()}
    for (act, letter), became in zip(letters.items(), ("retried", "discarded"), strict=True):
        first, again = (orderkit(act, str(letter.id)) for _ in range(2))
        assert (first.code, again.code) == (0, 0)
        assert "before" not in first.out
        assert again.out.endswith(f": it was {became} before; nothing more is done\n")


def test_in_a_terminal_a_discard_is_asked_for(shop: Shop, orderkit: Orderkit) -> None:
    letter = shop.dead()
    refused = orderkit("discard", str(letter.id), stdin="n\n", terminal=True)
    assert (refused.code, refused.out.strip()) == (1, "")
    assert "error: given up; nothing was done\n" in refused.err
    assert shop.order(letter.order_id).status == "paid"
    assert orderkit("discard", str(letter.id), "--yes", terminal=True).code == 0
    assert shop.order(letter.order_id).status == "cancelled"


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
    assert orderkit("show", "1") == (1, "", "error: there is no order 1; see: orderkit orders list\n")
    number = str(shop.paid().number)
    assert orderkit("retry", number) == (1, "", f"error: order {number} has no dead letter\n")
    assert orderkit("show", "tea").code == 2
    assert orderkit("show", str(unknown)) == (1, "", f"error: there is no dead letter {unknown}\n")


def test_after_an_outage_all_of_a_reason_are_tried_again_at_once(shop: Shop, orderkit: Orderkit) -> None:
    outage = [shop.dead(reason="timed out") for _ in range(3)]
    other = shop.dead()
    unasked = orderkit("retry", "--all", "--reason", "timed")
    assert unasked == (2, "", "error: this would try 3 (3 timed out) again; if it is meant, add --yes\n")
    declined = orderkit("retry", "--all", stdin="n\n", terminal=True)
    assert declined.code == 1
    assert "Try 4 (3 timed out, 1 address_not_served) again?" in declined.err
    assert {shop.fulfillment(one.order_id).status for one in (*outage, other)} == {"dead"}

    first = orderkit("retry", "--all", "--reason", "timed", "--limit", "2", "--yes", "--json")
    assert [one["id"] for one in json.loads(first.out)["retried"]] == [str(one.id) for one in outage[:2]], "the oldest"
    assert json.loads(first.out)["more"] is True
    rest = orderkit("retry", "--all", "--reason", "timed", "--yes")
    assert (rest.code, rest.out) == (0, "1 queued again; the worker books them now\n")
    assert {shop.fulfillment(one.order_id).status for one in outage} == {"queued"}
    assert shop.fulfillment(other.order_id).status == "dead"
    assert orderkit("retry", "--all", "--since", "2999-01-01", "--yes").out.startswith("none")


def test_one_that_cannot_be_retried_does_not_keep_the_others_back(shop: Shop, orderkit: Orderkit) -> None:
    cancelled, well = shop.dead(), shop.dead()
    with shop.database.transaction() as session:
        cancellation.cancel(session.connection(), cancelled.order_id, reason="changed my mind")
    done = orderkit("retry", "--all", "--yes")
    assert (done.code, done.out) == (1, "1 queued again; the worker books them now\n")
    assert f"{cancelled.order_id}: the order is cancelled; there is nothing to ship" in done.err
    assert shop.fulfillment(well.order_id).status == "queued"


@pytest.mark.parametrize("wrong", [["retry"], ["retry", "1001", "--all"], ["retry", "1001", "--reason", "x"]])
def test_one_letter_is_named_or_all(orderkit: Orderkit, wrong: list[str]) -> None:
    done = orderkit(*wrong)
    assert (done.code, len(done.err.splitlines())) == (2, 1)
