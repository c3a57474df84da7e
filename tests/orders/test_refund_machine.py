"""Random refunds, legal and not, of orders that are paid, sent, delivered and cancelled meanwhile, and what must hold after each.

    pytest tests/orders/test_refund_machine.py --hypothesis-profile long

tries twenty times as many.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from orderkit import clock
from orderkit.db import Database
from orderkit.errors import OrderkitError
from orderkit.idempotency import Answer
from orderkit.ids import new_id
from orderkit.orders import refund_requests
from orderkit.orders.refund_lines import AskedLine
from orderkit.orders.refund_requests import RequestRefund
from orderkit.settings import Settings
from tests.orders import books, life
from tests.orders.books import Story
from tests.orders.life import MONTHS, Life, quantities, which

Asked = tuple[bool, int, int]
"""By its number or by its SKU; which line, one more than there are at most; how many pieces."""
lines = st.lists(st.tuples(st.booleans(), st.integers(1, 4), quantities), min_size=1, max_size=2)


@dataclass(frozen=True)
class Promise:
    """A refund that was taken: `amount` in minor units, and `pieces` by line, if it is for some."""

    order_id: UUID
    amount: int
    pieces: Counter[int]
    restock: bool


@dataclass(frozen=True)
class Used:
    """A key that made a refund: when, of what it was, and the one answer that it ever gets."""

    request: RequestRefund
    answer: Answer
    at: Any


class RefundMachine(Life):
    """Holds by refund what was promised, counted here, beside what is written down."""

    @initialize()
    def nothing_is_promised(self) -> None:
        self.promises: dict[UUID, Promise] = {}
        self.used: dict[str, Used] = {}

    # ── what was promised, counted here ──────────────────────────────────────────────────────────────────────────────

    def _standing(self, story: Story) -> list[Promise]:
        """The promises to an order that the provider did not refuse."""
        failed = {refund.id for refund in story.refunds if refund.status == "failed"}
        return [one for id, one in self.promises.items() if one.order_id == story.order.id and id not in failed]

    def _left(self, story: Story) -> int:
        """Minor units. What goes back by itself, because an order is cancelled, goes back whole."""
        if story.payment.status != "captured":
            return 0
        by_itself = sum(one.amount for one in story.refunds if one.id not in self.promises and one.status != "failed")
        return int(story.order.total - sum(one.amount for one in self._standing(story)) - by_itself)

    def _taken(self, story: Story) -> Counter[int]:
        """Pieces by line that standing promises are for."""
        return sum((promise.pieces for promise in self._standing(story)), Counter())

    def _pieces(self, story: Story, asked: list[Asked]) -> Counter[int] | str:
        """Which pieces are meant, by line; or the code with which that is refused."""
        taken = self._taken(story)
        if any(number > len(story.lines) for _, number, _ in asked):
            return "validation_failed"
        meant: Counter[int] = Counter()
        for by_number, number, quantity in asked:
            sku = story.lines[number - 1].sku
            for line in story.lines:
                if line.line == number if by_number else line.sku == sku:
                    some = min(quantity, line.quantity - taken[line.line])
                    taken[line.line] += some
                    meant[line.line] += some
                    quantity -= some
            if quantity:
                return "conflict"
        return +meant

    def _expected(self, story: Story, amount: int | None, asked: list[Asked] | None, restock: bool) -> Promise | str:
        left = self._left(story)
        if story.payment.status != "captured":
            return "conflict"
        pieces: Counter[int] = Counter()
        if asked is not None:
            meant = self._pieces(story, asked)
            if isinstance(meant, str):
                return meant
            pieces = meant
            amount = sum(story.lines[line - 1].unit_price * quantity for line, quantity in pieces.items())
        amount = left if amount is None else amount
        if not 0 < amount <= left:
            return "conflict"
        if restock and asked is None:
            if amount < left:
                return "validation_failed"
            pieces = Counter({line.line: line.quantity for line in story.lines}) - self._taken(story)
        if restock and story.status not in ("shipped", "delivered"):
            return "conflict"
        return Promise(story.order.id, amount, pieces, restock)

    # ── refunds ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(number=which, amount=st.integers(1, 4000), restock=st.booleans())
    def by_amount(self, number: int, amount: int, restock: bool) -> None:
        self._refund(self.story(number), amount=amount, restock=restock)

    @rule(number=which, less=st.integers(-1, 1))
    def by_amount_to_the_last_penny(self, number: int, less: int) -> None:
        story = self.story(number)
        if (amount := self._left(story) - less) > 0:
            self._refund(story, amount=amount)

    @rule(number=which, restock=st.booleans())
    def all_that_is_left(self, number: int, restock: bool) -> None:
        self._refund(self.story(number), restock=restock)

    @rule(number=which, asked=lines, restock=st.booleans())
    def by_line(self, number: int, asked: list[Asked], restock: bool) -> None:
        self._refund(self.story(number), asked=asked, restock=restock)

    def _refund(
        self, story: Story, *, amount: int | None = None, asked: list[Asked] | None = None, restock: bool = False
    ) -> None:
        wanted = None
        if asked is not None:
            skus = [line.sku for line in story.lines] + ["no such thing"] * 4
            wanted = tuple(
                AskedLine(quantity, line=number) if by_number else AskedLine(quantity, sku=skus[number - 1])
                for by_number, number, quantity in asked
            )
        key = f"refund {next(self.numbers)}"
        request = RequestRefund(
            new_id(), story.order.id, self.staff.id, key, key, "broken", amount=amount, lines=wanted, restock=restock
        )
        expected = self._expected(story, amount, asked, restock)
        given = self._asked(request)
        if isinstance(expected, str):
            assert given == expected
            return
        assert isinstance(given, Answer), f"refused with {given}"
        assert given.body == f"{request.refund_id} {expected.amount}"
        self.promises[request.refund_id] = expected
        self.used[key] = Used(request, given, clock.now())
        self.rises = 1

    def _asked(self, request: RequestRefund) -> Answer | str:
        """The answer, or the code of the refusal."""
        try:
            return refund_requests.carry_out(
                self.database, self.settings, request, lambda refund: Answer(201, f"{refund.id} {refund.amount}")
            ).answer
        except OrderkitError as error:
            return error.code

    @precondition(lambda self: self.used)
    @rule(number=which, other=st.booleans())
    def a_used_key_comes_again(self, number: int, other: bool) -> None:
        """With the same request, or with another one."""
        used = list(self.used.values())[number % len(self.used)]
        was = used.request
        print_ = "another" if other else was.fingerprint
        again = RequestRefund(new_id(), was.order_id, was.user_id, was.idempotency_key, print_, "broken", amount=1)
        if clock.now() - used.at >= MONTHS:
            expected: Answer | str = "idempotency_key_expired"
        else:
            expected = "idempotency_key_reused" if other else used.answer
        assert self._asked(again) == expected

    # ── what must hold ───────────────────────────────────────────────────────────────────────────────────────────────

    def what_else_must_hold(self) -> None:
        self._promises_are_kept()
        self._what_was_to_come_back_is_there()

    def _promises_are_kept(self) -> None:
        """Each is written down once; nothing else goes back but what is left of an order that is cancelled."""
        written = {refund.id: refund for story in self.stories for refund in story.refunds}
        for refund_id, promise in self.promises.items():
            assert written[refund_id].amount == promise.amount
        for story in self.stories:
            by_itself = [one for one in story.refunds if one.id not in self.promises]
            assert not by_itself or story.status == "cancelled"

    def _what_was_to_come_back_is_there(self) -> None:
        """Once a refund succeeded: its pieces. All of what never left. A cancelled order gave its goods back otherwise."""
        back = books.returned(self.books)
        for story in self.stories:
            if story.status == "cancelled":
                continue
            came: Counter[str] = Counter()
            wanted: Counter[str] = Counter()
            everything = story.status == "refunded" and all(row.to_status != "shipped" for row in story.history)
            for refund in story.refunds:
                came.update(back.get(refund.id, Counter()))
                promise = self.promises[refund.id]
                if refund.status == "succeeded" and promise.restock:
                    for line, quantity in promise.pieces.items():
                        wanted[story.lines[line - 1].sku] += quantity
            assert came == (story.ordered if everything else wanted)


@pytest.mark.unmeasured
def test_random_refunds_never_give_back_more_than_was_taken(database: Database, settings: Settings) -> None:
    life.run(RefundMachine, database, settings, share=0.16)
