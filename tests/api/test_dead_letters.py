"""Dead letters over HTTP: for operators only, and whatever is asked twice happens once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.settings import Settings
from tests.client import Client
from tests.shop import STOCK, Shop


@pytest.fixture
def shop(database: Database, settings: Settings) -> Shop:
    return Shop(database, settings)


def test_list_shows_open_letters_newest_first_in_pages(api: Client, shop: Shop, staff: dict[str, str]) -> None:
    made = [str(shop.dead().id) for _ in range(3)]

    first = api.get("/dead-letters?limit=2", staff).json()
    second = api.get(f"/dead-letters?limit=2&cursor={first['next_cursor']}", staff).json()

    assert [one["id"] for one in first["items"] + second["items"]] == made[::-1]
    assert second["next_cursor"] is None
    letter = first["items"][0]
    assert (letter["reason"], letter["attempts"], letter["resolution"]) == ("address_not_served", 1, None)


def test_list_hides_what_was_decided_unless_asked(api: Client, shop: Shop, staff: dict[str, str]) -> None:
    letter = shop.dead()
    api.post(f"/dead-letters/{letter.id}/retry", headers=staff)

    assert api.get("/dead-letters", staff).json()["items"] == []
    [shown] = api.get("/dead-letters?resolved=true", staff).json()["items"]
    assert (shown["id"], shown["resolution"]) == (str(letter.id), "retried")


def test_cursor_of_one_list_is_refused_by_another(api: Client, shop: Shop, staff: dict[str, str]) -> None:
    for _ in range(2):
        shop.dead()
    cursor = api.get("/dead-letters?limit=1", staff).json()["next_cursor"]

    refused = api.get(f"/dead-letters?limit=1&resolved=true&cursor={cursor}", staff)

    assert (refused.status, refused.code) == (400, "cursor_invalid")


def test_one_letter_comes_with_its_calls(api: Client, shop: Shop, staff: dict[str, str]) -> None:
    letter = shop.dead()

    shown = api.get(f"/dead-letters/{letter.id}", staff).json()

    assert shown["order_id"] == str(letter.order_id)
    assert [(call["number"], call["outcome"], call["detail"]) for call in shown["calls"]] == [
        (1, "rejected", "address_not_served")
    ]


def test_letter_retried_by_many_at_once_is_queued_once(api: Client, shop: Shop, staff: dict[str, str]) -> None:
    letter = shop.dead()

    async def ask_at_once() -> list[int]:
        path = f"/dead-letters/{letter.id}/retry"
        answers = await asyncio.gather(*(api.call("POST", path, headers=staff) for _ in range(8)))
        return [answer.status for answer in answers]

    assert Counter(api.run(ask_at_once())) == {202: 8}
    again = shop.fulfillment(letter.order_id)
    assert (again.status, again.attempts, again.token) == ("queued", 0, 1)


def test_discarded_letter_cancels_its_order_in_the_operator_s_name(
    api: Client, shop: Shop, staff: dict[str, str]
) -> None:
    letter = shop.dead(quantity=2)

    for _ in range(2):
        answer = api.post(f"/dead-letters/{letter.id}/discard", headers=staff)
        assert (answer.status, answer.json()["resolution"]) == (202, "discarded")

    assert shop.order(letter.order_id).status == "cancelled"
    assert shop.stock() == STOCK
    assert len(shop.refunds()) == 1


def test_letter_that_was_decided_the_other_way_is_a_conflict(api: Client, shop: Shop, staff: dict[str, str]) -> None:
    retried, discarded = shop.dead(), shop.dead()
    api.post(f"/dead-letters/{retried.id}/retry", headers=staff)
    api.post(f"/dead-letters/{discarded.id}/discard", headers=staff)

    for path in (f"/dead-letters/{retried.id}/discard", f"/dead-letters/{discarded.id}/retry"):
        answer = api.post(path, headers=staff)
        assert (answer.status, answer.code) == (409, "conflict")


@pytest.mark.parametrize("act", ["", "/retry", "/discard"])
def test_unknown_letter_is_not_found(api: Client, staff: dict[str, str], act: str) -> None:
    path = f"/dead-letters/{new_id()}{act}"

    answer = api.post(path, headers=staff) if act else api.get(path, staff)

    assert (answer.status, answer.code) == (404, "not_found")


def test_dead_letters_are_for_operators_only(api: Client, shop: Shop, customer: dict[str, str]) -> None:
    letter = shop.dead()
    posts = [f"/dead-letters/{letter.id}/{act}" for act in ("retry", "discard")]

    for headers, status in ((customer, 403), (None, 401)):
        assert {api.get(path, headers).status for path in ("/dead-letters", f"/dead-letters/{letter.id}")} == {status}
        assert {api.post(path, headers=headers).status for path in posts} == {status}
    assert shop.fulfillment(letter.order_id).status == "dead"
