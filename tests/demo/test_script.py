"""What the demo plays is settled before it starts."""

from __future__ import annotations

import pytest

from orderkit.demo import script
from orderkit.payments.gateways.builtin import TEST_METHODS


@pytest.mark.parametrize("orders", [script.MIN_ORDERS, 40, script.MAX_ORDERS])
def test_it_asks_for_as_many_orders_as_told_each_under_a_key_of_its_own(orders: int) -> None:
    keys = [wish.key for _, wishes in script.write(orders, seed=1) for wish in wishes]
    assert len(keys) == len(set(keys)) == orders


@pytest.mark.parametrize("orders", [0, script.MIN_ORDERS - 1, script.MAX_ORDERS + 1])
def test_too_few_or_too_many_orders_are_refused(orders: int) -> None:
    with pytest.raises(ValueError, match="the demo plays 20 to 2,000 orders"):
        script.write(orders, seed=1)


def test_the_same_seed_wants_the_same_things() -> None:
    def bodies(seed: int) -> list[object]:
        return [wish.body for _, wishes in script.write(100, seed) for wish in wishes]

    assert bodies(1) == bodies(1) != bodies(2)


def test_what_is_wanted_can_be_bought() -> None:
    catalog = {ware.sku: ware for ware in script.CATALOG}
    for _, wishes in script.write(200, seed=1):
        for wish in wishes:
            items = wish.body["items"]
            assert len({catalog[item["sku"]].currency for item in items}) == 1
            assert wish.pieces == sum(item["quantity"] for item in items)
            assert wish.body["payment_method"] in TEST_METHODS


def test_every_test_method_of_the_providers_has_its_act() -> None:
    assert {act.method for act in (script.ORDINARY, *script.SPECIAL)} == TEST_METHODS


def test_titles_fit_their_column() -> None:
    assert [act.title for act in script.SPECIAL if len(act.title) > 21] == []
