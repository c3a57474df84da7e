"""Random acts on orders, legal and not, by customers, staff, workers and those outside, and what must hold after each.

    pytest tests/orders/test_order_machine.py --hypothesis-profile long

tries twenty times as many.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from orderkit import clock
from orderkit.breaker import Breaker
from orderkit.db import Database
from orderkit.errors import KeyInUse, OutOfStock
from orderkit.fulfillment import by_hand, dead_letters
from orderkit.fulfillment.by_hand import Wanted
from orderkit.inventory import stock
from orderkit.orders import refunds
from orderkit.orders.placement import Placement
from orderkit.orders.settlement import Settle, Settled, Settlement
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.orders.states import OrderStatus
from orderkit.payments import charging
from orderkit.settings import Settings
from tests.orders import life
from tests.orders.books import Story
from tests.orders.life import (
    ADDRESS,
    LEASE,
    MONTHS,
    Basket,
    Key,
    Life,
    baskets,
    moods,
    quantities,
    waits,
    which,
)
from tests.orders.outside import Mood

seen = st.sampled_from(["now", "before", "any"])
"""Which version somebody saw who changes an order: the one it is of, one before, or they do not say."""


class OrderMachine(Life):
    """The life of orders from request to end."""

    # ── customers ────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(some=st.lists(baskets, min_size=2, max_size=4), twice=st.booleans())
    def several_order_at_once_and_are_gone(self, some: list[Basket], twice: bool) -> None:
        """Their requests die before they are charged. With `twice`, the first key comes with the last request again."""
        keys = [self.new_key() for _ in some]
        requests = [self.request(key, basket) for key, basket in zip(keys, some, strict=True)]
        again = [self.request(keys[0], some[0])] if twice else []
        outcomes = Placement(self.database, self.settings).place([*requests, *again])
        left = self.books.stock
        for request, basket, outcome in zip(requests, some, outcomes, strict=False):
            after = self.left_after(basket, left)
            if after is None:
                assert isinstance(outcome, OutOfStock)
                continue
            assert isinstance(outcome, OrderSnapshot)
            left = after
            self.keys[request.idempotency_key] = Key(basket, request.order_id, clock.now())
        if twice:
            assert isinstance(outcomes[-1], KeyInUse)

    @precondition(lambda self: self.keys)
    @rule(number=which, after=waits, mood=moods)
    def the_same_request_comes_again(self, number: int, after: timedelta, mood: Mood) -> None:
        self.time.enter_context(clock.moved(after))
        name, key = self._key(number)
        if clock.now() - key.at >= MONTHS:
            expected: str | None = "idempotency_key_expired"
        elif key.answer is None and clock.now() - key.at < LEASE:
            expected = "idempotency_key_in_use"
        else:
            expected = None
        self.order(name, key.basket, expected, mood)

    @precondition(lambda self: self.keys)
    @rule(number=which)
    def a_used_key_comes_with_another_request(self, number: int) -> None:
        name, key = self._key(number)
        expired = clock.now() - key.at >= MONTHS
        self.order(name, [*key.basket, (0, 1)], "idempotency_key_expired" if expired else "idempotency_key_reused")

    def _key(self, number: int) -> tuple[str, Key]:
        names = sorted(
            self.keys, key=lambda name: self.keys[name].answer is not None
        )  # those not answered yet come first
        name = names[number % len(names)]
        return name, self.keys[name]

    @precondition(lambda self: self.stories)
    @rule(number=which, mood=moods)
    def another_request_charges_it_and_settles_twice(self, number: int, mood: Mood) -> None:
        self.run(self._charged(self.story(number)), mood)

    async def _charged(self, story: Story) -> None:
        payment = story.payment
        result, attempts = await charging.charge(
            self.provider,
            Breaker("gateway"),
            key=payment.id,
            amount=payment.amount,
            currency=payment.currency,
            method=payment.method,
            made=payment.attempts,
            budget_s=self.settings.gateway_timeout,
        )
        settle = Settle(story.order.id, result, attempts)
        outcomes = await asyncio.to_thread(Settlement(self.database, self.settings).settle, [settle, settle])
        assert all(isinstance(one, Settled) for one in outcomes)

    # ── staff ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(sku=st.integers(0, 1), quantity=quantities)
    def goods_come_in(self, sku: int, quantity: int) -> None:
        with self.database.transaction() as session:
            stock.move(session, self.skus[sku], quantity, "delivered to us", self.staff.id)

    def _change(self, story: Story, wanted: Wanted, seen: str, expected: str | None, rises: int) -> None:
        """PATCH with an If-Match, which is looked at before anything else is."""
        versions = {"now": [str(story.version)], "before": [str(story.version - 1)], "any": None}[seen]
        if seen == "before":
            expected = "precondition_failed"
        self.rises = rises if expected is None else 0
        who: dict[str, Any] = {"seen": versions, "actor_id": self.staff.id}
        self.allowed(expected, lambda connection: by_hand.change(connection, story.order.id, wanted, **who))

    @precondition(lambda self: self.stories)
    @rule(number=which, text=st.sampled_from(["gift", "call first", None]), seen=seen)
    def staff_note_something(self, number: int, text: str | None, seen: str) -> None:
        story = self.story(number)
        self._change(story, Wanted(notes=True, staff_note=text), seen, None, int(text != story.order.staff_note))

    @precondition(lambda self: self.stories)
    @rule(number=which, house=st.integers(1, 2), seen=seen)
    def staff_send_it_elsewhere(self, number: int, house: int, seen: str) -> None:
        story, address = self.story(number), ADDRESS | {"line1": f"{house} Road"}
        other, parcel = address != story.order.shipping_address, story.fulfillment
        tried = parcel is not None and (parcel.status != "queued" or parcel.token > 0)
        refused = story.status not in ("pending", "paid") or (other and tried)
        self._change(story, Wanted(address=address), seen, "conflict" if refused else None, int(other))

    @precondition(lambda self: self.stories)
    @rule(number=which, seen=seen)
    def staff_ship_it_themselves(self, number: int, seen: str) -> None:
        story = self.story(number)
        expected = None
        if story.status not in ("paid", "shipped"):
            expected = "illegal_transition"
        elif story.status == "shipped":
            pass  # a repeat, which changes nothing
        elif story.left == 0 or (story.fulfillment is not None and story.fulfillment.status == "running"):
            expected = "conflict"
        self._change(story, Wanted(status=OrderStatus.SHIPPED), seen, expected, int(story.status != "shipped"))

    @precondition(lambda self: self.stories)
    @rule(number=which, seen=seen, status=st.sampled_from(OrderStatus))
    def staff_say_what_it_is(self, number: int, seen: str, status: OrderStatus) -> None:
        """Anything; only `delivered` and `cancelled` are theirs to say, and `shipped`, which has a rule of its own."""
        story = self.story(number)
        may_be = {"delivered": ("shipped", "delivered"), "cancelled": ("pending", "paid", "cancelled")}.get(status, ())
        if status != OrderStatus.SHIPPED:
            expected = None if story.status in may_be else "illegal_transition"
            self._change(story, Wanted(status=status), seen, expected, int(story.status != status))

    @precondition(lambda self: any(story.letters for story in self.stories))
    @rule(number=which)
    def staff_retry_a_dead_letter(self, number: int) -> None:
        story = self._of_a_letter(number)
        resolution = story.letter.resolution
        refused = resolution == "discarded" or (resolution is None and story.status != "paid")
        self.rises = 0
        self.allowed(
            "conflict" if refused else None,
            lambda connection: dead_letters.retry(connection, story.letter.id, actor_id=self.staff.id),
        )

    @precondition(lambda self: any(story.letters for story in self.stories))
    @rule(number=which)
    def staff_discard_a_dead_letter(self, number: int) -> None:
        story = self._of_a_letter(number)
        resolution = story.letter.resolution
        self.rises = int(resolution is None and story.status == "paid")
        self.allowed(
            "conflict" if resolution == "retried" else None,
            lambda connection: dead_letters.discard(connection, story.letter.id, actor_id=self.staff.id),
        )

    def _of_a_letter(self, number: int) -> Story:
        with_letter = [story for story in self.stories if story.letters]
        found = with_letter[number % len(with_letter)]
        self.concerned = {found.order.id}
        return found

    @precondition(lambda self: self.stories)
    @rule(number=which, amount=st.none() | st.integers(1, 1500))
    def staff_refund_some_or_all(self, number: int, amount: int | None) -> None:
        story = self.story(number)
        expected = None if 0 < (amount or 1) <= story.left else "conflict"
        self.rises = int(expected is None)
        self.allowed(
            expected,
            lambda connection: refunds.request(
                connection, story.order.id, amount=amount, reason="broken", actor_id=self.staff.id
            ),
        )


def test_random_acts_on_orders_lose_double_and_oversell_nothing(database: Database, settings: Settings) -> None:
    life.run(OrderMachine, database, settings, share=0.2)
