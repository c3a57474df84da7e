"""`orderkit orders`, as an operator types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest

from orderkit.auth.models import User
from orderkit.cli import acting
from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.orders.models import Order
from orderkit.orders.settlement import Settle, Settlement
from orderkit.payments.gateways import Declined
from orderkit.settings import Settings
from tests.cli.conftest import Cli, Told
from tests.factories import make_product, make_user, place_order
from tests.processes import Processes
from tests.shop import Shop


@pytest.fixture
def engine_name() -> str:
    """One engine will do: what the commands call is tested on both."""
    return "sqlite"


Orderkit = Callable[..., Told]


@pytest.fixture
def orderkit(processes: Processes, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> Orderkit:
    """`orderkit orders …` in this process."""
    for name, value in processes.env.items():
        monkeypatch.setenv(name, value)
    return partial(cli, "orders")


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
    assert "  5.00 GBP  " in out
    assert err == f"there are more: add --after {second.number}\n"
    assert str(first.id) in orderkit("list", "--after", str(second.number))[1]


def test_orders_are_found_and_sorted_as_over_http(shop: Shop, orderkit: Orderkit) -> None:
    small, large, middle = shop.paid(quantity=1), shop.paid(quantity=3), shop.paid(quantity=2)
    today = small.created_at.date()
    tomorrow = today + timedelta(days=1)

    def found(*arguments: str) -> list[int | None]:
        numbers = {str(one.id): one.number for one in (small, large, middle)}
        return [numbers[one] for one in listed(orderkit("list", "--json", *arguments))]

    assert found("--sort", "total", "--order", "asc") == [small.number, middle.number, large.number]
    assert found("--sort", "total", "--after", str(large.number)) == [middle.number, small.number]
    assert found("--order", "asc") == [small.number, large.number, middle.number]
    assert found("--min-total", "1000") == [middle.number, large.number]
    assert found("--max-total", "1000") == [middle.number, small.number]
    assert found("--from", str(today), "--to", str(tomorrow + timedelta(days=1))) == found()
    assert found("--to", str(today)) == found("--from", f"{tomorrow + timedelta(days=1)}T00:00:00Z") == []


@pytest.mark.usefixtures("narrow_terminal")
def test_people_see_number_status_total_time_and_address_in_80_columns(shop: Shop, orderkit: Orderkit) -> None:
    order, address = shop.paid(), "customer-0001@example.com"
    with shop.database.transaction() as session:
        session.get_one(User, shop.user_id).email = address
    heading, line = orderkit("list")[1].splitlines()
    assert heading.split() == ["number", "status", "total", "placed", "(UTC)", "e-mail"]
    placed = f"{order.created_at:%Y-%m-%d %H:%M}"
    assert line.split() == [str(order.number), "paid", "5.00", "GBP", *placed.split(), address]


def test_money_is_shown_as_people_write_it_and_told_to_programs_in_minor_units(shop: Shop, orderkit: Orderkit) -> None:
    make_product(shop.database, sku="BRUSH", currency="JPY", unit_price=123_456, stock=1)
    place_order(shop.database, shop.settings, make_user(shop.database), "BRUSH")
    heading, line = orderkit("list")[1].splitlines()
    assert heading.split() == ["number", "id", "status", "total", "created_at", "user_id"]
    assert "  123,456 JPY  " in line
    [told] = json.loads(orderkit("list", "--json")[1])
    assert (told["total"], told["currency"]) == (123_456, "JPY")


@pytest.mark.usefixtures("shop")
def test_what_cannot_be_listed_is_one_line_that_says_why(orderkit: Orderkit) -> None:
    nobody = str(new_id())
    for arguments, exit_code, why in (
        (("--status", "lost"), 2, "an order is never lost; it is one of pending, paid"),
        (("--email", "nobody"), 2, "the e-mail address cannot be taken"),
        (("--email", "nobody@example.com"), 1, "there is no user nobody@example.com"),
        (("--after", nobody), 1, f"there is no order {nobody} to go on after"),
        (("--after", "9"), 1, "there is no order 9 to go on after"),
        (("--from", "2026-13-01"), 2, "Invalid value for --from: 2026-13-01: "),
        (("--from", "2026-03-02", "--to", "2026-03-01"), 2, "Invalid value for --to: 2026-03-01 is before 2026-03-02"),
        (("--min-total", "2", "--max-total", "1"), 2, "Invalid value for --max-total: 1 is less than --min-total"),
        (("--min-total", "5.00"), 2, "Invalid value for '--min-total': 5.00 is not a whole number"),
    ):
        status, out, err = orderkit("list", *arguments)
        assert (status, out) == (exit_code, "")
        assert err.startswith(f"error: {why}")
        assert err.count("\n") == 1


def test_an_order_is_shown_with_its_story_by_number_and_by_id(shop: Shop, orderkit: Orderkit) -> None:
    order = shop.paid(quantity=2)
    for named in (str(order.number), str(order.id)):
        status, out, err = orderkit("show", named)
        assert (status, err) == (0, "")
        for said in (str(order.id), str(order.number), "paid", "10.00 GBP", "1 Road", "TEA"):
            assert said in out
        placed, paid = out.splitlines()[-2:]
        assert placed.endswith("  The order was placed by the customer.")
        assert paid.endswith("  The order was paid.")
    shown = json.loads(orderkit("show", str(order.number), "--json")[1])
    assert (shown["id"], shown["staff_note"]) == (str(order.id), None)
    assert [one["kind"] for one in shown["timeline"]] == ["status", "status"]


def test_what_customers_write_cannot_move_the_terminal(shop: Shop, orderkit: Orderkit) -> None:
    order = shop.paid()
    with shop.database.transaction() as session:
        row = session.get_one(Order, order.id)
        row.note = "hello\x1b[2J\x07\nversion  9"
        session.add(row)
    _status, out, _err = orderkit("show", str(order.id))
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "version  9" not in out.splitlines()


@pytest.mark.usefixtures("narrow_terminal")
def test_a_narrow_terminal_shows_the_story_whole(shop: Shop, orderkit: Orderkit) -> None:
    order = shop.paid()
    _status, out, _err = orderkit("show", str(order.number))
    assert str(order.id) in out
    assert "The order was placed by the customer." in out
    assert "…" not in out


def test_an_order_is_cancelled_once_and_only_when_that_is_meant(
    shop: Shop, orderkit: Orderkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acting, "_user", lambda: "ada")
    order = shop.paid()
    refused = orderkit("cancel", str(order.number))
    assert refused == (2, "", "error: this cannot be undone; if it is meant, add --yes\n")
    assert shop.order(order.id).status == "paid"
    for _ in range(2):
        status, out, err = orderkit("cancel", str(order.number), "--reason", "ordered twice", "--yes")
        assert (status, err) == (0, "")
        assert out.startswith(f"order {order.number} is cancelled; ")
    assert (shop.order(order.id).status, shop.order(order.id).version, len(shop.refunds())) == ("cancelled", 3, 1)
    assert "The order was cancelled on the command line (ada): ordered twice." in orderkit("show", str(order.id))[1]
    assert json.loads(orderkit("cancel", str(order.id), "--yes", "--json")[1])["status"] == "cancelled"


def test_what_cannot_be_shown_or_cancelled_is_one_line_that_says_why(shop: Shop, orderkit: Orderkit) -> None:
    declined, nobody = shop.place(), str(new_id())
    Settlement(shop.database, shop.settings).settle([Settle(declined.id, Declined("card_declined"))])
    for arguments, exit_code, why in (
        (("show", nobody), 1, f"there is no order {nobody}"),
        (("show", "999"), 1, "there is no order 999"),
        (("show", "tea"), 2, "tea is neither the number nor the id of an order"),
        (("show", "9" * 5000), 2, "999"),
        (("cancel", str(declined.id)), 1, "an order that is payment_failed cannot become cancelled"),
        (("cancel", str(declined.id), "--yes"), 1, "an order that is payment_failed cannot become cancelled"),
        (("cancel", str(declined.id), "--yes", "--reason", " "), 2, "a reason is one line"),
    ):
        status, out, err = orderkit(*arguments)
        assert (status, out) == (exit_code, "")
        assert err.startswith(f"error: {why}")
        assert err.count("\n") == 1
