"""The rule for a reason stood three times: over HTTP, in `orderkit orders` and in `orderkit stock`, and no two were the same. One
took a card number, another a line that turns around what stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orderkit.auth.models import ADMIN
from orderkit.cli.acting import check_reason
from orderkit.cli.orders import _named
from orderkit.db import Database
from orderkit.errors import Invalid, NotFound
from orderkit.ids import new_id
from orderkit.settings import Settings
from tests.client import Client, running
from tests.factories import PASSWORD, make_user
from tests.shop import SKU, Shop

NONE = ["", " ", "two\nlines", "tur\u202ened", "\u200b", "card 4242 4242 4242 4242", "x" * 201]
SOME = ["broken", "é" * 200, "kaputt 🍵"]


@pytest.fixture
def shop(database: Database, settings: Settings) -> Shop:
    return Shop(database, settings)


@pytest.fixture
def api(settings: Settings, shop: Shop) -> Iterator[Client]:
    with running(settings) as client:
        yield client


def test_a_reason_is_the_same_thing_wherever_one_is_given(api: Client, shop: Shop) -> None:
    staff = api.token(make_user(shop.database, role=ADMIN, password=PASSWORD))
    order = shop.paid()
    for reason in NONE:
        for path, body in (
            (f"/orders/{order.id}/cancel", {}),
            (f"/orders/{order.id}/refunds", {"amount": 1}),
            (f"/products/{SKU}/stock", {"delta": 1}),
        ):
            refused = api.post(path, body | {"reason": reason}, staff | {"Idempotency-Key": new_id().hex})
            assert (refused.status, refused.pointers) == (422, ["#/reason"]), (path, reason)
        with pytest.raises(Invalid, match="a reason is one line"):
            check_reason(reason)
    for reason in SOME:
        assert check_reason(reason) == reason
        answer = api.post(f"/products/{SKU}/stock", {"delta": 1, "reason": reason}, staff)
        assert answer.status == 200, reason


@pytest.mark.parametrize("number", [10**18, 2**63 - 1])
def test_the_largest_number_of_an_order_is_looked_for_and_not_called_none(shop: Shop, number: int) -> None:
    """`orders list --number` took what `orders show` said was neither a number nor an id."""
    with pytest.raises(NotFound, match=f"there is no order {number}"):
        _named(shop.database, str(number))


@pytest.mark.parametrize("number", [2**63, 10**19])
def test_what_no_order_can_be_called_is_wrong_use(shop: Shop, number: int) -> None:
    with pytest.raises(Invalid, match="neither the number nor the id"):
        _named(shop.database, str(number))
