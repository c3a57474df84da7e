"""GET /orders: every filter and sort, for whom, and cursors that fit one caller's one list only."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from orderkit.auth.models import User
from orderkit.db import Database
from orderkit.ids import new_id
from tests.client import Answer, Client
from tests.engines import decided_by_the_request
from tests.factories import insert_orders, make_user

START = datetime(2026, 3, 1, tzinfo=UTC)
Order = dict[str, Any]
Headers = dict[str, str]


@pytest.fixture
def ann(database: Database) -> User:
    return make_user(database, email="ann@example.com")


@pytest.fixture
def bob(database: Database) -> User:
    return make_user(database, email="bob@example.com")


@pytest.fixture
def orders(database: Database, ann: User, bob: User, rng: random.Random) -> list[Order]:
    """Forty of two users, at eight instants and of six totals in two currencies."""
    made = [
        {
            "id": new_id(),
            "user_id": rng.choice((ann.id, bob.id)),
            "status": rng.choice(("pending", "paid", "delivered", "refunded")),
            "total": rng.randrange(6) * 100,
            "currency": rng.choice(("GBP", "JPY")),
            "created_at": START + timedelta(hours=rng.randrange(8)),
            "number": 1001 + number,
        }
        for number in range(40)
    ]
    with database.transaction() as session:
        insert_orders(session.connection(), made)
    return made


def ask(api: Client, who: Headers, **query: Any) -> Answer:
    return api.get(f"/orders?{urlencode(query)}", who)


def listed(api: Client, who: Headers, **query: Any) -> list[str]:
    """Ids of the whole list, three by three."""
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        answer = ask(api, who, limit=3, **query, **cursor)
        assert answer.status == 200, answer
        page = answer.json()
        seen += [one["id"] for one in page["items"]]
        if page["next_cursor"] is None:
            return seen
        cursor = {"cursor": page["next_cursor"]}


def ids(orders: list[Order], by: str = "created_at", *, reverse: bool = True) -> list[str]:
    return [str(one["id"]) for one in sorted(orders, key=lambda one: (one[by], one["id"]), reverse=reverse)]


def at(hours: int) -> str:
    return (START + timedelta(hours=hours)).isoformat()


def test_staff_filter_by_everything_at_once_and_one_by_one(
    api: Client, staff: Headers, orders: list[Order], ann: User
) -> None:
    assert listed(api, staff) == ids(orders)
    for query, fits in (
        ({"status": "paid"}, lambda one: one["status"] == "paid"),
        ({"user_id": ann.id}, lambda one: one["user_id"] == ann.id),
        ({"email": "ANN@Example.com"}, lambda one: one["user_id"] == ann.id),
        ({"created_from": at(3)}, lambda one: one["created_at"] >= START + timedelta(hours=3)),
        ({"created_to": at(3)}, lambda one: one["created_at"] < START + timedelta(hours=3)),
        ({"created_from": at(3), "created_to": at(3)}, lambda one: False),
        ({"min_total": 200}, lambda one: one["total"] >= 200),
        ({"max_total": 200}, lambda one: one["total"] <= 200),
        ({"min_total": 200, "max_total": 200}, lambda one: one["total"] == 200),
        ({"number": 1007}, lambda one: one["number"] == 1007),
        ({"number": 999}, lambda one: False),
        (
            {"status": "paid", "email": ann.email, "created_from": at(1), "max_total": 400, "user_id": ann.id},
            lambda one: (
                one["status"] == "paid"
                and one["user_id"] == ann.id
                and one["created_at"] >= START + timedelta(hours=1)
                and one["total"] <= 400
            ),
        ),
    ):
        fitting = [one for one in orders if fits(one)]
        assert listed(api, staff, **query) == ids(fitting), query
        assert listed(api, staff, **query, sort="total", order="asc") == ids(fitting, "total", reverse=False), query


@pytest.mark.parametrize("by", ["created_at", "total"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_lists_are_sorted_and_ties_follow_their_ids(
    api: Client, staff: Headers, orders: list[Order], by: str, order: str
) -> None:
    """By total as numbers, whatever the currency."""
    assert listed(api, staff, sort=by, order=order) == ids(orders, by, reverse=order == "desc")


def test_times_are_understood_in_any_zone(api: Client, staff: Headers, orders: list[Order]) -> None:
    expected = ids([one for one in orders if one["created_at"] >= START + timedelta(hours=3)])
    for same in ("2026-03-01T03:00:00Z", "2026-03-01t03:00:00.000z", "2026-03-01T05:30:00+02:30"):
        assert listed(api, staff, created_from=same) == expected


def test_customers_filter_their_own_and_see_nobody_elses(
    api: Client, orders: list[Order], ann: User, bob: User
) -> None:
    who = api.token(ann)
    mine = [one for one in orders if one["user_id"] == ann.id]
    theirs = next(one for one in orders if one["user_id"] == bob.id)
    assert (
        listed(api, who) == listed(api, who, user_id=ann.id) == listed(api, who, email="Ann@example.com") == ids(mine)
    )
    paid = [one for one in mine if one["status"] == "paid"]
    assert listed(api, who, status="paid", sort="total") == ids(paid, "total")
    assert listed(api, who, number=mine[0]["number"]) == [str(mine[0]["id"])]
    assert listed(api, who, number=theirs["number"]) == []
    for query in ({"user_id": bob.id}, {"user_id": new_id()}, {"email": bob.email}, {"email": "nobody@example.com"}):
        answer = ask(api, who, **query)
        assert (answer.status, answer.code) == (403, "forbidden"), query


@pytest.mark.usefixtures("orders")
def test_staff_find_nothing_under_an_address_that_nobody_has(api: Client, staff: Headers, ann: User, bob: User) -> None:
    for query in ({"email": "nobody@example.com"}, {"email": ann.email, "user_id": bob.id}):
        assert ask(api, staff, **query).json() == {"items": [], "next_cursor": None}


@pytest.mark.usefixtures("orders")
def test_a_cursor_is_good_for_one_callers_one_list(api: Client, staff: Headers, database: Database, ann: User) -> None:
    """OWASP API Security Top 10 2023, API1: what a cursor hides is decided anew for each caller."""
    query = {"sort": "total", "min_total": 0, "created_from": at(0)}
    cursor = ask(api, staff, limit=2, **query).json()["next_cursor"]
    assert ask(api, staff, limit=7, **query, cursor=cursor).status == 200
    assert ask(api, staff, **query | {"created_from": "2026-03-01T01:00:00+01:00"}, cursor=cursor).status == 200
    others: tuple[dict[str, Any], ...] = (
        query | {"order": "asc"},
        query | {"sort": "created_at"},
        query | {"min_total": 1},
        query | {"max_total": 500},
        query | {"created_from": at(1)},
        query | {"created_to": at(8)},
        query | {"status": "paid"},
        query | {"user_id": ann.id},
        query | {"email": ann.email},
        query | {"number": 1001},
        {},
    )
    for other in others:
        answer = ask(api, staff, **other, cursor=cursor)
        assert (answer.status, answer.code) == (400, "cursor_invalid"), other
    for who in (make_user(database, role="admin"), make_user(database, role="support"), ann):
        answer = ask(api, api.token(who), **query, cursor=cursor)
        assert (answer.status, answer.code) == (400, "cursor_invalid")


@pytest.mark.usefixtures("orders")
def test_an_edited_cursor_is_400(api: Client, staff: Headers) -> None:
    cursor = ask(api, staff, limit=2).json()["next_cursor"]
    assert ask(api, staff, cursor=cursor).status == 200
    for place in range(0, len(cursor), 7):
        edited = cursor[:place] + ("A" if cursor[place] != "A" else "B") + cursor[place + 1 :]
        answer = ask(api, staff, cursor=edited)
        assert (answer.status, answer.code) == (400, "cursor_invalid")
    for nonsense in ("", "A", "===", "é", "0" * 1000):
        assert ask(api, staff, cursor=nonsense).status == 400


@pytest.mark.usefixtures("orders")
def test_a_customers_cursor_is_no_other_customers(api: Client, ann: User, bob: User) -> None:
    cursor = ask(api, api.token(ann), limit=1).json()["next_cursor"]
    assert ask(api, api.token(ann), cursor=cursor).status == 200
    assert ask(api, api.token(bob), cursor=cursor).code == "cursor_invalid"


@decided_by_the_request
@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("status=lost", "#/query/status"),
        ("status=", "#/query/status"),
        ("status=PAID", "#/query/status"),
        ("sort=number", "#/query/sort"),
        ("order=up", "#/query/order"),
        ("created_from=2026-03-01T00:00:00", "#/query/created_from"),
        ("created_to=2026-03-01", "#/query/created_to"),
        ("created_from=1770000000", "#/query/created_from"),
        ("created_from=2026-02-30T00:00:00Z", "#/query/created_from"),
        ("created_from=2026-03-01T24:30:00Z", "#/query/created_from"),
        ("created_from=2026-03-01T00:00:00%2B25:00", "#/query/created_from"),
        ("created_from=0001-01-01T00:00:00%2B14:00", "#/query/created_from"),
        ("created_to=9999-12-31T23:59:59-14:00", "#/query/created_to"),
        ("created_to=2026-03-01T00:00:00+01:00", "#/query/created_to"),
        ("created_to=", "#/query/created_to"),
        ("created_from=2026-03-02T00:00:00Z&created_to=2026-03-01T00:00:00Z", "#/query/created_to"),
        ("min_total=-1", "#/query/min_total"),
        ("min_total=1.0", "#/query/min_total"),
        ("min_total=1e3", "#/query/min_total"),
        ("max_total=9007199254740992", "#/query/max_total"),
        ("max_total=99999999999999999999999", "#/query/max_total"),
        ("max_total=", "#/query/max_total"),
        ("min_total=2&max_total=1", "#/query/max_total"),
        ("number=0", "#/query/number"),
        ("number=9223372036854775808", "#/query/number"),
        ("number=%D9%A1", "#/query/number"),
        ("user_id=me", "#/query/user_id"),
        ("email=nobody", "#/query/email"),
        ("email=%00@example.com", "#/query/email"),
        ("stauts=paid", "#/query/stauts"),
        ("status=paid&status=pending", "#/query/status"),
        ("offset=20", "#/query/offset"),
        ("a/b=1", "#/query/a~1b"),
        ("limit=101", "#/query/limit"),
        ("limit=0", "#/query/limit"),
    ],
)
def test_what_cannot_be_asked_is_422_with_a_pointer(api: Client, staff: Headers, query: str, pointer: str) -> None:
    answer = api.get(f"/orders?{query}", staff)
    assert (answer.status, answer.code) == (422, "validation_failed"), answer
    assert answer.pointers == [pointer]


def test_the_ends_of_what_can_be_asked_are_fine(api: Client, staff: Headers) -> None:
    for query in (
        "min_total=0&max_total=9007199254740991",
        "number=9223372036854775807",
        "created_from=0001-01-01T00:00:00Z&created_to=9999-12-31T23:59:59.999999Z",
        "limit=100",
    ):
        assert api.get(f"/orders?{query}", staff).status == 200, query


def test_nobody_lists_without_a_token_whatever_they_ask(api: Client) -> None:
    assert api.get("/orders?stauts=paid").code == "unauthenticated"
