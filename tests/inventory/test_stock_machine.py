"""Random acts on the stock of a product, after each of which the books agree and low stock was told of as often as it fell."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlmodel import col, func, select

from orderkit.auth.models import User
from orderkit.catalog import products
from orderkit.db import Database
from orderkit.errors import Conflict, OutOfStock
from orderkit.events.models import OutboxEvent
from orderkit.inventory import stock
from orderkit.inventory.models import StockMovement
from orderkit.money import MAX_AMOUNT
from orderkit.orders import cancellation
from orderkit.orders.placement import Placement
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.settings import Settings
from tests.factories import make_product, make_user, to_place

pieces = st.integers(1, 12)
amounts = pieces | st.sampled_from([MAX_AMOUNT, MAX_AMOUNT - 1])


class StockMachine(RuleBasedStateMachine):
    """Holds what stock should be beside what it is."""

    database: Database
    placement: Placement
    user: User

    @initialize(opening=st.integers(0, 20), threshold=st.none() | st.integers(0, 10))
    def open(self, opening: int, threshold: int | None) -> None:
        product = make_product(self.database, stock=opening, low_stock_at=threshold)
        self.sku, self.threshold = product.sku, threshold
        self.left = self.received = opening
        self.held: list[OrderSnapshot] = []
        self.told: list[int] = []

    def now_left(self, left: int, *, by_release: bool = False) -> None:
        if not by_release and self.threshold is not None and left <= self.threshold < self.left:
            self.told.append(left)
        self.left = left

    @rule(delta=amounts | amounts.map(int.__neg__))
    def move(self, delta: int) -> None:
        fits = 0 <= self.left + delta <= MAX_AMOUNT
        with self.database.transaction() as session:
            try:
                stock.move(session, self.sku, delta, "counted", None)
            except Conflict:
                assert not fits
                return
        assert fits
        self.received += delta
        self.now_left(self.left + delta)

    @rule(quantities=st.lists(pieces, min_size=1, max_size=5))
    def place(self, quantities: list[int]) -> None:
        outcomes = self.placement.place([to_place(self.user, self.sku, one) for one in quantities])
        left = self.left
        for quantity, outcome in zip(quantities, outcomes, strict=True):
            if quantity > left:
                assert isinstance(outcome, OutOfStock)
                continue
            assert isinstance(outcome, OrderSnapshot)
            left -= quantity
            self.held.append(outcome)
        self.now_left(left)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: Any) -> None:
        order = self.held.pop(data.draw(st.integers(0, len(self.held) - 1), label="which"))
        with self.database.transaction() as session:
            cancellation.cancel(session.connection(), order.id, reason="changed my mind")
        self.now_left(self.left + order.lines[0].quantity, by_release=True)

    @rule(threshold=st.none() | st.integers(0, 10))
    def set_threshold(self, threshold: int | None) -> None:
        with self.database.transaction() as session:
            products.change(session, self.sku, low_stock_at=threshold)
        self.threshold = threshold

    @invariant()
    def the_books_agree(self) -> None:
        if not hasattr(self, "sku"):
            return
        of_sku = select(func.sum(StockMovement.delta)).where(StockMovement.sku == self.sku)
        of_products = select(OutboxEvent.payload).where(col(OutboxEvent.order_id).is_(None))
        with self.database.reading() as session:
            is_left = products.find(session, self.sku).stock
            received = int(session.exec(of_sku).one() or 0)
            told = session.exec(of_products.order_by(col(OutboxEvent.created_at), col(OutboxEvent.id))).all()
        held = sum(order.lines[0].quantity for order in self.held)
        assert is_left == self.left >= 0
        assert received == self.received == is_left + held
        assert [one["stock"] for one in told if one["sku"] == self.sku] == self.told


@pytest.mark.unmeasured
def test_random_acts_leave_books_that_agree(database: Database, settings: Settings) -> None:
    class OnThis(StockMachine):
        pass

    OnThis.database, OnThis.placement, OnThis.user = database, Placement(database, settings), make_user(database)
    # 20 of the profile's 50; with `--hypothesis-profile long` 400.
    examples = hypothesis_settings().max_examples * 2 // 5
    steps = hypothesis_settings(max_examples=examples, stateful_step_count=50, deadline=None)
    run_state_machine_as_test(OnThis, settings=steps)
