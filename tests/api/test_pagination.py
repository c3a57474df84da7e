"""One kind of paging for all lists: complete, in order, and only with cursors that the list itself gave."""

from __future__ import annotations

import string
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest

from orderkit.api.pagination import Paging
from orderkit.db import Database
from orderkit.errors import CursorInvalid
from tests.client import Client
from tests.factories import make_product

KEY = b"k" * 32
OF = {"list": "orders", "status": "paid"}


class Position(NamedTuple):
    created_at: datetime
    id: UUID


def test_a_position_comes_back_as_it_was() -> None:
    position = Position(datetime(2026, 11, 21, 14, 0, 0, 123456, UTC), uuid4())
    cursor = Paging(20, None, KEY).cursor(OF, position)
    assert Paging(20, cursor, KEY).after(OF, Position) == position


@pytest.mark.parametrize("text", ["A", "ÄÖ ü", '"', "\\", "x" * 64, "🍵"])
def test_any_text_can_be_a_position(text: str) -> None:
    cursor = Paging(20, None, KEY).cursor(OF, text)
    assert cursor.isascii()
    assert Paging(20, cursor, KEY).after(OF, str) == text


@pytest.mark.parametrize(
    ("found", "shown", "last"), [([], [], None), (["a", "b"], ["A", "B"], None), (["a", "b", "c"], ["A", "B"], "b")]
)
def test_a_page_shows_up_to_its_limit_and_goes_on_after_the_last_shown(
    found: list[str], shown: list[str], last: str | None
) -> None:
    page = Paging(2, None, KEY).page(OF, found, str, lambda rows: [row.upper() for row in rows])
    assert page.items == shown
    assert Paging(2, page.next_cursor, KEY).after(OF, str) == last


def test_without_a_cursor_a_list_starts_at_its_start() -> None:
    assert Paging(20, None, KEY).after(OF, str) is None


@pytest.mark.parametrize(
    "of", [{"list": "orders", "status": "shipped"}, {"list": "orders"}, {"list": "products", "status": "paid"}]
)
def test_a_cursor_fits_no_other_list_and_no_other_filter(of: dict[str, str]) -> None:
    cursor = Paging(20, None, KEY).cursor(OF, "A")
    with pytest.raises(CursorInvalid):
        Paging(20, cursor, KEY).after(of, str)


def test_a_cursor_of_another_installation_is_refused() -> None:
    cursor = Paging(20, None, b"another" * 5).cursor(OF, "A")
    with pytest.raises(CursorInvalid):
        Paging(20, cursor, KEY).after(OF, str)


@pytest.mark.parametrize("text", ["TEA-001", "TEA-01", "TEA-1"])
def test_every_edited_character_of_a_cursor_is_noticed(text: str) -> None:
    """OWASP API Security Top 10 2023, API4. Whatever padding its length needs, and so bits that no byte uses."""
    cursor = Paging(20, None, KEY).cursor(OF, text)
    for place in range(len(cursor)):
        for other in string.ascii_letters + string.digits + "+/-_=. \n":
            edited = cursor[:place] + other + cursor[place + 1 :]
            if edited != cursor:
                with pytest.raises(CursorInvalid):
                    Paging(20, edited, KEY).after(OF, str)


@pytest.mark.parametrize(("letter", "other"), [("-", "+"), ("_", "/")])
def test_a_cursor_in_the_other_alphabet_of_base64_is_refused(letter: str, other: str) -> None:
    cursors = (Paging(20, None, KEY).cursor(OF, f"TEA-{n}") for n in range(100))
    cursor = next(one for one in cursors if letter in one)
    assert Paging(20, cursor, KEY).after(OF, str)
    with pytest.raises(CursorInvalid):
        Paging(20, cursor.replace(letter, other), KEY).after(OF, str)


@pytest.mark.parametrize("edit", [lambda one: one + "=", lambda one: one.rstrip("="), lambda one: one + "\n"])
def test_a_cursor_with_more_or_less_padding_is_refused(edit: Callable[[str], str]) -> None:
    cursors = (Paging(20, None, KEY).cursor(OF, "x" * n) for n in range(1, 4))
    cursor = next(one for one in cursors if one.endswith("="))
    with pytest.raises(CursorInvalid):
        Paging(20, edit(cursor), KEY).after(OF, str)


@pytest.mark.parametrize("limit", [1, 3, 4, 7, 8, 100])
def test_pages_together_are_the_list(api: Client, database: Database, limit: int) -> None:
    skus = ["a", "A", "A-1", "Ab", "B B", "É", "z"]
    for sku in skus:
        make_product(database, sku=sku)
    whole = [one["sku"] for one in api.get("/products?limit=100").json()["items"]]
    assert sorted(whole) == sorted(skus)
    seen: list[str] = []
    path = f"/products?limit={limit}"
    for _ in range(len(skus) + 1):
        page = api.get(path).json()
        seen += [one["sku"] for one in page["items"]]
        assert len(page["items"]) <= limit
        if page["next_cursor"] is None:
            break
        path = f"/products?limit={limit}&cursor={page['next_cursor']}"
    assert seen == whole


def test_a_product_added_meanwhile_shifts_nothing(api: Client, database: Database) -> None:
    for sku in ("B", "C", "D"):
        make_product(database, sku=sku)
    first = api.get("/products?limit=2").json()
    make_product(database, sku="A")
    second = api.get(f"/products?limit=2&cursor={first['next_cursor']}").json()
    assert [one["sku"] for one in first["items"] + second["items"]] == ["B", "C", "D"]


def test_twenty_are_shown_unless_asked_otherwise(api: Client, database: Database) -> None:
    for n in range(21):
        make_product(database, sku=f"P{n:02}")
    page = api.get("/products").json()
    assert len(page["items"]) == 20
    assert page["next_cursor"]
