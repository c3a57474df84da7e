"""Orders changed by hand and cancelled: every race has one winner, whom the database decides on."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import col, select

from orderkit.db import Database
from orderkit.errors import Conflict, IllegalTransition, NotFound, OrderkitError, PreconditionFailed
from orderkit.fulfillment import by_hand, dead_letters, recalling, shipping
from orderkit.fulfillment.by_hand import Wanted
from orderkit.fulfillment.carriers import Booked, BookResult, Failed, Recalled, Rejected
from orderkit.fulfillment.models import Fulfillment
from orderkit.fulfillment.shipping import Claim
from orderkit.ids import new_id
from orderkit.orders import cancellation, refunds
from orderkit.orders.models import OrderHistory
from orderkit.orders.settlement import Settle, Settled, Settlement
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.orders.states import OrderStatus
from orderkit.payments.gateways import Captured, Voided
from orderkit.settings import Settings
from tests.shop import PRICE, STOCK, Shop
from tests.threads import at_once

pytestmark = pytest.mark.integration

SHIPPED = Wanted(status=OrderStatus.SHIPPED)
DELIVERED = Wanted(status=OrderStatus.DELIVERED)
ADDRESS = {"name": "B", "line1": "2 Road", "city": "D", "country": "GB", "postal_code": "CD2"}


@pytest.fixture
def shop(database: Database, settings: Settings) -> Shop:
    return Shop(database, settings)


def change(shop: Shop, order: Any, wanted: Wanted, *seen: str, **author: Any) -> OrderSnapshot:
    with shop.database.transaction() as session:
        return by_hand.change(session.connection(), _id(order), wanted, seen=seen or None, **author)


def cancel(shop: Shop, order: Any, **more: Any) -> OrderSnapshot:
    with shop.database.transaction() as session:
        return cancellation.cancel(session.connection(), _id(order), **more)


def _id(order: Any) -> Any:
    return order.order_id if isinstance(order, Fulfillment) else order.id


def claim(shop: Shop, fulfillment: Fulfillment) -> Claim | None:
    with shop.database.transaction() as session:
        return shipping.claim(session.connection(), fulfillment.id, settings=shop.settings)


def claimed(shop: Shop, fulfillment: Fulfillment) -> Claim:
    won = claim(shop, fulfillment)
    assert won is not None
    return won


def finish(shop: Shop, won: Claim, result: BookResult) -> Any:
    with shop.database.transaction() as session:
        return shipping.finish(session.connection(), won, result, duration_ms=7, settings=shop.settings)


def settle(shop: Shop, order: OrderSnapshot, result: Any) -> OrderSnapshot:
    (settled,) = Settlement(shop.database, shop.settings).settle([Settle(order.id, result)])
    assert isinstance(settled, Settled)
    return settled.order


def relay(shop: Shop) -> None:
    while shop.relay.turn():
        pass


def tried(act: Callable[[], Any]) -> Callable[[], Any]:
    """What an act gave, or the error that it raised."""

    def outcome() -> Any:
        try:
            return act()
        except OrderkitError as error:
            return error

    return outcome


def history(shop: Shop, order: Any) -> list[OrderHistory]:
    of_one = select(OrderHistory).where(OrderHistory.order_id == _id(order)).order_by(col(OrderHistory.version))
    with shop.database.reading() as session:
        return list(session.exec(of_one))


# ── Versions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stale_version_changes_nothing_and_comes_before_what_is_wrong_otherwise(shop: Shop) -> None:
    order = shop.paid()
    for wanted in (SHIPPED, DELIVERED, Wanted(status=OrderStatus.REFUNDED), Wanted(notes=True, staff_note="x")):
        with pytest.raises(PreconditionFailed):
            change(shop, order, wanted, "1", "3")
    assert shop.order(order.id).version == 2
    assert change(shop, order, SHIPPED, "1", "2").status == "shipped"


def test_of_two_changes_of_one_version_one_is_made(shop: Shop) -> None:
    order = shop.paid()
    outcomes = at_once(
        *(
            tried(lambda text=text: change(shop, order, Wanted(notes=True, staff_note=text), "2"))  # type: ignore[misc]
            for text in ("one", "other")
        )
    )
    [won] = [one for one in outcomes if isinstance(one, OrderSnapshot)]
    [lost] = [one for one in outcomes if isinstance(one, PreconditionFailed)]
    kept = shop.order(order.id)
    assert (kept.version, kept.staff_note) == (3, won.staff_note)
    assert lost.headers == {"ETag": '"3"'}


def test_an_order_that_is_not_there_is_not_found(shop: Shop) -> None:
    with shop.database.transaction() as session, pytest.raises(NotFound):
        by_hand.change(session.connection(), new_id(), SHIPPED, seen=None)


# ── Edits ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_several_changes_at_once_are_a_row_of_history_and_an_event_each(shop: Shop) -> None:
    order, staff = shop.paid(), shop.user_id
    changed = change(
        shop, order, Wanted(OrderStatus.SHIPPED, ADDRESS, True, "gift"), "2", actor_id=staff, request_id="r-1"
    )
    assert (changed.status, changed.shipping_address, changed.staff_note) == ("shipped", ADDRESS, "gift")
    assert changed.version == 5
    rows = history(shop, order)[2:]
    assert [(row.from_status, row.to_status, row.reason) for row in rows] == [
        ("paid", "paid", "staff note changed"),
        ("paid", "paid", "shipping address changed"),
        ("paid", "shipped", "by hand"),
    ]
    assert {(row.actor_id, row.request_id) for row in rows} == {(staff, "r-1")}
    assert shop.events(order.id) == ["order.paid", "order.updated", "order.updated", "order.shipped"]


def test_of_several_changes_all_are_made_or_none(shop: Shop) -> None:
    order = shop.paid()
    with pytest.raises(IllegalTransition):
        change(shop, order, Wanted(OrderStatus.DELIVERED, ADDRESS, True, "gift"))
    assert (shop.order(order.id).staff_note, shop.order(order.id).version) == (None, 2)


def test_what_is_so_already_changes_nothing(shop: Shop) -> None:
    order = shop.paid()
    assert order.shipping_address is not None
    assert change(shop, order, Wanted(address=order.shipping_address, notes=True)).version == 2


def test_a_staff_note_can_be_taken_away(shop: Shop) -> None:
    order = shop.paid()
    change(shop, order, Wanted(notes=True, staff_note="gift"))
    assert change(shop, order, Wanted(notes=True)).staff_note is None


def test_the_address_changes_until_a_carrier_was_asked_and_the_parcel_goes_there(shop: Shop) -> None:
    pending, queued = shop.place(), shop.queued()
    assert change(shop, pending, Wanted(address=ADDRESS)).shipping_address == ADDRESS
    change(shop, queued, Wanted(address=ADDRESS))
    won = claimed(shop, queued)
    assert won.address == ADDRESS

    with pytest.raises(Conflict):
        change(shop, queued, Wanted(address=ADDRESS | {"city": "E"}))
    finish(shop, won, Failed("timed out"))
    with pytest.raises(Conflict):
        change(shop, queued, Wanted(address=ADDRESS | {"city": "E"}))


def test_the_address_stays_when_the_order_has_gone(shop: Shop) -> None:
    shipped, cancelled = shop.paid(), shop.paid()
    change(shop, shipped, SHIPPED)
    cancel(shop, cancelled)
    for order in (shipped, cancelled):
        with pytest.raises(Conflict):
            change(shop, order, Wanted(address=ADDRESS))


def test_the_address_of_a_parcel_that_was_queued_again_stays_because_the_carrier_knows_its_key(shop: Shop) -> None:
    letter = shop.dead()
    with shop.database.transaction() as session:
        dead_letters.retry(session.connection(), letter.id)
    with pytest.raises(Conflict):
        change(shop, shop.fulfillment(letter.order_id), Wanted(address=ADDRESS))


# ── Shipping by hand ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_shipping_by_hand_before_the_relay_leaves_it_nothing_to_queue(shop: Shop) -> None:
    order = shop.paid()
    change(shop, order, SHIPPED)
    relay(shop)
    fulfillment = shop.fulfillment(order.id)
    assert (fulfillment.status, fulfillment.recall_at) == ("cancelled", None)
    assert claim(shop, fulfillment) is None
    assert shop.order(order.id).status == "shipped"


def test_shipping_by_hand_stops_what_is_queued(shop: Shop) -> None:
    queued = shop.queued()
    change(shop, queued, SHIPPED)
    assert claim(shop, queued) is None
    assert (shop.fulfillment(queued.order_id).status, shop.stock()) == ("cancelled", STOCK - 1)


def test_shipping_by_hand_has_the_carrier_forget_what_it_may_have_booked(shop: Shop) -> None:
    queued = shop.queued()
    finish(shop, claimed(shop, queued), Failed("timed out"))
    change(shop, queued, SHIPPED)
    stopped = shop.fulfillment(queued.order_id)
    assert stopped.status == "cancelled"
    assert stopped.recall_at is not None


def test_shipping_by_hand_closes_the_dead_letter(shop: Shop) -> None:
    letter = shop.dead()
    change(shop, shop.fulfillment(letter.order_id), SHIPPED)
    assert shop.fulfillment(letter.order_id).status == "discarded"
    assert (shop.letter().resolution, shop.order(letter.order_id).status) == ("discarded", "shipped")
    assert shop.refunds() == []


def test_shipping_by_hand_is_refused_while_the_carrier_is_asked(shop: Shop) -> None:
    queued = shop.queued()
    won = claimed(shop, queued)
    with pytest.raises(Conflict):
        change(shop, queued, SHIPPED)
    finish(shop, won, Booked("TR1"))
    assert shop.history(queued.order_id) == ["pending", "paid", "shipped"]


def test_what_is_all_to_be_paid_back_is_not_shipped_by_hand(shop: Shop) -> None:
    order = shop.paid()
    with shop.database.transaction() as session:
        refunds.request(session.connection(), order.id, reason="not wanted")
    with pytest.raises(Conflict):
        change(shop, order, SHIPPED)


@pytest.mark.parametrize("wanted", ["pending", "paid", "payment_failed", "refunded"])
def test_what_follows_from_money_is_not_done_by_hand(shop: Shop, wanted: str) -> None:
    with pytest.raises(IllegalTransition):
        change(shop, shop.paid(), Wanted(status=OrderStatus(wanted)))


def test_delivered_comes_after_shipped_only(shop: Shop) -> None:
    order = shop.paid()
    with pytest.raises(IllegalTransition):
        change(shop, order, DELIVERED)
    change(shop, order, SHIPPED)
    assert change(shop, order, DELIVERED).status == "delivered"
    with pytest.raises(IllegalTransition):
        change(shop, order, SHIPPED)


def test_shipping_by_hand_against_the_relay_never_ships_twice(shop: Shop) -> None:
    for _ in range(10):
        order = shop.paid()
        at_once(lambda order=order: change(shop, order, SHIPPED), shop.relay.turn)  # type: ignore[misc]
        relay(shop)
        assert shop.fulfillment(order.id).status == "cancelled"
        assert shop.history(order.id) == ["pending", "paid", "shipped"]


def test_shipping_by_hand_against_a_worker_ships_once(shop: Shop) -> None:
    for _ in range(10):
        queued = shop.queued()

        def work(queued: Fulfillment = queued) -> Any:
            won = claim(shop, queued)
            return won and finish(shop, won, Booked(f"TR{queued.id.hex}"))

        by_staff, _ = at_once(tried(lambda queued=queued: change(shop, queued, SHIPPED)), work)  # type: ignore[misc]
        assert shop.history(queued.order_id) == ["pending", "paid", "shipped"]
        parcel = shop.fulfillment(queued.order_id)
        [shipped] = [row for row in shop.all(OrderHistory) if (row.order_id, row.version) == (queued.order_id, 3)]
        assert (parcel.status == "cancelled") == (shipped.reason == "by hand")
        assert isinstance(by_staff, OrderSnapshot) or parcel.status == "succeeded", (
            "only a worker in between is a conflict"
        )


# ── Cancelling ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_cancelling_twice_at_once_gives_stock_and_money_back_once(shop: Shop) -> None:
    order = shop.paid(quantity=3)
    cancelled = at_once(*[lambda: cancel(shop, order)] * 4)
    assert {(one.status, one.version) for one in cancelled} == {("cancelled", 3)}
    assert (shop.stock(), [refund.amount for refund in shop.refunds()]) == (STOCK, [3 * PRICE])
    assert shop.history(order.id) == ["pending", "paid", "cancelled"]


def test_cancelling_is_refused_once_the_order_has_gone(shop: Shop) -> None:
    order = shop.paid()
    change(shop, order, SHIPPED)
    with pytest.raises(IllegalTransition):
        cancel(shop, order)


def test_an_order_of_somebody_else_is_not_there(shop: Shop) -> None:
    order = shop.paid()
    with pytest.raises(NotFound):
        cancel(shop, order, of_user=new_id())
    assert cancel(shop, order, of_user=shop.user_id).status == "cancelled"


@pytest.mark.parametrize("result", [Captured("ch_1"), Voided()])
def test_cancelling_against_the_settlement_loses_neither_stock_nor_money(shop: Shop, result: Any) -> None:
    for _ in range(10):
        order = shop.place(quantity=2)
        before = len(shop.refunds())
        at_once(
            tried(lambda order=order: cancel(shop, order)),  # type: ignore[misc]
            lambda order=order: settle(shop, order, result),  # type: ignore[misc]
        )
        kept, payment = shop.order(order.id), shop.payment(order.id)
        assert shop.stock() == STOCK
        if isinstance(result, Captured):
            assert (kept.status, payment.status, payment.refunded) == ("cancelled", "captured", 2 * PRICE)
            assert len(shop.refunds()) == before + 1
        else:
            assert (kept.status, payment.status) in (("cancelled", "voided"), ("payment_failed", "voided"))


def test_cancelling_against_a_worker_either_ships_or_pays_back(shop: Shop) -> None:
    for _ in range(10):
        queued = shop.queued()
        stock = shop.stock()

        def work(queued: Fulfillment = queued) -> Any:
            won = claim(shop, queued)
            return won and finish(shop, won, Booked(f"TR{queued.id.hex}"))

        at_once(tried(lambda queued=queued: cancel(shop, queued)), work)  # type: ignore[misc]
        relay(shop)
        kept, parcel = shop.order(queued.order_id), shop.fulfillment(queued.order_id)
        refunded = shop.payment(queued.order_id).refunded
        if kept.status == "shipped":
            assert (parcel.status, refunded, shop.stock()) == ("succeeded", 0, stock)
        else:
            assert (kept.status, parcel.status, refunded, shop.stock()) == ("cancelled", "cancelled", PRICE, stock + 1)
            assert parcel.recall_at is not None or parcel.token == 0, "the carrier is told of what it may have booked"


def test_cancelling_by_hand_is_the_same_act_and_has_the_carrier_told(shop: Shop) -> None:
    queued = shop.queued()
    won = claimed(shop, queued)
    change(shop, queued, Wanted(status=OrderStatus.CANCELLED))
    relay(shop)
    finish(shop, won, Booked("TR1"))
    with shop.database.transaction() as session:
        recall = recalling.claim(session.connection(), queued.id, settings=shop.settings)
        assert recall is not None
        recalling.finish(session.connection(), recall, Recalled(), duration_ms=1, settings=shop.settings)
    assert shop.outcomes(queued.id) == ["booked", "recalled"]
    assert (shop.stock(), len(shop.refunds())) == (STOCK, 1)


def test_a_dead_parcel_of_a_cancelled_order_is_discarded(shop: Shop) -> None:
    letter = shop.dead()
    cancel(shop, shop.fulfillment(letter.order_id))
    relay(shop)
    assert (shop.fulfillment(letter.order_id).status, shop.letter().resolution) == ("discarded", "discarded")


# ── Who did what ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_version_of_an_order_has_a_row_of_history_and_an_event_but_the_first(shop: Shop) -> None:
    queued = shop.queued()
    change(shop, queued, Wanted(address=ADDRESS, notes=True, staff_note="gift"))
    finish(shop, claimed(shop, queued), Rejected("no"))
    change(shop, queued, SHIPPED)
    change(shop, queued, DELIVERED)
    rows = history(shop, queued)
    assert [row.version for row in rows] == list(range(1, shop.order(queued.order_id).version + 1))
    assert len(shop.events(queued.order_id)) == len(rows) - 1
    assert all(row.reason for row in rows)
    assert all(before.to_status == after.from_status for before, after in itertools.pairwise(rows))
