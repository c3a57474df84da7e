"""Refunds: never more than was captured, each paid once, and goods back in stock once, whatever happens at the same moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from loguru import logger
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col, select

from orderkit import clock
from orderkit.api import timeline
from orderkit.auth.models import User
from orderkit.catalog.models import Product
from orderkit.db import Database
from orderkit.errors import Conflict, Invalid, KeyExpired, KeyReused, NotFound, OrderkitError
from orderkit.fulfillment import delivery, recalling, shipping
from orderkit.fulfillment.carriers import Booked
from orderkit.idempotency import Answer, Replay
from orderkit.ids import new_id
from orderkit.inventory.models import StockMovement
from orderkit.orders import cancellation, reading, refund_reading, refund_requests, refunds
from orderkit.orders.models import OrderHistory
from orderkit.orders.placement import Placement
from orderkit.orders.pricing import Line
from orderkit.orders.refund_lines import AskedLine
from orderkit.orders.refund_requests import RequestRefund
from orderkit.orders.refunds import DueRefund, OrderRefund
from orderkit.orders.settlement import Settle, Settlement
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.payments.gateways import Captured, Refunded, RefundRefused, RefundResult
from orderkit.payments.models import Payment
from orderkit.settings import Settings
from tests.factories import make_product, to_place
from tests.orders.test_resolution import AFTER_ANY_RETRY, Provider, pay_back, resolution
from tests.shop import PRICE, SKU, STOCK, Shop
from tests.threads import at_once

pytestmark = pytest.mark.integration


@pytest.fixture
def shop(database: Database, settings: Settings) -> Shop:
    return Shop(database, settings)


def ask(shop: Shop, order_id: UUID, **wanted: Any) -> OrderRefund:
    with shop.database.transaction() as session:
        return refunds.request(session.connection(), order_id, reason=wanted.pop("reason", "broken"), **wanted)


def cancel(shop: Shop, order_id: UUID) -> None:
    with shop.database.transaction() as session:
        cancellation.cancel(session.connection(), order_id, reason="changed my mind")


def relay(shop: Shop) -> None:
    while shop.relay.turn():
        pass


def ship(shop: Shop, order_id: UUID) -> None:
    """Books the parcel of a paid order; nothing when it is not to be shipped (now)."""
    relay(shop)
    fulfillment = shop.fulfillment(order_id)
    with shop.database.transaction() as session:
        claim = shipping.claim(session.connection(), fulfillment.id, settings=shop.settings)
    if claim is not None:
        with shop.database.transaction() as session:
            booked = Booked(f"TR{fulfillment.id.hex}")
            shipping.finish(session.connection(), claim, booked, duration_ms=1, settings=shop.settings)


def shipped(shop: Shop, quantity: int = 1) -> OrderSnapshot:
    order = shop.paid(quantity=quantity)
    ship(shop, order.id)
    assert shop.order(order.id).status == "shipped"
    return order


def paid_lines(shop: Shop, *lines: tuple[str, int]) -> OrderSnapshot:
    with shop.database.reading() as session:
        user = session.get_one(User, shop.user_id)
    (placed,) = Placement(shop.database, shop.settings).place([to_place(user, "", items=[Line(*one) for one in lines])])
    assert isinstance(placed, OrderSnapshot)
    Settlement(shop.database, shop.settings).settle([Settle(placed.id, Captured(f"ch_{placed.payment_id.hex}"))])
    return placed


def stock(shop: Shop, sku: str = SKU) -> int:
    with shop.database.reading() as session:
        return session.get_one(Product, sku).stock


def movements(shop: Shop, sku: str = SKU) -> list[int]:
    """Those after the opening stock, oldest first."""
    of_sku = select(StockMovement).where(StockMovement.sku == sku).order_by(col(StockMovement.created_at))
    with shop.database.reading() as session:
        return [row.delta for row in session.exec(of_sku)][1:]


def adds_up(shop: Shop, sku: str = SKU) -> None:
    """Stock and what orders took, less those that gave it back, is the sum of the movements."""
    with shop.database.reading() as session:
        moved = sum(row.delta for row in session.exec(select(StockMovement).where(StockMovement.sku == sku)))
        held = session.connection().exec_driver_sql(
            "SELECT COALESCE(SUM(i.quantity), 0) FROM order_items i JOIN orders o ON o.id = i.order_id"
            f" WHERE i.sku = '{sku}' AND o.status NOT IN ('cancelled', 'payment_failed')"
        )
        assert stock(shop, sku) + int(held.scalar_one()) == moved


def statuses(shop: Shop) -> Counter[str]:
    return Counter(one.status for one in shop.refunds())


def history(shop: Shop, order_id: UUID) -> Sequence[OrderHistory]:
    of_one = select(OrderHistory).where(OrderHistory.order_id == order_id).order_by(col(OrderHistory.version))
    with shop.database.reading() as session:
        return session.exec(of_one).all()


# ── What may be asked for. ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_partial_refund_is_promised_at_once_and_paid_by_the_worker(shop: Shop) -> None:
    order, provider = shop.paid(quantity=2), Provider()

    made = ask(shop, order.id, amount=300, actor_id=shop.user_id, request_id="req-1")

    assert (made.amount, made.currency, made.status) == (300, "GBP", "pending")
    assert shop.payment(order.id).refunded == 300
    last = history(shop, order.id)[-1]
    assert (last.from_status, last.to_status, last.reason) == ("paid", "paid", "refund of 3.00 GBP asked for: broken")
    assert (last.actor_id, last.request_id, last.version) == (shop.user_id, "req-1", shop.order(order.id).version)
    pay_back(shop, provider)
    assert provider.refunded == {made.id: 300}
    assert statuses(shop) == {"succeeded": 1}
    assert shop.order(order.id).status == "paid"


def test_without_amount_and_lines_it_is_all_that_is_left(shop: Shop) -> None:
    order = shipped(shop, quantity=2)
    ask(shop, order.id, amount=300)

    assert ask(shop, order.id).amount == 2 * PRICE - 300
    with pytest.raises(Conflict) as refused:
        ask(shop, order.id)
    assert refused.value.facts["left"] == 0


def test_more_than_is_left_is_refused_and_told(shop: Shop) -> None:
    order = shop.paid()
    ask(shop, order.id, amount=200)

    with pytest.raises(Conflict) as refused:
        ask(shop, order.id, amount=301)

    assert refused.value.facts["left"] == 300
    assert shop.payment(order.id).refunded == 200
    assert len(shop.refunds()) == 1


def test_there_is_nothing_to_refund_before_the_money_was_taken(shop: Shop) -> None:
    order = shop.place()
    with pytest.raises(Conflict, match="the payment is created"):
        ask(shop, order.id)
    with pytest.raises(NotFound):
        ask(shop, new_id())
    assert shop.refunds() == []


def test_imported_money_is_not_ours_to_give_back(shop: Shop) -> None:
    order = shop.paid()
    with shop.database.transaction() as session:
        payment = session.get_one(Payment, order.payment_id)
        payment.status, payment.provider_reference = "imported", None
        session.add(payment)

    with pytest.raises(Conflict, match="imported"):
        ask(shop, order.id)


def test_lines_cost_what_they_cost_when_they_were_ordered(shop: Shop) -> None:
    make_product(shop.database, sku="CUP", unit_price=250, stock=10)
    order = paid_lines(shop, (SKU, 2), ("CUP", 3))
    with shop.database.transaction() as session:
        product = session.get_one(Product, "CUP")
        product.unit_price = 999
        session.add(product)

    made = ask(shop, order.id, lines=[AskedLine(2, sku="CUP"), AskedLine(1, line=1)])

    assert made.amount == 2 * 250 + PRICE
    assert made.lines == ((1, SKU, 1), (2, "CUP", 2))
    with shop.database.reading() as session:
        assert refund_reading.page(session.connection(), order.id, limit=5) == [made]


def test_no_piece_is_refunded_twice_unless_its_refund_failed(shop: Shop) -> None:
    order = shop.paid(quantity=3)
    ask(shop, order.id, lines=[AskedLine(2, sku=SKU)])
    with pytest.raises(Conflict) as refused:
        ask(shop, order.id, lines=[AskedLine(2, sku=SKU)])
    assert refused.value.facts == {"left": PRICE, "sku": SKU, "pieces_left": 1}

    pay_back(shop, Provider(refuses=True))

    assert ask(shop, order.id, lines=[AskedLine(3, line=1)]).amount == 3 * PRICE


def test_a_sku_on_two_lines_is_taken_from_the_first_that_has_some_left(shop: Shop) -> None:
    order = paid_lines(shop, (SKU, 2), (SKU, 2))
    ask(shop, order.id, lines=[AskedLine(1, line=1)])

    assert ask(shop, order.id, lines=[AskedLine(2, sku=SKU)]).lines == ((1, SKU, 1), (2, SKU, 1))


def test_lines_that_the_order_does_not_have_are_pointed_at(shop: Shop) -> None:
    order = shop.paid()
    with pytest.raises(Invalid) as refused:
        ask(shop, order.id, lines=[AskedLine(1, sku=SKU), AskedLine(1, sku="NONE"), AskedLine(1, line=2)])
    assert [pointer for pointer, _ in refused.value.pointers] == ["#/lines/1/sku", "#/lines/2/line"]


def test_goods_that_come_back_with_a_part_of_the_money_have_to_be_named(shop: Shop) -> None:
    order = shipped(shop, quantity=2)
    with pytest.raises(Invalid):
        ask(shop, order.id, amount=PRICE, restock=True)
    assert shop.refunds() == []


# ── What the provider's answer does. ─────────────────────────────────────────────────────────────────────────────────


def test_an_order_is_refunded_when_all_of_its_money_has_gone_back_and_not_before(shop: Shop) -> None:
    order = shipped(shop, quantity=2)
    ask(shop, order.id, amount=PRICE)
    ask(shop, order.id)
    first, second = shop.refunds()
    assert shop.order(order.id).status == "shipped"

    provider = Provider()
    _settle(shop, provider, first.id)
    assert shop.order(order.id).status == "shipped"
    _settle(shop, provider, second.id)

    assert shop.order(order.id).status == "refunded"
    assert shop.events(order.id)[-1] == "order.refunded"
    assert sum(provider.refunded.values()) == 2 * PRICE
    assert stock(shop) == STOCK - 2
    adds_up(shop)


def test_refund_that_stays_unknown_is_asked_again_under_its_key_and_paid_once(shop: Shop) -> None:
    order, provider = shipped(shop), Provider(silent=1, deaf=1)
    made = ask(shop, order.id)

    pay_back(shop, provider)
    assert (shop.payment(order.id).refunded, shop.order(order.id).status) == (PRICE, "shipped")
    pay_back(shop, provider, turns=4)

    assert provider.refunded == {made.id: PRICE}
    assert provider.asked == ["refund"] * 3
    assert shop.history(order.id)[-1] == "refunded"


def test_refused_refund_takes_back_its_promise_and_restocks_nothing(shop: Shop) -> None:
    order = shipped(shop, quantity=2)
    ask(shop, order.id, restock=True)
    version = shop.order(order.id).version

    pay_back(shop, Provider(refuses=True))

    assert statuses(shop) == {"failed": 1}
    assert (shop.payment(order.id).refunded, stock(shop), movements(shop)) == (0, STOCK - 2, [])
    assert (shop.order(order.id).status, shop.order(order.id).version) == ("shipped", version + 1)
    assert history(shop, order.id)[-1].reason == "refund of 10.00 GBP refused by the provider: too_old"
    assert ask(shop, order.id).amount == 2 * PRICE


def test_refund_of_a_worker_that_was_killed_before_the_provider_heard_is_taken_up_by_the_next(shop: Shop) -> None:
    order, provider = shipped(shop), Provider()
    made = ask(shop, order.id)
    with shop.database.transaction() as session:
        assert refunds.claim(session.connection(), made.id, settings=shop.settings) is not None

    _settle(shop, provider, made.id)
    assert provider.asked == []
    with clock.moved(AFTER_ANY_RETRY):
        _settle(shop, provider, made.id)

    assert provider.refunded == {made.id: PRICE}
    assert shop.order(order.id).status == "refunded"


def test_two_workers_that_hear_the_same_answer_settle_once(shop: Shop) -> None:
    order, provider = shipped(shop, quantity=2), Provider()
    made = ask(shop, order.id, restock=True)
    with shop.database.transaction() as session:
        first = refunds.claim(session.connection(), made.id, settings=shop.settings)
    with clock.moved(AFTER_ANY_RETRY), shop.database.transaction() as session:
        second = refunds.claim(session.connection(), made.id, settings=shop.settings)
    assert first is not None
    assert second is not None
    result = asyncio.run(provider.refund(key=made.id, reference="ch", amount=made.amount, currency="GBP", attempt=1))
    for one in (first, second):
        with shop.database.transaction() as session:
            refunds.settle(session.connection(), one, result, [], settings=shop.settings)

    assert shop.history(order.id).count("refunded") == 1
    assert movements(shop) == [2]


def claimed(shop: Shop, refund_id: UUID) -> DueRefund:
    with shop.database.transaction() as session:
        due = refunds.claim(session.connection(), refund_id, settings=shop.settings)
    assert due is not None
    return due


def hear(shop: Shop, due: DueRefund, result: RefundResult) -> None:
    with shop.database.transaction() as session:
        refunds.settle(session.connection(), due, result, [], settings=shop.settings)


def test_refund_that_one_worker_heard_refused_and_another_paid_counts_if_it_fits(shop: Shop) -> None:
    order = shipped(shop, quantity=4)
    made = ask(shop, order.id, lines=[AskedLine(3, line=1)], restock=True)
    due = claimed(shop, made.id)
    hear(shop, due, RefundRefused("try_later"))

    hear(shop, due, Refunded("re_1"))
    hear(shop, due, Refunded("re_1"))

    assert statuses(shop) == {"succeeded": 1}
    assert (shop.payment(order.id).refunded, movements(shop)) == (3 * PRICE, [3])
    assert shop.refunds()[0].provider_reference == "re_1"
    told = [one.reason for one in history(shop, order.id)[-2:]]
    assert told == ["refund of 15.00 GBP was paid by the provider after all", "refund of 15.00 GBP paid back"]
    with pytest.raises(Conflict) as refused:
        ask(shop, order.id, amount=PRICE + 1)
    assert refused.value.facts["left"] == PRICE
    ask(shop, order.id)
    pay_back(shop, Provider())
    assert shop.order(order.id).status == "refunded"


def test_refund_that_was_paid_after_all_and_no_longer_fits_is_told_in_the_log(shop: Shop) -> None:
    order = shipped(shop, quantity=4)
    due = claimed(shop, ask(shop, order.id, amount=1500).id)
    hear(shop, due, RefundRefused("try_later"))
    rest = ask(shop, order.id, amount=501)

    with errors() as told:
        hear(shop, due, Refunded("re_1"))

    assert [one.split(" ", 2)[2] for one in told] == [
        "failed but the provider gave it back, and it is more than is left\n"
    ]
    assert statuses(shop) == {"failed": 1, "pending": 1}
    assert shop.payment(order.id).refunded == rest.amount


def test_pieces_that_another_refund_took_since_do_not_come_back_with_one_that_was_paid_after_all(shop: Shop) -> None:
    make_product(shop.database, sku="CUP", unit_price=250, stock=10)
    order = paid_lines(shop, (SKU, 2), ("CUP", 4))
    ship(shop, order.id)
    made = ask(shop, order.id, lines=[AskedLine(1, sku=SKU), AskedLine(2, sku="CUP")], restock=True)
    due = claimed(shop, made.id)
    hear(shop, due, RefundRefused("try_later"))
    ask(shop, order.id, lines=[AskedLine(3, sku="CUP")], restock=True)

    hear(shop, due, Refunded("re_1"))
    pay_back(shop, Provider())

    assert statuses(shop) == {"succeeded": 2}
    assert shop.payment(order.id).refunded == made.amount + 3 * 250
    assert (movements(shop), movements(shop, "CUP")) == ([1], [3])


@contextmanager
def errors() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{message}", level="ERROR")
    try:
        yield lines
    finally:
        logger.remove(sink)


# ── Money of a cancelled order. ──────────────────────────────────────────────────────────────────────────────────────


def test_refund_that_was_under_way_at_a_cancel_and_is_refused_is_asked_for_once_more(shop: Shop) -> None:
    order = shop.paid(quantity=2)
    before = ask(shop, order.id)
    cancel(shop, order.id)
    assert len(shop.refunds()) == 1

    _settle(shop, Provider(refuses=True), before.id)
    pay_back(shop, Provider())

    assert statuses(shop) == {"failed": 1, "succeeded": 1}
    assert shop.payment(order.id).refunded == 2 * PRICE
    assert (shop.order(order.id).status, stock(shop)) == ("cancelled", STOCK)


def test_provider_that_always_refuses_is_asked_a_bounded_number_of_times_and_people_are_told(shop: Shop) -> None:
    order, provider = shop.paid(quantity=2), Provider(refuses=True)
    ask(shop, order.id, amount=PRICE)
    ask(shop, order.id, amount=PRICE - 1)
    cancel(shop, order.id)

    with errors() as told:
        pay_back(shop, provider, turns=6)

    # Two of staff and the cancel's own; then one each for the two that the cancel left to themselves.
    assert statuses(shop) == {"failed": 5}
    assert len(provider.asked) == 5
    assert shop.payment(order.id).refunded == 0
    assert f"order {order.id} is cancelled and 10.00 GBP of its money is owed: no refund of it is under way\n" in told


def test_story_of_a_cancelled_order_says_what_is_owed_until_it_is_paid(shop: Shop) -> None:
    order = shop.paid(quantity=2)
    cancel(shop, order.id)
    pay_back(shop, Provider(refuses=True))

    failed = [one for one in story(shop, order.id) if one["detail"].get("status") == "failed"]
    assert [one["what"] for one in failed] == [
        "The refund of 10.00 GBP failed. 10.00 GBP of this cancelled order is owed, and no refund of it is under way."
    ]
    assert failed[0]["detail"]["owed"] == 2 * PRICE
    ask(shop, order.id)
    assert not any("owed" in one["detail"] for one in story(shop, order.id))


def story(shop: Shop, order_id: UUID) -> list[dict[str, Any]]:
    with shop.database.reading() as session:
        found = reading.find(session.connection(), order_id)
        assert found is not None
        return timeline.page(session.connection(), found, limit=50, to_staff=True).items


def _settle(shop: Shop, provider: Provider, refund_id: UUID) -> None:
    asyncio.run(resolution(shop, provider).refund(refund_id))


# ── Goods. ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_goods_of_lines_come_back_when_the_refund_succeeded(shop: Shop) -> None:
    order = shipped(shop, quantity=3)
    made = ask(shop, order.id, lines=[AskedLine(2, sku=SKU)], restock=True, actor_id=shop.user_id)
    assert stock(shop) == STOCK - 3

    pay_back(shop, Provider())

    assert stock(shop) == STOCK - 1
    with shop.database.reading() as session:
        (moved,) = session.exec(select(StockMovement).where(StockMovement.delta == 2))
    assert (moved.reason, moved.author_id) == (f"restock of refund {made.id}", shop.user_id)
    adds_up(shop)


def test_a_refund_of_all_that_is_left_brings_back_the_pieces_that_no_refund_was_for(shop: Shop) -> None:
    order = shipped(shop, quantity=5)
    ask(shop, order.id, lines=[AskedLine(2, sku=SKU)], restock=True)
    ask(shop, order.id, lines=[AskedLine(1, sku=SKU)])
    ask(shop, order.id, restock=True)

    pay_back(shop, Provider())

    assert shop.order(order.id).status == "refunded"
    assert sorted(movements(shop)) == [2, 2]
    assert stock(shop) == STOCK - 1


def test_goods_never_come_back_twice_in_whatever_order_refunds_are_settled(shop: Shop) -> None:
    order, provider = shipped(shop, quantity=3), Provider()
    part = ask(shop, order.id, lines=[AskedLine(2, sku=SKU)], restock=True)
    rest = ask(shop, order.id, restock=True)

    _settle(shop, provider, rest.id)
    assert stock(shop) == STOCK - 2
    _settle(shop, provider, part.id)

    assert stock(shop) == STOCK
    assert movements(shop) == [1, 2]


@pytest.mark.parametrize("wanted", [{}, {"lines": [AskedLine(2, line=1)]}], ids=["the rest", "lines"])
def test_goods_that_have_not_left_are_not_restocked_and_shipped_as_well(shop: Shop, wanted: dict[str, Any]) -> None:
    order = shop.paid(quantity=4)
    early = ask(shop, order.id, amount=PRICE)

    with pytest.raises(Conflict, match="the goods have not left; cancel the order, or refund all of it") as refused:
        ask(shop, order.id, restock=True, **wanted)
    _settle(shop, Provider(refuses=True), early.id)
    ship(shop, order.id)

    assert refused.value.facts == {"left": 3 * PRICE}
    assert (shop.order(order.id).status, stock(shop), movements(shop)) == ("shipped", STOCK - 4, [])
    adds_up(shop)
    ask(shop, order.id, restock=True, **wanted)
    pay_back(shop, Provider())
    assert len(movements(shop)) == 1


def test_delivered_goods_come_back_too(shop: Shop) -> None:
    order = shipped(shop, quantity=2)
    with shop.database.transaction() as session:
        report = delivery.report(session.connection(), shop.fulfillment(order.id).id, clock.now())
    assert report == "delivered"

    made = ask(shop, order.id, restock=True)
    pay_back(shop, Provider())

    assert made.lines == ((1, SKU, 2),)
    assert (shop.order(order.id).status, stock(shop)) == ("refunded", STOCK)


def test_pieces_that_were_refunded_and_did_not_come_back_stay_away_from_stock_with_the_rest(shop: Shop) -> None:
    order = shipped(shop, quantity=4)
    ask(shop, order.id, lines=[AskedLine(1, line=1)], reason="arrived broken")
    pay_back(shop, Provider())

    rest = ask(shop, order.id, restock=True)
    pay_back(shop, Provider())

    assert (rest.amount, rest.lines) == (3 * PRICE, ((1, SKU, 3),))
    assert (shop.order(order.id).status, stock(shop), movements(shop)) == ("refunded", STOCK - 1, [3])
    with shop.database.reading() as session:
        found = refund_reading.find(session.connection(), order.id, rest.id)
    assert found is not None
    assert found.lines == rest.lines


def test_pieces_of_a_restock_that_the_provider_refused_can_come_back_with_another(shop: Shop) -> None:
    order = shipped(shop, quantity=4)
    refused = ask(shop, order.id, restock=True)
    _settle(shop, Provider(refuses=True), refused.id)

    ask(shop, order.id, lines=[AskedLine(1, line=1)])
    ask(shop, order.id, restock=True)
    pay_back(shop, Provider())

    assert (shop.order(order.id).status, movements(shop)) == ("refunded", [3])


def test_order_that_is_cancelled_after_pieces_of_it_were_refunded_gives_the_goods_back_once(shop: Shop) -> None:
    order = shop.paid(quantity=3)
    ask(shop, order.id, lines=[AskedLine(1, sku=SKU)])
    pay_back(shop, Provider())
    assert stock(shop) == STOCK - 3

    cancel(shop, order.id)
    pay_back(shop, Provider())

    assert stock(shop) == STOCK
    assert sum(one.amount for one in shop.refunds()) == 3 * PRICE
    adds_up(shop)


def test_goods_that_came_back_with_a_cancel_do_not_come_back_again(shop: Shop) -> None:
    order = shop.paid(quantity=3)
    ask(shop, order.id)
    cancel(shop, order.id)

    pay_back(shop, Provider())

    assert (stock(shop), movements(shop)) == (STOCK, [])
    assert shop.order(order.id).status == "cancelled"


def test_goods_of_a_cancelled_order_whose_refund_failed_are_not_restocked(shop: Shop) -> None:
    order = shop.paid(quantity=3)
    cancel(shop, order.id)
    pay_back(shop, Provider(refuses=True))

    with pytest.raises(Conflict, match="the goods came back when the order was cancelled"):
        ask(shop, order.id, restock=True)


# ── An order that is paid and not shipped. ───────────────────────────────────────────────────────────────────────────


def test_full_refund_of_an_unshipped_order_stops_its_fulfillment_and_gives_its_goods_back_once(shop: Shop) -> None:
    queued = shop.queued(quantity=2)
    ask(shop, queued.order_id)

    ship(shop, queued.order_id)
    assert shop.fulfillment(queued.order_id).status == "queued"
    pay_back(shop, Provider())
    relay(shop)

    assert shop.order(queued.order_id).status == "refunded"
    assert shop.fulfillment(queued.order_id).status == "cancelled"
    assert (stock(shop), movements(shop)) == (STOCK, [2])
    adds_up(shop)


def test_full_refund_that_is_refused_lets_the_order_be_shipped_after_all(shop: Shop) -> None:
    queued = shop.queued()
    ask(shop, queued.order_id)
    ship(shop, queued.order_id)
    pay_back(shop, Provider(refuses=True))

    with clock.moved(timedelta(seconds=shop.settings.retry_cap)):
        ship(shop, queued.order_id)

    assert shop.order(queued.order_id).status == "shipped"


def test_booking_that_was_under_way_when_the_refund_succeeded_is_recalled(shop: Shop) -> None:
    queued = shop.queued(quantity=2)
    with shop.database.transaction() as session:
        claim = shipping.claim(session.connection(), queued.id, settings=shop.settings)
    assert claim is not None
    ask(shop, queued.order_id)
    pay_back(shop, Provider())
    relay(shop)
    with shop.database.transaction() as session:
        shipping.finish(session.connection(), claim, Booked("TR1"), duration_ms=1, settings=shop.settings)

    assert shop.order(queued.order_id).status == "refunded"
    fulfillment = shop.fulfillment(queued.order_id)
    assert (fulfillment.status, fulfillment.tracking_number) == ("cancelled", None)
    with shop.database.transaction() as session:
        assert recalling.claim(session.connection(), fulfillment.id, settings=shop.settings) is not None
    assert stock(shop) == STOCK


def test_partial_refund_of_an_unshipped_order_does_not_keep_it_from_being_shipped(shop: Shop) -> None:
    queued = shop.queued(quantity=2)
    ask(shop, queued.order_id, amount=PRICE)
    ship(shop, queued.order_id)
    assert shop.order(queued.order_id).status == "shipped"


def test_dead_letter_of_a_refunded_order_is_discarded(shop: Shop) -> None:
    letter = shop.dead(quantity=2)
    ask(shop, letter.order_id)
    pay_back(shop, Provider())
    relay(shop)

    assert (shop.letter().resolution, shop.fulfillment(letter.order_id).status) == ("discarded", "discarded")
    assert stock(shop) == STOCK


# ── At the same moment. ──────────────────────────────────────────────────────────────────────────────────────────────


def tried(act: Callable[[], object]) -> str:
    try:
        act()
    except OrderkitError as error:
        return error.code
    return "done"


def test_twenty_partial_refunds_at_once_never_exceed_the_capture(shop: Shop) -> None:
    order = shipped(shop, quantity=2)  # 1,000 captured; 20 × 90 asked for

    outcomes = Counter(at_once(*[partial(tried, partial(ask, shop, order.id, amount=90))] * 20))

    assert outcomes == {"done": 11, "conflict": 9}
    assert shop.payment(order.id).refunded == 990 == sum(one.amount for one in shop.refunds())
    provider = Provider()
    pay_back(shop, provider)
    assert sum(provider.refunded.values()) == 990


def test_twenty_requests_under_one_key_at_once_make_one_refund(shop: Shop) -> None:
    order = shipped(shop, quantity=2)

    given = at_once(*[partial(by_key, shop, order.id, amount=90)] * 20)

    assert len({one.answer for one in given}) == 1
    assert sorted(one.replayed for one in given) == [False] + [True] * 19
    assert [one.amount for one in shop.refunds()] == [90]


def by_key(shop: Shop, order_id: UUID, *, key: str = "k", amount: int | None = None) -> Replay:
    wanted = RequestRefund(
        new_id(), order_id, shop.user_id, key, f"refund {order_id} {amount}", "broken", amount=amount
    )
    return refund_requests.carry_out(
        shop.database, shop.settings, wanted, lambda refund: Answer(201, f"{refund.id} {refund.amount}")
    )


def test_key_of_a_refused_request_can_be_used_again_and_a_used_one_not_for_another(shop: Shop) -> None:
    order = shop.paid()
    with pytest.raises(Conflict):
        by_key(shop, order.id, amount=PRICE + 1)
    assert not by_key(shop, order.id, amount=PRICE - 1).replayed
    with pytest.raises(KeyReused):
        by_key(shop, order.id, amount=1)
    assert len(shop.refunds()) == 1


def test_key_that_is_too_old_to_be_answered_says_where_its_refund_is(shop: Shop) -> None:
    order = shop.paid()
    made = by_key(shop, order.id, amount=1)
    with clock.moved(timedelta(days=31)):
        with pytest.raises(KeyExpired) as same:
            by_key(shop, order.id, amount=1)
        with pytest.raises(KeyExpired) as other:
            by_key(shop, order.id, amount=2)
    path = f"/orders/{order.id}/refunds"
    assert same.value.headers == {"Location": f"{path}/{made.resource_id}"}
    assert other.value.headers == {"Location": path}


def test_refund_whose_commit_was_not_answered_is_found_by_its_rerun(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, lost = shop.paid(), [OperationalError("COMMIT", {}, Exception("cut"), connection_invalidated=True)]
    transaction = shop.database.transaction

    @contextmanager
    def unanswered() -> Iterator[Session]:
        with transaction() as session:
            yield session
        if lost:
            raise lost.pop()

    monkeypatch.setattr(shop.database, "transaction", unanswered)
    given = by_key(shop, order.id, amount=PRICE)

    assert lost == []
    assert [(one.id, one.amount) for one in shop.refunds()] == [(given.resource_id, PRICE)]
    assert (given.answer, given.replayed) == (Answer(201, f"{given.resource_id} {PRICE}"), False)
    assert by_key(shop, order.id, amount=PRICE).answer == given.answer
