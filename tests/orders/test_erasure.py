"""What orders say of somebody who is deleted: gone at once, or as soon as the parcel needs it no longer."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Text, case, cast, func, select
from sqlmodel import col

from orderkit import clock, idempotency
from orderkit.api.orders import AddressIn
from orderkit.auth import audit_log, moderation, sessions
from orderkit.auth.audit_log import Actor
from orderkit.auth.models import LoginSession, User
from orderkit.db import Database
from orderkit.errors import Unauthenticated
from orderkit.idempotency import IdempotencyKey
from orderkit.ids import new_id
from orderkit.orders import cancellation, changes, editing, erasure, pricing, snapshot
from orderkit.orders.changes import Change
from orderkit.orders.models import Order, OrderHistory
from orderkit.orders.placement import Placement
from orderkit.orders.settlement import Settle, Settlement
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.orders.states import OrderStatus
from orderkit.payments.gateways import Captured
from orderkit.schema import metadata
from orderkit.settings import Settings
from tests.engines import on_postgresql
from tests.factories import make_product, make_user, place_order, to_place
from tests.threads import at_once

ADDRESS = {"name": "Canary", "line1": "1 Canary Row", "city": "Canaryville", "postal_code": "CA 1", "country": "GB"}
LATER = erasure.SETTLED + timedelta(minutes=1)


class Placed:
    """Somebody with orders of which nobody else has any."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database, self.settings = database, settings
        self.user = make_user(database, email="canary@example.com", name="Canary")
        self.sku = make_product(database).sku

    def order(self, status: OrderStatus = OrderStatus.PENDING, **more: Any) -> UUID:
        given = {"shipping_address": ADDRESS, "note": "Canary note", "metadata": {"for": "Canary"}} | more
        placed = place_order(self.database, self.settings, self.user, self.sku, **given)
        with self.database.transaction() as session:
            connection = session.connection()
            editing.note(connection, editing.lock(connection, placed.id, None), "Canary called")
        if status is not OrderStatus.PENDING:
            self.to(placed.id, OrderStatus.PAID)
        if status not in (OrderStatus.PENDING, OrderStatus.PAID):
            self.to(placed.id, status)
        return placed.id

    def to(self, order_id: UUID, status: OrderStatus) -> None:
        if status is OrderStatus.PAID:
            Settlement(self.database, self.settings).settle([Settle(order_id, Captured("ch_1"))])
            return
        with self.database.transaction() as session:
            connection = session.connection()
            if status is OrderStatus.CANCELLED:
                cancellation.cancel(connection, order_id, reason="not wanted")
            else:
                order = snapshot.lock(connection, [order_id])[order_id]
                changes.apply(connection, [Change(order, status, "of a test")], at=clock.now())

    def delete(self) -> None:
        with self.database.transaction() as session:
            moderation.leave(session.connection(), Actor(self.user.id, "here"), self.user.id)
            erasure.erase(session.connection(), self.user.id)

    def turn(self) -> int:
        """What the worker does; of how many users there was something to do."""
        with self.database.reading() as session:
            waiting = erasure.waiting(session.connection(), limit=10)
        for user_id in waiting:
            with self.database.transaction() as session:
                erasure.go_on(session.connection(), user_id)
        return len(waiting)

    def said(self, order_id: UUID) -> tuple[Any, Any]:
        with self.database.reading() as session:
            order = session.get_one(Order, order_id)
        return order.shipping_address, order.note

    def erased(self) -> bool:
        with self.database.reading() as session:
            return session.get_one(User, self.user.id).erased_at is not None


@pytest.fixture
def placed(database: Database, settings: Settings) -> Placed:
    return Placed(database, settings)


def mentions(database: Database, word: str) -> list[str]:
    """The columns of all tables that have `word` in them, whatever their type."""
    found = []
    with database.reading() as session:
        for table in metadata.sorted_tables:
            of_column = [func.max(case((cast(one, Text).ilike(f"%{word}%"), 1), else_=0)) for one in table.columns]
            row = session.execute(select(*of_column).select_from(table)).one()
            found += [f"{table.name}.{one.name}" for one, is_there in zip(table.columns, row, strict=True) if is_there]
    return found


def test_all_of_an_address_but_its_country_is_personal() -> None:
    """A part that is added to addresses has to be added here too."""
    assert {*erasure.PERSONAL, "country"} == AddressIn.model_fields.keys()


@pytest.mark.parametrize("status", [OrderStatus.SHIPPED, OrderStatus.CANCELLED])
def test_a_closed_order_keeps_the_country_only(placed: Placed, status: OrderStatus) -> None:
    order_id = placed.order(status)
    placed.delete()
    assert placed.said(order_id) == ({"country": "GB"}, None)


def test_an_order_without_an_address_or_a_country_is_erased_too(placed: Placed) -> None:
    bare = placed.order(OrderStatus.SHIPPED, shipping_address=None)
    nowhere = placed.order(OrderStatus.SHIPPED, shipping_address={"line1": "1 Canary Row"})
    placed.delete()
    assert placed.said(bare) == (None, None)
    assert placed.said(nowhere) == (None, None)


@pytest.mark.parametrize("status", [OrderStatus.PENDING, OrderStatus.PAID])
def test_an_open_order_keeps_its_address_until_it_is_closed(placed: Placed, status: OrderStatus) -> None:
    order_id = placed.order(status)
    placed.delete()
    with clock.moved(LATER):
        assert placed.turn() == 1
        assert placed.turn() == 0, "they are looked at again in a while"
        assert placed.said(order_id) == (ADDRESS, "Canary note")
        placed.to(order_id, OrderStatus.CANCELLED)
    with clock.moved(2 * LATER):
        assert placed.turn() == 1
        assert placed.said(order_id) == ({"country": "GB"}, None)
        assert placed.erased()
        assert placed.turn() == 0


def test_the_longer_somebody_waits_for_a_parcel_the_more_seldom_they_are_looked_at(placed: Placed) -> None:
    """But within a day of it at the latest."""
    placed.order(OrderStatus.PAID)
    placed.delete()
    looked: list[float] = []
    minutes = 0.0
    while minutes < 20 * 24 * 60:
        with clock.moved(timedelta(minutes=minutes)):
            looked += [minutes] * placed.turn()
        minutes += 1 if minutes < 60 else 60
    pauses = [after - before for before, after in pairwise(looked)]
    assert pauses[0] <= 2
    assert max(pauses) <= 25 * 60
    assert 20 < len(looked) < 60
    assert not placed.erased()


def test_the_orders_of_others_stay_as_they_are(placed: Placed, database: Database, settings: Settings) -> None:
    other = make_user(database)
    theirs = place_order(database, settings, other, placed.sku, shipping_address=ADDRESS, note="mine")
    placed.to(theirs.id, OrderStatus.PAID)
    placed.to(theirs.id, OrderStatus.SHIPPED)
    placed.order(OrderStatus.SHIPPED)
    placed.delete()
    with clock.moved(LATER):
        placed.turn()
    assert placed.said(theirs.id) == (ADDRESS, "mine")
    with database.reading() as session:
        assert {one.user_id for one in session.execute(select(IdempotencyKey.__table__)).all()} == {other.id}  # type: ignore[attr-defined]


def test_nothing_but_address_and_notes_of_an_order_changes(placed: Placed, database: Database) -> None:
    """It still counts in reports, and an order that somebody looks at is the same version."""
    order_id = placed.order(OrderStatus.SHIPPED)
    with database.reading() as session:
        before = session.get_one(Order, order_id).model_dump()
    placed.delete()
    with database.reading() as session:
        after = session.get_one(Order, order_id).model_dump()
    assert after == before | {
        "shipping_address": {"country": "GB"},
        "note": None,
        "staff_note": None,
        "labels": None,
    }


def test_who_has_more_orders_than_one_transaction_takes_is_gone_on_with(
    placed: Placed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "AT_ONCE", 2)
    orders = [placed.order(OrderStatus.SHIPPED) for _ in range(5)]
    placed.delete()
    assert sum(placed.said(one)[1] is None for one in orders) == 2
    while placed.turn():
        pass
    assert [placed.said(one) for one in orders] == [({"country": "GB"}, None)] * 5


def test_all_is_said_to_be_erased_only_when_nobody_can_be_at_work_any_more(placed: Placed, database: Database) -> None:
    placed.delete()
    assert placed.turn() == 1
    assert placed.turn() == 0
    assert not placed.erased()
    with clock.moved(LATER):
        assert placed.turn() == 1
    assert placed.erased()


def test_a_login_and_an_answer_that_were_stored_too_late_are_found_and_deleted(
    placed: Placed, database: Database
) -> None:
    placed.delete()
    sessions.start(database, placed.user, days=30, user_agent="Canary", address="10.9.8.7")
    with database.transaction() as session:
        session.add(
            IdempotencyKey(
                user_id=placed.user.id,
                key="late",
                fingerprint="f",
                resource_id=new_id(),
                status_code=201,
                body='{"name":"Canary"}',
                lease_until=clock.now(),
                created_at=clock.now(),
            )
        )
    assert mentions(database, "canary") == ["idempotency_keys.body", "sessions.user_agent"]
    assert placed.turn() == 1
    assert mentions(database, "canary") == []


def test_an_order_that_is_placed_while_its_user_is_deleted_is_placed_or_refused(
    placed: Placed, database: Database, settings: Settings
) -> None:
    """And whichever it is, what it says is erased once it is closed."""

    def place() -> Any:
        wanted = to_place(placed.user, placed.sku, shipping_address=ADDRESS, note="Canary note")
        [outcome] = Placement(database, settings).place([wanted])
        return outcome

    *outcomes, _ = at_once(*[place] * 6, placed.delete)
    done = [one for one in outcomes if isinstance(one, OrderSnapshot)]
    assert all(isinstance(one, OrderSnapshot | Unauthenticated) for one in outcomes), outcomes
    assert isinstance(place(), Unauthenticated)
    with database.reading() as session:
        stored = session.scalars(select(Order).where(col(Order.user_id) == placed.user.id)).all()
    assert {one.id for one in stored} == {one.id for one in done}
    for one in done:
        placed.to(one.id, OrderStatus.PAID)
        placed.to(one.id, OrderStatus.SHIPPED)
    with clock.moved(LATER):
        while placed.turn():
            pass
    assert placed.erased()
    assert mentions(database, "canary") == []


@on_postgresql
def test_an_order_whose_user_is_deleted_between_its_claim_and_its_rows_is_erased_in_the_end(
    placed: Placed, database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim found the user there; the rows are written after the deletion, which saw none of it."""
    claimed, go_on = threading.Event(), threading.Event()
    price = pricing.price

    def slowly(*arguments: Any) -> Any:
        claimed.set()
        assert go_on.wait(10)
        return price(*arguments)

    monkeypatch.setattr(pricing, "price", slowly)
    outcome: list[UUID] = []
    placing = threading.Thread(target=lambda: outcome.append(placed.order()))
    placing.start()
    assert claimed.wait(10)
    placed.delete()
    placed.turn()
    go_on.set()
    placing.join(10)
    [order_id] = outcome
    monkeypatch.undo()
    assert not placed.erased()
    assert mentions(database, "canary") != []
    placed.to(order_id, OrderStatus.CANCELLED)
    with clock.moved(LATER):
        placed.turn()
    assert placed.erased()
    assert mentions(database, "canary") == []


@on_postgresql
def test_an_order_that_is_just_being_worked_on_is_left_for_the_next_time(placed: Placed, database: Database) -> None:
    """Whoever holds the order may wait for the user's row, which the deletion holds: it must not wait for the order."""
    busy, free = placed.order(OrderStatus.SHIPPED), placed.order(OrderStatus.SHIPPED)
    with database.transaction() as session:
        snapshot.lock(session.connection(), [busy])
        placed.delete()
        assert [placed.said(one)[1] for one in (busy, free)] == ["Canary note", None]
    assert placed.turn() == 1
    assert placed.said(busy) == ({"country": "GB"}, None)


@on_postgresql
def test_a_key_that_somebody_settles_is_left_for_the_next_time_and_nobody_waits_in_a_circle(
    placed: Placed, database: Database
) -> None:
    """Settling holds the key and then needs the user's row, to which the order's history refers; deleting, the reverse."""
    order_id = placed.order()
    with database.reading() as session:
        [key] = session.scalars(select(IdempotencyKey)).all()
    answer = {idempotency.KeyId(key.user_id, key.key): idempotency.Answer(201, '{"name": "Canary"}')}
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as session:
            idempotency.store(session.connection(), answer)
            deleting = pool.submit(placed.delete)
            wait([deleting], timeout=0.5)
            history = OrderHistory(order_id=order_id, version=99, to_status="paid", actor_id=placed.user.id, reason="r")
            session.add(history)
        deleting.result(10)
    assert "idempotency_keys.body" in mentions(database, "canary")
    assert placed.turn() == 1
    of_the_parcel = {f"orders.{one}" for one in ("shipping_address", "note", "staff_note", "metadata")}
    assert set(mentions(database, "canary")) == of_the_parcel, "that is still to go"


@on_postgresql
def test_forgetting_old_keys_waits_for_nobody_either(placed: Placed, database: Database) -> None:
    for _ in range(2):
        placed.order()
    later = clock.now() + timedelta(seconds=1)
    with database.transaction() as session:
        held = session.execute(select(IdempotencyKey).limit(1).with_for_update()).scalar_one()
        with database.transaction() as other:
            assert idempotency.forget(other.connection(), before=later) == 1
        assert held.user_id == placed.user.id
    with database.transaction() as session:
        assert idempotency.forget(session.connection(), before=later) == 1


def test_the_audit_log_keeps_what_somebody_did_and_not_where_they_were(placed: Placed, database: Database) -> None:
    """About themselves; what they did to others stays with where from, or who misuses their power need only be deleted."""
    staff = make_user(database)
    mine, about_me = Actor(placed.user.id, "192.0.2.66"), f"user:{placed.user.id}"
    with database.transaction() as session:
        for actor, action, subject in (
            (mine, "user.password_changed", about_me),
            (mine, "role.permissions_changed", "role:support"),
            (Actor(staff.id, "192.0.2.1"), "user.unbanned", about_me),
            (Actor(None, "command line (root)"), "user.unbanned", about_me),
        ):
            audit_log.record(session.connection(), actor, action, subject, to="canary")
    placed.delete()
    with database.reading() as session:
        entries = audit_log.page(session.connection(), limit=10)
    assert [(one.actor_id, one.source, one.action) for one in entries] == [
        (placed.user.id, "erased", "user.left"),
        (None, "command line (root)", "user.unbanned"),
        (staff.id, "192.0.2.1", "user.unbanned"),
        (placed.user.id, "192.0.2.66", "role.permissions_changed"),
        (placed.user.id, "erased", "user.password_changed"),
    ]
    assert [one.detail for one in entries] == [{}] + [{"to": "canary"}] * 4


def test_entries_that_were_too_many_or_too_late_lose_their_source_too(
    placed: Placed, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "AT_ONCE", 2)
    with database.transaction() as session:
        for _ in range(5):
            audit_log.record(session.connection(), Actor(placed.user.id, "192.0.2.66"), "api_key.made", "api_key:1")
    placed.delete()
    assert mentions(database, "192.0.2.66") == ["audit_log.source"]
    while mentions(database, "192.0.2.66"):
        assert placed.turn() == 1
    with clock.moved(LATER):
        placed.turn()
    assert placed.erased()


def test_a_repeat_of_a_request_of_somebody_deleted_is_not_answered(
    placed: Placed, database: Database, settings: Settings
) -> None:
    """The stored answer is gone, and so is whoever could ask for it."""
    first = to_place(placed.user, placed.sku, key="one", answer_at_once=lambda _order: idempotency.Answer(202, "{}"))
    Placement(database, settings).place([first])
    placed.delete()
    [again] = Placement(database, settings).place([to_place(placed.user, placed.sku, key="one")])
    assert isinstance(again, Unauthenticated)
    with database.reading() as session:
        assert session.scalars(select(IdempotencyKey)).all() == []
        assert session.scalars(select(LoginSession)).all() == []
