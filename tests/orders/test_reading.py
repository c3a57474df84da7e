"""Lists of orders: whatever is asked, they are what sorting all orders by hand would give, and each walks its index."""

from __future__ import annotations

import itertools
import random
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, insert, text
from sqlalchemy.orm import Session
from sqlmodel import col, select

from orderkit.auth.models import User
from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.orders import reading
from orderkit.orders.models import Order
from orderkit.orders.reading import WALKS, ByTime, ByTotal, Position, Sort, Wanted
from orderkit.orders.states import OrderStatus
from tests.factories import insert_orders, make_user
from tests.plans import analyze, is_postgresql, plan

START = datetime(2026, 3, 1, tzinfo=UTC)
STATUSES = [one.value for one in OrderStatus]
SORTS: tuple[Sort, ...] = get_args(Sort)
PAGES = 25
"""Of a list of all orders about as many are looked at: two a page, the two hundredth follows as the twentieth did."""


@dataclass(frozen=True)
class One:
    id: UUID
    user_id: UUID
    status: str
    total: int
    created_at: datetime
    number: int


def users(session: Session, count: int) -> list[UUID]:
    ids = [new_id() for _ in range(count)]
    rows = [{"id": one, "email": f"u{n}@example.com", "name": "U", "role": "customer"} for n, one in enumerate(ids)]
    session.execute(insert(User), rows)
    return ids


def some(rng: random.Random, of: list[UUID], count: int, *, instants: int, totals: int) -> list[One]:
    """Orders with so few instants and totals that many are equal, and ids that follow neither."""
    return [
        One(
            UUID(int=rng.getrandbits(128)),
            rng.choices(of, range(1, len(of) + 1))[0],
            rng.choices(STATUSES, (1, 30, 2, 5, 40, 3, 4))[0],
            rng.randrange(totals),
            START + timedelta(hours=rng.randrange(instants)),
            1000 + number,
        )
        for number in range(count)
    ]


def insert_all(session: Session, orders: list[One]) -> None:
    insert_orders(session.connection(), [vars(one) for one in orders])


def by_hand(orders: list[One], wanted: Wanted, sort: Sort, descending: bool) -> list[UUID]:
    fitting = [
        one
        for one in orders
        if (wanted.user_id is None or one.user_id == wanted.user_id)
        and (wanted.status is None or one.status == wanted.status)
        and (wanted.created_from is None or one.created_at >= wanted.created_from)
        and (wanted.created_to is None or one.created_at < wanted.created_to)
        and (wanted.min_total is None or one.total >= wanted.min_total)
        and (wanted.max_total is None or one.total <= wanted.max_total)
        and (wanted.number is None or one.number == wanted.number)
    ]
    return [one.id for one in sorted(fitting, key=lambda one: (getattr(one, sort), one.id), reverse=descending)]


def page_by_page(
    session: Session, wanted: Wanted, sort: Sort, descending: bool, limit: int, pages: int = 10_000
) -> list[UUID]:
    seen: list[UUID] = []
    after: Position | None = None
    for _ in range(pages):
        found = reading.page(session.connection(), wanted, limit=limit, sort=sort, descending=descending, after=after)
        assert len(found.orders) <= limit
        seen += [one.id for one in found.orders]
        after = found.more_after
        if after is None:
            return seen
    raise AssertionError("the list has no end")


def something_wanted(rng: random.Random, of: list[UUID], orders: list[One]) -> Wanted:
    maybe = rng.random
    hours = sorted(rng.choices(range(-2, 42), k=2))
    totals = sorted(rng.choices(range(26), k=2))
    return Wanted(
        user_id=rng.choice([*of, new_id()]) if maybe() < 0.5 else None,
        status=rng.choice(STATUSES) if maybe() < 0.5 else None,
        created_from=START + timedelta(hours=hours[0]) if maybe() < 0.4 else None,
        created_to=START + timedelta(hours=hours[1]) if maybe() < 0.4 else None,
        min_total=totals[0] if maybe() < 0.4 else None,
        max_total=totals[1] if maybe() < 0.4 else None,
        number=rng.choice(orders).number if maybe() < 0.05 else None,
    )


@pytest.mark.unmeasured
@pytest.mark.parametrize(("near", "far"), [(500, 4000), (7, 60), (3, 5)], ids=["one walk", "gathered", "short pages"])
def test_any_filters_in_any_order_give_what_sorting_all_by_hand_gives(
    rolled_back: Session, rng: random.Random, monkeypatch: pytest.MonkeyPatch, near: int, far: int
) -> None:
    monkeypatch.setattr(reading, "NEAR", near)
    monkeypatch.setattr(reading, "FAR", far)
    of = users(rolled_back, 3)
    orders = some(rng, of, 400, instants=40, totals=25)
    insert_all(rolled_back, orders)
    for _ in range(60):
        wanted = something_wanted(rng, of, orders)
        sort, descending = rng.choice(SORTS), rng.random() < 0.5
        expected = by_hand(orders, wanted, sort, descending)
        limit = max(rng.choice((2, 7, 20, 100)), len(expected) // PAGES)
        seen = page_by_page(rolled_back, wanted, sort, descending, limit)
        assert seen == expected, (wanted, sort, descending, limit)


def test_a_page_is_full_where_its_orders_are_few_among_many(rolled_back: Session, rng: random.Random) -> None:
    """A walk for them would look at every order."""
    [user] = users(rolled_back, 1)
    many = [
        One(uuid4(), user, "delivered", 500, START + timedelta(seconds=n), 1000 + n)
        for n in range(reading.NEAR + reading.FAR + 100)
    ]
    few = [replace(one, status="pending", total=10**6) for one in rng.sample(many, 30)]
    orders = list({one.id: one for one in [*many, *few]}.values())
    insert_all(rolled_back, orders)
    for wanted, sort in itertools.product((Wanted(min_total=501), Wanted(status="pending")), SORTS):
        found = reading.page(rolled_back.connection(), wanted, limit=20, sort=sort)
        assert [one.id for one in found.orders] == by_hand(orders, wanted, sort, True)[:20]
        assert found.more_after is not None


def test_a_walk_ends_within_its_bound_and_says_where(rolled_back: Session) -> None:
    """The newest are all cheap, the dear ones all old, and both too many to sort."""
    [user] = users(rolled_back, 1)
    each = reading.NEAR + reading.FAR + 10
    orders = [
        One(uuid4(), user, "paid", 1 if n >= each else 1000, START + timedelta(seconds=n), 1000 + n)
        for n in range(2 * each)
    ]
    insert_all(rolled_back, orders)
    dear = Wanted(min_total=1000)
    first = reading.page(rolled_back.connection(), dear, limit=20)
    assert first.orders == []
    assert first.more_after is not None
    then = reading.page(rolled_back.connection(), dear, limit=20, after=first.more_after)
    assert [one.id for one in then.orders] == by_hand(orders, dear, "created_at", True)[:20]


WAYS: list[tuple[Sort, bool]] = [(sort, descending) for sort in SORTS for descending in (True, False)]


@pytest.mark.unmeasured
def test_paging_through_ten_thousand_misses_and_repeats_none_while_a_thousand_come(
    database: Database, rng: random.Random
) -> None:
    user = make_user(database).id
    old = some(rng, [user], 10_000, instants=40, totals=30)
    with database.transaction() as session:
        insert_all(session, old)
    there = {one.id for one in old}
    for sort, descending in WAYS:
        way = f"by {sort}, {'descending' if descending else 'ascending'}"
        new = [replace(one, number=one.number + len(old)) for one in some(rng, [user], 1_000, instants=40, totals=30)]
        seen = page_by_page_while_they_come(database, new, sort, descending)
        assert len(seen) == len(set(seen)), way
        assert [one for one in seen if one in there] == by_hand(old, Wanted(), sort, descending), way
        assert set(seen) - there <= {one.id for one in new}, way
        with database.reading() as session:
            assert len(page_by_page(session, Wanted(), sort, descending, 100)) == len(old) + len(new), way
        old += new
        there |= {one.id for one in new}


def page_by_page_while_they_come(database: Database, new: list[One], sort: Sort, descending: bool) -> list[UUID]:
    """All ids that are found a hundred at a time, while with each page ten of the `new` are stored."""
    turn, failed = threading.Semaphore(0), []

    def come() -> None:
        try:
            for start in range(0, len(new), 10):
                turn.acquire(timeout=30)
                with database.transaction() as session:
                    insert_all(session, new[start : start + 10])
        except Exception as error:  # noqa: BLE001 - told to the test
            failed.append(error)

    coming = threading.Thread(target=come)
    coming.start()
    seen: list[UUID] = []
    after: Position | None = None
    while True:
        turn.release()  # ten come while the next page is read
        with database.reading() as session:
            found = reading.page(
                session.connection(), Wanted(), limit=100, sort=sort, descending=descending, after=after
            )
        seen += [one.id for one in found.orders]
        after = found.more_after
        if after is None:
            break
    coming.join(60)
    assert failed == []
    return seen


# ── plans ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def crowd(rolled_back: Session, rng: random.Random) -> Session:
    of = users(rolled_back, 8)
    insert_all(rolled_back, some(rng, of, 3_000, instants=2_000, totals=2_000))
    analyze(rolled_back, "orders")
    if is_postgresql(rolled_back):
        for method in ("enable_seqscan", "enable_bitmapscan"):  # what a table as small as this would get
            rolled_back.execute(text(f"SET LOCAL {method} = off"))
    return rolled_back


def every_combination(user: UUID) -> list[Wanted]:
    times: list[dict[str, Any]] = [
        {},
        {"created_from": START + timedelta(hours=500)},
        {"created_from": START + timedelta(hours=500), "created_to": START + timedelta(hours=1500)},
    ]
    totals: list[dict[str, Any]] = [{}, {"max_total": 1500}, {"min_total": 500, "max_total": 1500}]
    equal: list[dict[str, Any]] = [{}, {"user_id": user}, {"status": "paid"}, {"user_id": user, "status": "paid"}]
    return [Wanted(**a, **b, **c) for a, b, c in itertools.product(equal, times, totals)]


def assert_walks(told: str, index: str, *, postgresql: bool) -> None:
    steps = [line for line in told.splitlines() if line.strip()]
    if postgresql:
        assert any(f"using {index} on orders" in line for line in steps), told
        assert "Sort" not in told, told
        assert "Seq Scan" not in told, told
    else:
        assert len(steps) == 1, told
        assert f" INDEX {index}" in told, told
        assert "TEMP B-TREE" not in told, told


def test_every_combination_of_filters_walks_the_index_of_its_query_and_sorts_nothing(crowd: Session) -> None:
    # Of the many orders of the user who has most: for a handful, PostgreSQL may as well read and sort them.
    most = select(Order.user_id).group_by(col(Order.user_id)).order_by(func.count().desc()).limit(1)
    user = crowd.execute(most).scalar_one()
    for sort, descending in WAYS:
        ridden = set()
        middle = ByTime(START + timedelta(hours=1000), new_id()) if sort == "created_at" else ByTotal(1000, new_id())
        for wanted in every_combination(user):
            walk = reading.walk_of(wanted, sort)
            ridden.add(walk)
            for after in (None, middle):
                query = reading.along(walk, wanted, limit=21, descending=descending, after=after)
                told = plan(crowd, query)
                assert_walks(told, walk.rides, postgresql=is_postgresql(crowd))
                if walk.equal or after is not None:
                    assert "Index Cond" in told or "SEARCH" in told, told
        assert ridden == {walk for walk in WALKS if walk.sort == sort}


def test_an_order_is_found_by_its_number_along_its_index(crowd: Session) -> None:
    told = plan(crowd, reading.by_number(Wanted(number=1500, status="paid")))
    assert_walks(told, "uq_orders_number", postgresql=is_postgresql(crowd))


def test_a_walk_starts_at_the_tighter_of_two_bounds(crowd: Session) -> None:
    """SQLite starts at one bound, of which it would look at no second one: every page would walk those before it again."""
    wanted = Wanted(created_from=START, created_to=START + timedelta(hours=1900))
    for descending, bound in ((True, "created_at <"), (False, "created_at >=")):
        position = ByTime(START + timedelta(hours=900), new_id())
        query = reading.along(WALKS[0], wanted, limit=21, descending=descending, after=position)
        assert f"orders.{bound} " not in str(query)
        assert "(orders.created_at, orders.id)" in str(query)
