"""What people decide about fulfillments that were given up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import Connection

from orderkit.errors import Conflict, NotFound, OrderkitError
from orderkit.fulfillment import dead_letters, shipping
from orderkit.fulfillment.carriers import Booked, BookResult, Rejected
from orderkit.fulfillment.dead_letters import Letter
from orderkit.fulfillment.models import DeadLetter, Fulfillment, FulfillmentStatus
from orderkit.orders import cancellation
from tests.factories import make_user
from tests.shop import PRICE, STOCK, Shop

pytestmark = pytest.mark.integration


def book(shop: Shop, fulfillment_id: UUID, result: BookResult) -> FulfillmentStatus | None:
    with shop.database.transaction() as session:
        claim = shipping.claim(session.connection(), fulfillment_id, settings=shop.settings)
    if claim is None:
        return None
    with shop.database.transaction() as session:
        return shipping.finish(session.connection(), claim, result, duration_ms=7, settings=shop.settings)


def dead(shop: Shop) -> Fulfillment:
    return shop.fulfillment(shop.dead(quantity=3).order_id)


def retry(shop: Shop, letter_id: UUID) -> Letter:
    with shop.database.transaction() as session:
        return dead_letters.retry(session.connection(), letter_id)


def discard(shop: Shop, letter_id: UUID) -> Letter:
    with shop.database.transaction() as session:
        return dead_letters.discard(session.connection(), letter_id, actor_id=shop.user_id)


def at_once(act: Callable[[], Letter], times: int) -> list[Letter | OrderkitError]:
    barrier = threading.Barrier(times)

    def one(_: int) -> Letter | OrderkitError:
        barrier.wait()
        try:
            return act()
        except OrderkitError as error:
            return error

    with ThreadPoolExecutor(times) as threads:
        return list(threads.map(one, range(times)))


def read(shop: Shop, query: Callable[[Connection], list[Letter]]) -> list[UUID]:
    with shop.database.reading() as session:
        return [letter.id for letter in query(session.connection())]


def test_letter_tells_why_and_after_which_attempts(shop: Shop) -> None:
    gone = dead(shop)
    with shop.database.reading() as session:
        letter = dead_letters.get(session.connection(), shop.letter().id)
        (attempt,) = dead_letters.attempts(session.connection(), letter)

    assert (letter.order_id, letter.fulfillment_id) == (gone.order_id, gone.id)
    assert (letter.reason, letter.attempts, letter.resolution) == ("address_not_served", 1, None)
    assert (attempt.number, attempt.outcome, attempt.detail) == (1, "rejected", "address_not_served")


def test_list_goes_from_the_newest_to_the_oldest_page_by_page(shop: Shop) -> None:
    made = []
    for _ in range(5):
        dead(shop)
        made += [one.id for one in shop.all(DeadLetter) if one.id not in made]
    with shop.database.reading() as session:
        pages, after = [], None
        while page := dead_letters.page(session.connection(), limit=2, after=after):
            pages.append([letter.id for letter in page])
            after = page[-1].position

    assert [len(page) for page in pages] == [2, 2, 1]
    assert [one for page in pages for one in page] == made[::-1]


def test_list_shows_what_is_open_unless_asked_for_all(shop: Shop) -> None:
    dead(shop)
    letter = shop.letter()
    assert read(shop, lambda connection: list(dead_letters.page(connection, limit=9))) == [letter.id]

    retry(shop, letter.id)

    assert read(shop, lambda connection: list(dead_letters.page(connection, limit=9))) == []
    assert read(shop, lambda connection: list(dead_letters.page(connection, limit=9, resolved=True))) == [letter.id]


def test_retried_letter_ships_with_all_attempts_before_it(shop: Shop) -> None:
    gone = dead(shop)

    letter = retry(shop, shop.letter().id)

    assert (letter.resolution, shop.fulfillment(gone.order_id).attempts) == ("retried", 0)
    assert book(shop, gone.id, Booked("TR1")) == FulfillmentStatus.SUCCEEDED
    assert shop.history(gone.order_id) == ["pending", "paid", "shipped"]
    assert shop.outcomes(gone.id) == ["rejected", "booked"]


def test_letter_retried_twice_at_once_runs_once(shop: Shop) -> None:
    gone = dead(shop)
    letter_id = shop.letter().id

    answers = at_once(lambda: retry(shop, letter_id), 4)

    assert [letter.id for letter in answers if isinstance(letter, Letter)] == [letter_id] * 4
    assert len({letter.resolved_at for letter in answers if isinstance(letter, Letter)}) == 1
    assert [book(shop, gone.id, Booked("TR1")) for _ in range(2)] == [FulfillmentStatus.SUCCEEDED, None]


def test_letter_retried_again_after_it_shipped_changes_nothing(shop: Shop) -> None:
    gone = dead(shop)
    letter_id = shop.letter().id
    retry(shop, letter_id)
    book(shop, gone.id, Booked("TR1"))

    assert retry(shop, letter_id).resolution == "retried"

    assert shop.fulfillment(gone.order_id).status == "succeeded"


def test_fulfillment_that_dies_again_gets_a_letter_of_its_own(shop: Shop) -> None:
    gone = dead(shop)
    first = shop.letter().id
    retry(shop, first)
    book(shop, gone.id, Rejected("address_not_served"))

    (second,) = read(shop, lambda connection: list(dead_letters.page(connection, limit=9)))

    assert second != first
    assert retry(shop, first).resolution == "retried"
    assert shop.fulfillment(gone.order_id).status == "dead"


def test_discarded_letter_cancels_refunds_restocks_and_tells_the_carrier(shop: Shop) -> None:
    gone = dead(shop)
    assert shop.stock() == STOCK - 3

    letter = discard(shop, shop.letter().id)

    assert letter.resolution == "discarded"
    stopped = shop.fulfillment(gone.order_id)
    assert stopped.status == "discarded"
    assert stopped.recall_at is not None
    assert shop.history(gone.order_id) == ["pending", "paid", "cancelled"]
    assert [(refund.amount, refund.status) for refund in shop.refunds()] == [(3 * PRICE, "pending")]
    assert shop.stock() == STOCK


def test_letter_discarded_twice_at_once_refunds_once(shop: Shop) -> None:
    dead(shop)
    letter_id = shop.letter().id

    answers = at_once(lambda: discard(shop, letter_id), 3)

    assert [letter.resolution for letter in answers if isinstance(letter, Letter)] == ["discarded"] * 3
    assert len(shop.refunds()) == 1
    assert shop.stock() == STOCK


def test_letter_is_either_retried_or_discarded(shop: Shop) -> None:
    dead(shop)
    letter_id = shop.letter().id
    discard(shop, letter_id)

    with pytest.raises(Conflict):
        retry(shop, letter_id)

    dead(shop)
    (open_one,) = read(shop, lambda connection: list(dead_letters.page(connection, limit=9)))
    retry(shop, open_one)
    with pytest.raises(Conflict):
        discard(shop, open_one)


def test_letter_of_a_cancelled_order_is_not_retried_but_can_be_discarded(shop: Shop) -> None:
    gone = dead(shop)
    with shop.database.transaction() as session:
        cancellation.cancel(session.connection(), gone.order_id, reason="changed my mind")
    letter_id = shop.letter().id

    with pytest.raises(Conflict):
        retry(shop, letter_id)
    assert discard(shop, letter_id).resolution == "discarded"

    assert len(shop.refunds()) == 1
    assert shop.stock() == STOCK


@pytest.mark.parametrize("act", [retry, discard])
def test_unknown_letter_is_not_found(shop: Shop, act: Callable[[Shop, UUID], Letter]) -> None:
    with pytest.raises(NotFound):
        act(shop, make_user(shop.database).id)
