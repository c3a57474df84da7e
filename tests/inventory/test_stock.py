"""Taking stock, giving it back and moving it: never below zero, never deadlocked, never without a reason on record."""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, select

from orderkit.catalog.models import Product
from orderkit.db import Database
from orderkit.errors import Conflict, NotFound
from orderkit.inventory import stock
from orderkit.inventory.models import StockMovement
from orderkit.money import MAX_AMOUNT
from orderkit.rows import StaleRows
from tests.engines import on_postgresql
from tests.factories import make_product, make_user
from tests.threads import at_once

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def product(rolled_back: Session) -> Callable[..., str]:
    """Makes a product with so many pieces, and gives its SKU."""

    def make(sku: str, pieces: int) -> str:
        rolled_back.add(Product(sku=sku, name=sku, unit_price=1, currency="GBP", stock=pieces))
        rolled_back.flush()
        return sku

    return make


def left(session: Session, sku: str) -> int:
    return session.exec(select(Product.stock).where(Product.sku == sku)).one()


def movements(session: Session, sku: str) -> list[tuple[int, str]]:
    rows = session.exec(select(StockMovement).where(StockMovement.sku == sku))
    return sorted((row.delta, row.reason) for row in rows)


@pytest.mark.parametrize(("before", "delta"), [(5, 3), (5, -5), (0, 1), (0, MAX_AMOUNT), (MAX_AMOUNT - 1, 1)])
def test_a_movement_changes_the_stock_and_is_on_record(
    rolled_back: Session, product: Callable[..., str], before: int, delta: int
) -> None:
    moved = stock.move(rolled_back, product("TEA", before), delta, "counted", None)
    assert moved.stock == left(rolled_back, "TEA") == before + delta
    assert movements(rolled_back, "TEA") == [(delta, "counted")]


@pytest.mark.parametrize(
    ("before", "delta", "told"),
    [
        (5, -6, "only 5 of TEA are left; 6 cannot be taken away"),
        (0, -1, "only 0 of TEA are left"),
        (1, MAX_AMOUNT, "TEA cannot hold more than"),
        (MAX_AMOUNT, 1, "TEA cannot hold more than"),
    ],
)
def test_a_movement_beyond_what_can_be_is_refused_and_leaves_nothing(
    rolled_back: Session, product: Callable[..., str], before: int, delta: int, told: str
) -> None:
    with pytest.raises(Conflict, match=told):
        stock.move(rolled_back, product("TEA", before), delta, "counted", None)
    assert left(rolled_back, "TEA") == before
    assert movements(rolled_back, "TEA") == []


def test_a_movement_of_an_unknown_product_is_not_found(rolled_back: Session) -> None:
    with pytest.raises(NotFound, match="there is no product NONE"):
        stock.move(rolled_back, "NONE", 1, "counted", None)


def test_a_movement_says_who_made_it_and_when(database: Database) -> None:
    author, before = make_user(database), make_product(database, stock=1)
    with database.transaction() as session:
        after = stock.move(session, before.sku, 1, "found one", author.id)
    with database.reading() as session:
        movement = session.exec(select(StockMovement).where(StockMovement.reason == "found one")).one()
    assert movement.author_id == author.id
    assert after.updated_at >= before.updated_at
    assert movement.created_at.tzinfo is not None


def test_locking_gives_the_products_that_exist(rolled_back: Session, product: Callable[..., str]) -> None:
    for sku in ("C", "A", "B", "b"):
        product(sku, 7)
    locked = stock.lock(rolled_back.connection(), ["b", "NONE", "C", "A", "C"])
    assert set(locked) == {"A", "C", "b"}
    assert (locked["A"].stock, locked["A"].unit_price, locked["A"].currency) == (7, 1, "GBP")


def test_changes_add_and_take_and_leave_out_what_does_not_change(
    rolled_back: Session, product: Callable[..., str]
) -> None:
    for sku in ("A", "B", "C"):
        product(sku, 10)
    stock.change(rolled_back.connection(), {"B": -10, "A": 5, "C": 0})
    assert [left(rolled_back, sku) for sku in ("A", "B", "C")] == [15, 0, 10]


def test_the_database_refuses_what_would_be_less_than_nothing(
    rolled_back: Session, product: Callable[..., str]
) -> None:
    product("A", 1)
    product("B", 1)
    with pytest.raises(IntegrityError, match="stock_not_negative"), rolled_back.begin_nested():
        stock.change(rolled_back.connection(), {"A": -1, "B": -2})
    assert [left(rolled_back, sku) for sku in ("A", "B")] == [1, 1]


def test_a_change_of_a_product_that_is_gone_is_stale(rolled_back: Session) -> None:
    with pytest.raises(StaleRows):
        stock.change(rolled_back.connection(), {"NONE": 1})


def test_what_is_given_back_can_be_ordered_again_and_is_no_movement(
    rolled_back: Session, product: Callable[..., str]
) -> None:
    product("A", 0)
    stock.give_back(rolled_back.connection(), {"A": 3})
    stock.give_back(rolled_back.connection(), {})
    assert left(rolled_back, "A") == 3
    assert movements(rolled_back, "A") == []


def test_what_is_received_is_in_stock_and_what_passed_through_is_not(
    rolled_back: Session, product: Callable[..., str]
) -> None:
    product("A", 1)
    product("B", 1)
    stock.receive(rolled_back.connection(), {"B": 2, "A": 4}, "delivery", at=AT)
    stock.pass_through(rolled_back.connection(), {"A": 9}, "history", at=AT)
    assert [left(rolled_back, sku) for sku in ("A", "B")] == [5, 3]
    assert movements(rolled_back, "A") == [(4, "delivery"), (9, "history")]
    assert movements(rolled_back, "B") == [(2, "delivery")]


@pytest.mark.parametrize(
    ("before", "deltas", "left_over"),
    [
        (MAX_AMOUNT - 5, (3, 3), {MAX_AMOUNT - 2}),
        (5, (-3, -3), {2}),
        (MAX_AMOUNT, (1, -1), {MAX_AMOUNT, MAX_AMOUNT - 1}),
        (0, (-1, 1), {0, 1}),
        (0, (MAX_AMOUNT, MAX_AMOUNT), {MAX_AMOUNT}),
    ],
)
def test_two_movements_at_once_of_which_not_both_fit_leave_what_one_after_the_other_would(
    database: Database, before: int, deltas: tuple[int, int], left_over: set[int]
) -> None:
    sku = make_product(database, stock=before).sku

    def move(delta: int) -> int:
        try:
            with database.transaction() as session:
                stock.move(session, sku, delta, "counted", None)
        except Conflict:
            return 0
        return delta

    moved = at_once(*[partial(move, delta) for delta in deltas])
    with database.reading() as session:
        assert left(session, sku) == before + sum(moved)
        assert left(session, sku) in left_over
        assert sum(delta for delta, _ in movements(session, sku)) == before + sum(moved)


def test_what_comes_back_does_even_where_no_movement_would_fit(
    rolled_back: Session, product: Callable[..., str]
) -> None:
    stock.give_back(rolled_back.connection(), {product("TEA", MAX_AMOUNT): 10_000})
    assert left(rolled_back, "TEA") == MAX_AMOUNT + 10_000
    with pytest.raises(Conflict):
        stock.move(rolled_back, "TEA", 1, "counted", None)
    assert stock.move(rolled_back, "TEA", -10_001, "counted", None).stock == MAX_AMOUNT - 1


def test_movements_at_the_same_time_are_all_counted(database: Database) -> None:
    sku = make_product(database, stock=0).sku

    def receive() -> None:
        for _ in range(20):
            with database.transaction() as session:
                stock.move(session, sku, 2, "delivery", None)

    at_once(receive, receive)
    with database.reading() as session:
        assert left(session, sku) == 80
        assert len(movements(session, sku)) == 40


@on_postgresql
def test_whoever_waits_for_a_product_holds_none_that_comes_after_it(database: Database) -> None:
    for sku in ("C", "B", "A"):  # as they lie in the table, so that no order is by chance the right one
        make_product(database, sku=sku)

    def lock_all() -> None:
        with database.transaction() as session:
            assert list(stock.lock(session.connection(), ["B", "C", "A"])) == ["A", "B", "C"]

    waiting = threading.Thread(target=lock_all)
    with database.transaction() as session:
        stock.lock(session.connection(), ["A"])
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        with database.transaction() as other:
            free = select(Product.sku).where(Product.sku != "A").with_for_update(nowait=True)
            assert sorted(other.exec(free)) == ["B", "C"]
    waiting.join(10)
    assert not waiting.is_alive()


@on_postgresql
def test_products_are_locked_in_one_order_whatever_the_order_they_are_named_in(database: Database) -> None:
    skus = [make_product(database, sku=sku, stock=1000).sku for sku in ("A", "B", "C", "D", "E", "F")]
    rounds = 60

    def take_and_give_back(named: list[str]) -> Callable[[], None]:
        def act() -> None:
            for _ in range(rounds):
                with database.transaction() as session:
                    connection = session.connection()
                    stock.lock(connection, named)
                    stock.change(connection, dict.fromkeys(named, -3))
                with database.transaction() as session:
                    stock.give_back(session.connection(), dict.fromkeys(named, 2))

        return act

    at_once(take_and_give_back(skus), take_and_give_back(skus[::-1]), take_and_give_back([skus[5], skus[0]]))
    with database.reading() as session:
        counted = [left(session, sku) for sku in skus]
    assert counted == [1000 - 3 * rounds, *[1000 - 2 * rounds] * 4, 1000 - 3 * rounds]


def changes_products(tree: ast.Module) -> Iterator[int]:
    """Lines that set a `stock`, or update products in SQL."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(
                isinstance(inner, ast.Attribute) and inner.attr == "stock" for t in targets for inner in ast.walk(t)
            ):
                yield node.lineno
        elif isinstance(node, ast.Call):
            named = {ast.unparse(node.func).rpartition(".")[2]} | {ast.unparse(one) for one in node.args}
            by_name = named & {"update", "update_rows"} and named & {"Product", "_products"}
            if by_name or ast.unparse(node.func) in ("_products.update", "Product.__table__.update"):
                yield node.lineno


def test_nothing_but_inventory_changes_stock() -> None:
    package = Path(stock.__file__).parents[1]
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if any(changes_products(ast.parse(path.read_text())))
    }
    assert found == {"inventory/stock.py"}


@pytest.mark.parametrize(
    "code",
    [
        "product.stock += 1",
        "a, product.stock = 1, 2",
        "update(Product).values(stock=0)",
        "update_rows(to, Product, rows)",
        "_products.update().values(stock=0)",
    ],
)
def test_whoever_else_changed_it_would_be_seen(code: str) -> None:
    assert list(changes_products(ast.parse(code))) == [1]
