"""The world in which orders live, for machines that act at random: a shop, those outside, a worker, a clock, and time.

Whatever a worker or a request does runs on one event loop, and may be held up in the middle of a call to those outside, for
as long as the machine likes: meanwhile others act, and the clock moves.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar
from uuid import UUID

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

from orderkit import clock
from orderkit.auth.models import User
from orderkit.breaker import Breaker
from orderkit.db import Database
from orderkit.errors import OrderkitError
from orderkit.fulfillment import dead_letters, delivery
from orderkit.fulfillment.dispatch import Dispatch
from orderkit.idempotency import Answer, Replay
from orderkit.ids import new_id
from orderkit.orders import cancellation, refunds
from orderkit.orders.checkout import Checkout
from orderkit.orders.placement import PlaceOrder
from orderkit.orders.pricing import Line
from orderkit.orders.resolution import Resolution
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.settings import Settings
from orderkit.worker.due import Due
from orderkit.worker.tasks import Tasks
from tests.factories import make_product, make_user
from tests.orders import books
from tests.orders.books import Books, Story
from tests.orders.outside import CallerDied, Carrier, Mood, Provider, reference

LEASE = timedelta(minutes=10)
VOID_AFTER = timedelta(minutes=30)
A_MOMENT = timedelta(seconds=6)
"""After which the loop wakes anew whom it woke before."""
MONTHS = timedelta(days=40)
"""After which keys are too old to be answered."""
PRICES = (500, 30)
ADDRESS = {"name": "A", "line1": "1 Road", "city": "C", "country": "GB", "postal_code": "AB1"}
STEPS = 80
TURNS_TO_RUN_DRY = 40

moods = st.sampled_from([Mood.WELL, Mood.WELL, *Mood])
which = st.integers(0, 20)
"""Which of what there is, counted round and round."""
waits = st.sampled_from([timedelta(0), A_MOMENT, LEASE, VOID_AFTER])
quantities = st.integers(1, 6)
Basket = list[tuple[int, int]]
"""Which product, and how many pieces."""
baskets = st.lists(st.tuples(st.integers(0, len(PRICES) - 1), quantities), min_size=1, max_size=3)


def patient(settings: Settings) -> Settings:
    """Those settings, but with waits that only a moved clock ends; and no wait before a retry."""
    longer = {
        "lease": LEASE.total_seconds(),
        "gateway_timeout": 300.0,
        "carrier_timeout": 300.0,
        "retry_base": 0.001,  # always over by the next step: jitter that may or may not be could not be repeated
        "retry_cap": 0.001,
        "payment_void_after": VOID_AFTER.total_seconds(),
        "carrier_attempts": 3,
        "breaker_failures": 4,
        "breaker_open_for": 5.0,
    }
    return Settings(_env_file=None, **(settings.model_dump(exclude_unset=True) | longer))


@dataclass
class Errand:
    """Something that is held up outside."""

    doing: asyncio.Task[Any]
    going_on: asyncio.Future[None]
    then: Callable[[asyncio.Task[Any]], None]


@dataclass
class Key:
    """What became of a key that made an order, and the one answer that it ever gets."""

    basket: Basket
    order_id: UUID
    at: datetime
    answer: Answer | None = None


class Life(RuleBasedStateMachine):
    """What happens to orders anyway.

    `keys` are those that made an order. `concerned` are the orders that the last act may have changed, None for any, and
    `rises` by how much it raised their versions, where that can be told.
    """

    database: ClassVar[Database]
    reader: ClassVar[Database]
    settings: ClassVar[Settings]

    @initialize(stock=st.integers(20, 60), already=st.lists(baskets, min_size=1, max_size=4))
    def open_the_shop(self, stock: int, already: list[Basket]) -> None:
        """With some orders that were paid just now."""
        self.skus = [make_product(self.database, unit_price=price, stock=stock).sku for price in PRICES]
        self.user: User = make_user(self.database)
        self.staff: User = make_user(self.database)
        self.provider, self.carrier = Provider(), Carrier()
        self.time = ExitStack()
        self.loop = asyncio.Runner()
        self.held_up: list[Errand] = []
        self.keys: dict[str, Key] = {}
        self.numbers = itertools.count(1)
        self._open_the_works()
        self.concerned: set[UUID] | None = set()
        self.rises: int | None = None
        self.books = self.read()
        for basket in already:
            self._order(self.new_key(), basket)
            self.books = self.read()

    def _open_the_works(self) -> None:
        gateway, carrier = (
            Breaker(
                name,
                self.settings.breaker_failures,
                self.settings.breaker_open_for,
                monotonic=lambda: clock.now().timestamp(),
            )
            for name in ("gateway", "carrier")
        )
        self.checkout = Checkout(self.database, self.settings, self.provider, gateway)
        resolution = Resolution(self.database, self.settings, self.provider, gateway)
        dispatch = Dispatch(self.database, self.settings, self.carrier, carrier)
        self.acts = {
            "payment": resolution.resolve,
            "refund": resolution.refund,
            "ship": dispatch.ship,
            "recall": dispatch.recall,
        }
        self.woken: list[tuple[str, UUID]] = []

        def wakes(act: str) -> Callable[[UUID], None]:
            return lambda row_id: self.woken.append((act, row_id))

        tasks = Tasks(wakes("ship"), wakes("recall"), wakes("payment"), wakes("refund"), mail=lambda _row_id: None)
        works: Any = SimpleNamespace(
            database=self.database, gateway_breaker=gateway, carrier_breaker=carrier, mail_breaker=Breaker("mail")
        )
        queue: Any = SimpleNamespace(pending_count=lambda: 0)
        self.due = Due(works, queue, tasks, self.settings)

    # ── how acts are done ────────────────────────────────────────────────────────────────────────────────────────────

    def read(self) -> Books:
        return books.read(self.reader, self.user.id, self.skus)

    @property
    def stories(self) -> list[Story]:
        return list(self.books.stories.values())

    def story(self, number: int) -> Story:
        """One of the orders there are, as it was before this act, which concerns no other."""
        found = self.stories[number % len(self.stories)]
        self.concerned = {found.order.id}
        return found

    def concerns_all(self) -> None:
        self.concerned = None

    def allowed(self, expected: str | None, act: Callable[[Any], Any]) -> Any:
        """Does `act` in a transaction. It must be refused with the code that is `expected`, or taken if that is None."""
        refused, done = None, None
        try:
            with self.database.transaction() as session:
                done = act(session.connection())
        except OrderkitError as error:
            refused = error
        assert getattr(refused, "code", None) == expected, str(refused)
        return done

    def run(
        self,
        act: Coroutine[Any, Any, Any],
        mood: Mood,
        then: Callable[[asyncio.Task[Any]], None] | None = None,
    ) -> None:
        """Runs `act` until it ends or is held up outside, where everybody is in that mood meanwhile."""
        self.provider.mood = self.carrier.mood = mood
        try:
            self.loop.run(self._until_held_up(act, then or _fails_only_by_dying))
        finally:
            self.provider.mood = self.carrier.mood = Mood.WELL

    async def _until_held_up(self, act: Coroutine[Any, Any, Any], then: Callable[[asyncio.Task[Any]], None]) -> None:
        doing = asyncio.create_task(act)
        slow: asyncio.Future[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self.provider.on_slow = self.carrier.on_slow = slow.set_result
        await asyncio.wait([doing, slow], return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            then(doing)
        else:
            self.held_up.append(Errand(doing, slow.result(), then))

    async def _to_the_end(self, errand: Errand, *, killed: bool) -> None:
        if killed:
            errand.doing.cancel()
        else:
            errand.going_on.set_result(None)
        await asyncio.wait([errand.doing])
        if not errand.doing.cancelled():
            errand.then(errand.doing)

    def request(self, key: str, basket: Basket) -> PlaceOrder:
        items = tuple(Line(self.skus[sku], quantity) for sku, quantity in basket)
        return PlaceOrder(new_id(), self.user.id, key, repr(basket), items, "pm_card_visa", shipping_address=ADDRESS)

    def order(self, key: str, basket: Basket, expected: str | None, mood: Mood = Mood.WELL) -> None:
        """Orders as a request does, from placing to the answer; it must be refused with the code that is `expected`."""
        request = self.request(key, basket)
        if expected is None:
            self.keys.setdefault(key, Key(basket, request.order_id, clock.now()))

        def then(doing: asyncio.Task[Replay]) -> None:
            error = doing.exception()
            if isinstance(error, OrderkitError):
                assert error.code == expected
            elif error is None:
                assert expected is None
                given, kept = doing.result(), self.keys[key]
                assert given.resource_id == kept.order_id
                kept.answer = kept.answer or given.answer
                assert given.answer == kept.answer, "a key has one answer"
            else:
                _fails_only_by_dying(doing)

        self.run(self.checkout.order(request, answer), mood, then)

    def new_key(self) -> str:
        return f"key {next(self.numbers)}"

    def left_after(self, basket: Basket, left: dict[str, int]) -> dict[str, int] | None:
        """The stock that is left after a basket; None if there is not enough."""
        after = dict(left)
        for sku, quantity in basket:
            after[self.skus[sku]] -= quantity
        return after if min(after.values()) >= 0 else None

    # ── what customers do ────────────────────────────────────────────────────────────────────────────────────────────

    @rule(basket=baskets, mood=moods)
    def somebody_orders(self, basket: Basket, mood: Mood) -> None:
        self._order(self.new_key(), basket, mood)

    def _order(self, key: str, basket: Basket, mood: Mood = Mood.WELL) -> None:
        fits = self.left_after(basket, self.books.stock) is not None
        self.order(key, basket, None if fits else "out_of_stock", mood)

    # ── what the worker, the clock and those outside do ──────────────────────────────────────────────────────────────

    @rule(after=waits, how=st.lists(st.none() | moods, min_size=1, max_size=4))
    def the_worker_does_what_is_due(self, after: timedelta, how: Sequence[Mood | None]) -> None:
        """Those outside are in these moods in turn. A task for which it says None is lost on its way through the queue."""
        self.concerns_all()
        self.time.enter_context(clock.moved(after))
        off = [story.payment.id for story in self.stories if story.status == "cancelled"]
        taken = [self.provider.captured(reference(payment_id)) for payment_id in off]
        for (act, row_id), mood in zip(self._woken(), itertools.cycle(how), strict=False):
            if mood is not None:
                self.run(self.acts[act](row_id), mood)
        now = [self.provider.captured(reference(payment_id)) for payment_id in off]
        assert now == taken, "nobody is charged for what was called off"

    def _woken(self) -> list[tuple[str, UUID]]:
        """What the loop says is due, of these orders and in their sequence, so that a run can be repeated."""
        assert self.due.turn()
        woken, self.woken[:] = self.woken[:], []
        rows: list[UUID] = []
        for story in self.read().stories.values() if woken else ():
            rows += [row.id for row in (story.payment, *story.refunds, *story.fulfillments)]
        places = {row_id: place for place, row_id in enumerate(rows)}
        return sorted((one for one in woken if one[1] in places), key=lambda one: (one[0], places[one[1]]))

    @rule(by=waits)
    def time_passes(self, by: timedelta) -> None:
        self.time.enter_context(clock.moved(by))

    @rule()
    def months_pass(self) -> None:
        self.time.enter_context(clock.moved(MONTHS))

    @precondition(lambda self: self.held_up)
    @rule(number=which)
    def what_was_held_up_goes_on(self, number: int) -> None:
        self.concerns_all()
        self.loop.run(self._to_the_end(self.held_up.pop(number % len(self.held_up)), killed=False))

    @precondition(lambda self: self.held_up)
    @rule(number=which)
    def what_was_held_up_is_killed(self, number: int) -> None:
        self.concerns_all()
        self.loop.run(self._to_the_end(self.held_up.pop(number % len(self.held_up)), killed=True))

    @precondition(lambda self: any(story.fulfillments for story in self.stories))
    @rule(number=which, ago=st.integers(-100, 100))
    def the_carrier_reports_a_delivery(self, number: int, ago: int) -> None:
        sent = [story for story in self.stories if story.fulfillment is not None]
        story = sent[number % len(sent)]
        self.concerned = {story.order.id}
        parcel = story.fulfillment
        if parcel.delivered_at is not None:
            expected = "known"
        elif story.status == "paid":
            expected = "remembered"
        else:
            expected = "delivered" if (story.status, parcel.status) == ("shipped", "succeeded") else "recorded"
        at = clock.now() - timedelta(hours=ago)
        assert self.allowed(None, lambda connection: delivery.report(connection, parcel.id, at)) == expected

    @precondition(lambda self: self.stories)
    @rule(number=which, by=st.sampled_from(["owner", "staff", "stranger"]))
    def somebody_cancels(self, number: int, by: str) -> None:
        story = self.story(number)
        expected = None if story.status in ("pending", "paid", "cancelled") else "illegal_transition"
        who: dict[str, Any] = {"actor_id": self.staff.id}
        if by == "owner":
            who = {"of_user": self.user.id, "actor_id": self.user.id}
        elif by == "stranger":
            who, expected = {"of_user": self.staff.id, "actor_id": self.staff.id}, "not_found"
        self.rises = int(expected is None and story.status != "cancelled")
        self.allowed(expected, lambda connection: cancellation.cancel(connection, story.order.id, **who))

    # ── what must hold ───────────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def the_books_are_in_order(self) -> None:
        was, self.books = self.books, self.read()
        books.check(self.books, self.provider, self.carrier)
        for order_id, before in was.stories.items():
            after = self.books.stories[order_id]
            assert after.history[: before.version] == before.history, "what is written stays"
            assert before.version <= after.version
            if self.concerned is not None and order_id not in self.concerned:
                assert after == before, "an act on one order leaves the others alone"
            elif self.rises is not None:
                assert after.version == before.version + self.rises
        made = [(key.order_id, name) for name, key in self.keys.items()]
        assert sorted(made) == sorted((one.order.id, one.order.idempotency_key) for one in self.stories), "none twice"
        self.concerned, self.rises = set(), None
        self.what_else_must_hold()

    def what_else_must_hold(self) -> None:
        """For machines that know more; the books were read just now."""

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.run_dry()
        finally:
            self.loop.close()
            self.checkout.close()
            self.time.close()

    def run_dry(self) -> None:
        """Everybody is well from now on, people look after what needs them, and everything comes to its end."""
        while self.held_up:
            self.loop.run(self._to_the_end(self.held_up.pop(), killed=False))
        for _ in range(TURNS_TO_RUN_DRY):
            self.books = self.read()
            if not books.unsettled(self.books):
                break
            self.the_worker_does_what_is_due(LEASE, [Mood.WELL])
            self._people_look_after_it()
        self.books = self.read()
        books.check_settled(self.books, self.provider, self.carrier)

    def _people_look_after_it(self) -> None:
        """Dead letters are tried again, and money of cancelled orders that the provider refused to give back is asked for."""
        for story in self.read().stories.values():
            letter, order_id = story.letter, story.order.id
            if letter is not None and letter.resolved_at is None and story.status == "paid":
                self.allowed(None, partial(dead_letters.retry, letter_id=letter.id))
            if story.status == "cancelled" and story.left > 0:
                self.allowed(None, partial(refunds.request, order_id=order_id, reason="still owed"))


def answer(order: OrderSnapshot) -> Answer:
    """As a request would be answered."""
    status = {"paid": 201, "payment_failed": 402}.get(order.status, 202)
    return Answer(status, f"{order.id} {order.status}")


def _fails_only_by_dying(doing: asyncio.Task[Any]) -> None:
    error = doing.exception()
    if error is not None and not isinstance(error, CallerDied):
        raise error


def run(machine: type[Life], database: Database, settings: Settings, *, share: float) -> None:
    """Lets a machine loose on a database, for a share of the profile's examples of up to STEPS steps each.

    `--hypothesis-profile long` makes all run longer.
    """
    patiently = patient(settings)
    reader = Database(patiently, by_key=True)  # a dozen queries after each step: those are to be planned once

    class OnThis(machine):  # type: ignore[valid-type,misc]
        pass

    OnThis.database, OnThis.reader, OnThis.settings = database, reader, patiently
    examples = max(1, round(hypothesis_settings().max_examples * share))
    steps = hypothesis_settings(max_examples=examples, stateful_step_count=STEPS, deadline=None)
    try:
        run_state_machine_as_test(OnThis, settings=steps)
    finally:
        reader.dispose()
