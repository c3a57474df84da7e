"""`orderkit orders`, as an operator types it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest

from orderkit.auth.models import User
from orderkit.cli.main import main
from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.settings import Settings
from tests.processes import Processes
from tests.shop import Shop


@pytest.fixture
def engine_name() -> str:
    """One engine will do: what the commands call is tested on both."""
    return "sqlite"


Told = tuple[int, str, str]
Orderkit = Callable[..., Told]


@pytest.fixture
def orderkit(processes: Processes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Orderkit:
    """`orderkit orders …` in this process: exit code, stdout, stderr."""
    for name, value in processes.env.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Told:
        monkeypatch.setattr(sys, "argv", ["orderkit", "orders", *arguments])
        capsys.readouterr()  # what was logged before is not the command's
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def shop(database: Database, settings: Settings) -> Shop:
    return Shop(database, settings)


def listed(told: Told) -> list[str]:
    status, out, err = told
    assert (status, err) == (0, "")
    return [one["id"] for one in json.loads(out)]


def test_orders_are_listed_newest_first_by_status_address_and_number(shop: Shop, orderkit: Orderkit) -> None:
    pending, paid = shop.place(), shop.paid()
    with shop.database.reading() as session:
        address = session.get_one(User, shop.user_id).email
    assert listed(orderkit("list", "--json")) == [str(paid.id), str(pending.id)]
    assert listed(orderkit("list", "--json", "--status", "pending")) == [str(pending.id)]
    assert listed(orderkit("list", "--json", "--number", str(paid.number))) == [str(paid.id)]
    assert listed(orderkit("list", "--json", "--email", address.upper())) == [str(paid.id), str(pending.id)]
    assert listed(orderkit("list", "--json", "--after", str(paid.id))) == [str(pending.id)]
    assert listed(orderkit("list", "--json", "--status", "shipped")) == []
    assert orderkit("list", "--status", "shipped") == (0, "none\n", "")


def test_people_get_a_table_and_are_told_how_to_go_on(shop: Shop, orderkit: Orderkit) -> None:
    first, second = shop.paid(), shop.paid()
    status, out, err = orderkit("list", "--limit", "1")
    assert status == 0
    assert str(second.id) in out
    assert str(second.number) in out
    assert str(first.id) not in out
    assert err == f"there are more: add --after {second.id}\n"


@pytest.mark.usefixtures("shop")
def test_what_cannot_be_listed_is_one_line_that_says_why(orderkit: Orderkit) -> None:
    nobody = str(new_id())
    for arguments, exit_code, why in (
        (("--status", "lost"), 2, "an order is never lost; it is one of pending, paid"),
        (("--email", "nobody"), 2, "the e-mail address cannot be taken"),
        (("--email", "nobody@example.com"), 1, "there is no user nobody@example.com"),
        (("--after", nobody), 1, f"there is no order {nobody} to go on after"),
    ):
        status, out, err = orderkit("list", *arguments)
        assert (status, out) == (exit_code, "")
        assert err.startswith(f"error: {why}")
        assert err.count("\n") == 1
