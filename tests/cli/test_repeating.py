"""Commands that must not be done twice: repeated with their key after an answer that got lost, they are done once."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from orderkit import clock, idempotency
from orderkit.cli import repeating
from orderkit.cli.orders import _refunded
from orderkit.db import Database
from orderkit.errors import KeyExpired, OrderkitError
from orderkit.inventory.models import StockMovement
from orderkit.payments.models import Refund
from orderkit.settings import Settings
from tests.cli.conftest import Cli
from tests.shop import PRICE, SKU, STOCK, Shop
from tests.threads import at_once

LOST = OperationalError("COMMIT", {}, Exception("server closed the connection"), connection_invalidated=True)
HINT = re.compile(r"should its answer be lost, the same command with --key (\w+) does it once\n")


@pytest.fixture
def shop(database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("ORDERKIT_DATABASE_URL", database.url.render_as_string(hide_password=False))
    return Shop(database, settings)


@pytest.fixture(params=["refund", "move"])
def command(shop: Shop, request: pytest.FixtureRequest) -> tuple[str, ...]:
    if request.param == "move":
        return ("stock", "move", SKU, "7", "--reason", "delivery", "--json")
    return ("orders", "refund", str(shop.paid(quantity=4).number), "--amount", "500", "--yes", "--json")


def done(shop: Shop) -> tuple[int, int]:
    """How many refunds there are, and movements beside the opening stock."""
    return len(shop.all(Refund)), len(shop.all(StockMovement)) - 1


def once(command: tuple[str, ...]) -> tuple[int, int]:
    return (1, 0) if command[0] == "orders" else (0, 1)


def losing(transaction: Callable[[Database], object], commits: int) -> Callable[[Database], object]:
    """A `Database.transaction` that loses the answers of its first `commits`, which happen all the same."""
    left = [commits]

    @contextmanager
    def lost(database: Database) -> Iterator[Session]:
        with transaction(database) as session:  # type: ignore[attr-defined]
            yield session
        if left[0]:
            left[0] -= 1
            raise LOST

    return lost


def test_a_repeat_with_the_same_key_does_nothing_more_and_tells_the_same(
    shop: Shop, cli: Cli, command: tuple[str, ...]
) -> None:
    first, again = (cli(*command, "--key", "monday-1") for _ in range(2))
    assert (first.code, first.err, again.code) == (0, "", 0)
    assert again.out == first.out
    assert "before; nothing more is" in again.err
    assert done(shop) == once(command)


def test_without_a_key_one_is_made_and_told_beside_what_programs_read(
    shop: Shop, cli: Cli, command: tuple[str, ...]
) -> None:
    first = cli(*command)
    assert first.code == 0
    hint = HINT.fullmatch(first.err)
    assert hint, first.err
    assert cli(*command, "--key", hint[1]).out == first.out
    assert json.loads(first.out)
    assert done(shop) == once(command)
    assert cli(*command).code == 0
    assert sum(done(shop)) == 2, "without a key it is another"


def test_a_commit_whose_answer_is_lost_is_found_again(
    shop: Shop, cli: Cli, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Database, "transaction", losing(Database.transaction, 1))
    told = cli(*command)
    assert told.code == 0
    assert HINT.fullmatch(told.err), told.err
    monkeypatch.undo()
    assert done(shop) == once(command)


def test_who_hears_nothing_at_all_repeats_with_the_key_that_was_told_first(
    shop: Shop, cli: Cli, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Database, "transaction", losing(Database.transaction, 2))
        failed = cli(*command)
    assert (failed.code, failed.out) == (1, "")
    hint = HINT.match(failed.err)
    assert hint, failed.err
    again = cli(*command, "--key", hint[1])
    assert (again.code, bool(again.out)) == (0, True)
    assert done(shop) == once(command)


def test_a_key_is_good_for_one_act(shop: Shop, cli: Cli, command: tuple[str, ...]) -> None:
    assert cli(*command, "--key", "k").code == 0
    for other in (
        ("stock", "move", SKU, "8", "--reason", "delivery"),
        ("orders", "refund", str(shop.paid().number), "--yes"),
    ):
        told = cli(*other, "--key", "k")
        assert (told.code, told.out) == (1, "")
        assert told.err.startswith("error: this Idempotency-Key was used for another request")
    assert done(shop) == once(command)


def test_what_is_refused_tells_no_key_and_uses_none_up(shop: Shop, cli: Cli) -> None:
    order = shop.paid()
    for command in (
        ("orders", "refund", str(order.number), "--amount", str(PRICE + 1), "--yes"),
        ("stock", "move", SKU, str(-STOCK - 1), "--reason", "gone"),
    ):
        for key in ((), ("--key", "k")):
            told = cli(*command, *key)
            assert (told.code, told.out, told.err.count("\n")) == (1, "", 1)
            assert "--key" not in told.err
    assert cli("orders", "refund", str(order.number), "--yes", "--key", "k").code == 0
    assert done(shop) == (1, 0)


@pytest.mark.parametrize("key", ["", "two words", "é", "k" * 256])
def test_what_is_no_key_is_wrong_use(shop: Shop, cli: Cli, command: tuple[str, ...], key: str) -> None:
    told = cli(*command, "--key", key)
    assert (told.code, told.out) == (2, "")
    assert "1 to 255 visible ASCII characters" in told.err
    assert done(shop) == (0, 0)


def test_a_key_that_has_been_forgotten_still_pays_once(shop: Shop, cli: Cli) -> None:
    order = shop.paid(quantity=4)
    command = ("orders", "refund", str(order.number), "--amount", "500", "--yes", "--key", "k")
    assert cli(*command).code == 0
    with shop.database.transaction() as session:
        assert idempotency.forget(session.connection(), before=clock.now() + timedelta(seconds=1)) == 2
    told = cli(*command)
    assert (told.code, told.out) == (1, "")
    assert f"/orders/{order.id}/refunds/{shop.refunds()[0].id}" in told.err
    assert done(shop) == (1, 0)


def test_the_same_key_at_once_pays_once(shop: Shop) -> None:
    """Also where the key was forgotten: the command line's refunds have no actor, which no unique index tells apart."""
    order = shop.paid(quantity=4)

    def refund() -> bool | type[OrderkitError]:
        key = repeating.Key("k")
        try:
            return _refunded(shop.database, shop.settings, key, order.id, 500, [], "late", restock=False).replayed
        except OrderkitError as error:
            return type(error)

    assert Counter(at_once(*[refund] * 6)) == {False: 1, True: 5}
    assert done(shop) == (1, 0)
    with shop.database.transaction() as session:
        idempotency.forget(session.connection(), before=clock.now() + timedelta(seconds=1))
    assert Counter(at_once(*[refund] * 6)) == {KeyExpired: 6}
    assert done(shop) == (1, 0)
