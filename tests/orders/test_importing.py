"""Importing orders into a database: where they land, and that every further run adds only what is missing."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import func, select

from orderkit import schema
from orderkit.auth.models import User
from orderkit.catalog.models import Product
from orderkit.db import Database
from orderkit.events.models import OutboxEvent
from orderkit.inventory.models import StockMovement
from orderkit.orders import importing, states
from orderkit.orders.importing import GUEST, Imported
from orderkit.orders.models import Order, OrderHistory, OrderItem
from orderkit.orders.states import OrderStatus
from orderkit.payments.models import Payment, PaymentStatus, Refund, RefundStatus
from tests.factories import make_product
from tests.processes import Processes

SAMPLE = Path(__file__).with_name("data") / "online-retail-sample.csv"
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"


def line(
    invoice: str, code: str = "A", quantity: int = 1, price: str = "1.00", day: int = 1, customer: str = "17850"
) -> str:
    return f"{invoice},{code},Thing {code},{quantity},12/{day}/2010 8:26,{price},{customer},United Kingdom\n"


Import = Callable[..., Imported]


@pytest.fixture
def run(database: Database, tmp_path: Path) -> Import:
    """Imports lines of the online-retail format, or a file."""

    def run(*lines: str, file: Path | None = None, format_name: str | None = None, **more: Any) -> Imported:
        if file is None:
            file = tmp_path / "orders.csv"
            file.write_text(HEADER + "".join(lines))
        return importing.execute(database, importing.load(file, format_name), **more)

    return run


def rows(database: Database, model: type[Any]) -> list[Any]:
    with database.reading() as session:
        return list(session.exec(select(model)))


def one(database: Database, model: type[Any]) -> Any:
    [row] = rows(database, model)
    return row


def everything(database: Database) -> dict[str, list[Any]]:
    """Every row of every table."""
    with database.reading() as session:
        return {
            table.name: sorted(map(repr, session.connection().execute(table.select())))
            for table in schema.metadata.sorted_tables
        }


def outcome(database: Database) -> list[Any]:
    """What an import leaves, without the ids that differ from run to run."""
    query = text("""
        SELECT u.email, o.idempotency_key, o.status, o.currency, o.total, o.version, p.status, p.amount, p.refunded,
               (SELECT count(*) FROM order_items i WHERE i.order_id = o.id),
               (SELECT coalesce(sum(i.line_total), 0) FROM order_items i WHERE i.order_id = o.id),
               (SELECT count(*) FROM order_history h WHERE h.order_id = o.id),
               (SELECT count(*) FROM outbox e WHERE e.order_id = o.id),
               (SELECT count(*) FROM refunds r WHERE r.payment_id = p.id)
        FROM orders o JOIN users u ON u.id = o.user_id JOIN payments p ON p.order_id = o.id ORDER BY 1, 2
    """)
    with database.reading() as session:
        return [tuple(row) for row in session.connection().execute(query)]


def assert_invariants_hold(database: Database) -> None:
    """I4 refunds at most what was taken, I5 stock adds up, I7 histories follow the transition table."""
    given_back: dict[Any, int] = {}
    for refund in rows(database, Refund):
        if refund.status != RefundStatus.FAILED:
            given_back[refund.payment_id] = given_back.get(refund.payment_id, 0) + refund.amount
    for payment in rows(database, Payment):
        assert payment.refunded == given_back.get(payment.id, 0) <= payment.amount
    holding = {order.id for order in rows(database, Order) if order.status not in ("cancelled", "payment_failed")}
    balance: dict[str, int] = {product.sku: product.stock for product in rows(database, Product)}
    assert min(balance.values()) >= 0
    for item in rows(database, OrderItem):
        balance[item.sku] += item.quantity if item.order_id in holding else 0
    for movement in rows(database, StockMovement):
        balance[movement.sku] -= movement.delta
    assert set(balance.values()) == {0}
    last: dict[Any, str] = {}
    for step in sorted(rows(database, OrderHistory), key=lambda step: step.version):
        before = last.get(step.order_id)
        assert step.from_status == before
        if before is None:
            assert step.to_status in (OrderStatus.DELIVERED, OrderStatus.PENDING)
        else:
            states.check(before, OrderStatus(step.to_status))
        last[step.order_id] = step.to_status
    assert last == {order.id: order.status for order in rows(database, Order)}


# ── where orders land ────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_order_lands_delivered_at_its_own_date_with_an_imported_payment(database: Database, run: Import) -> None:
    result = run(line("536365", "A", 2, "2.55", day=14), line("536365", "GIFT", 1, "0", day=14))
    order, payment = one(database, Order), one(database, Payment)
    placed_at = datetime(2010, 12, 14, 8, 26, tzinfo=UTC)
    assert (order.status, order.total, order.currency, order.version) == (OrderStatus.DELIVERED, 510, "GBP", 1)
    assert (order.created_at, order.note) == (placed_at, "online-retail 536365, United Kingdom")
    assert order.country == "United Kingdom"
    assert (payment.status, payment.amount, payment.refunded) == (PaymentStatus.IMPORTED, 510, 0)
    assert (payment.created_at, payment.provider_reference) == (placed_at, None)
    items = {
        item.sku: (item.name, item.quantity, item.unit_price, item.line_total) for item in rows(database, OrderItem)
    }
    assert items == {"A": ("Thing A", 2, 255, 510), "GIFT": ("Thing GIFT", 1, 0, 0)}
    history = one(database, OrderHistory)
    assert (history.from_status, history.to_status, history.at) == (None, OrderStatus.DELIVERED, placed_at)
    event = one(database, OutboxEvent)
    assert (event.type, event.sequence, event.payload["total"]) == ("order.imported", 1, 510)
    assert (result.read, result.taken, result.orders_created, result.gross_by_day) == (2, 2, 1, {"2010-12-14": 510})


def test_nothing_is_left_for_a_gateway_or_a_carrier_to_do(database: Database, run: Import) -> None:
    run(file=SAMPLE)
    unresolved = {PaymentStatus.CREATED, PaymentStatus.UNKNOWN}
    assert unresolved.isdisjoint(payment.status for payment in rows(database, Payment))
    assert {refund.status for refund in rows(database, Refund)} == {RefundStatus.SUCCEEDED}
    assert [table for table in ("fulfillments", "payment_attempts") if everything(database)[table]] == []


def test_customers_are_users_who_cannot_log_in_and_nobody_is_the_guest(database: Database, run: Import) -> None:
    run(line("1"), line("2", day=2), line("3", customer="13047"), line("4", customer=""))
    users = {user.email: (user.name, user.password_hash) for user in rows(database, User)}
    assert users == {
        "customer-17850@online-retail.invalid": ("Customer 17850", None),
        "customer-13047@online-retail.invalid": ("Customer 13047", None),
        GUEST: ("guest", None),
    }


def test_a_product_has_the_name_given_most_often_and_the_latest_price(database: Database, run: Import) -> None:
    names = ["damages", "RED MUG", "RED MUG", "", "MUG, RED"]
    run(*(f'{n},A,"{name}",1,12/{n}/2010 9:00,{n}.50,,France\n' for n, name in enumerate(names, start=1)))
    product = one(database, Product)
    assert (product.sku, product.name, product.unit_price, product.currency) == ("A", "RED MUG", 550, "GBP")
    assert [item.name for item in sorted(rows(database, OrderItem), key=lambda item: item.unit_price)] == [
        name or "RED MUG" for name in names
    ]


def test_a_product_that_is_in_the_catalog_stays_as_it_is(database: Database, run: Import) -> None:
    make_product(database, sku="A", name="Ours", unit_price=999, stock=7)
    run(line("1", "A", 50))
    product = one(database, Product)
    assert (product.name, product.unit_price, product.stock) == ("Ours", 999, 7)
    assert_invariants_hold(database)


def test_cancellations_are_refunds_at_their_own_date(database: Database, run: Import) -> None:
    run(line("1", quantity=5), line("C2", quantity=-2, day=3))
    refund, payment, order = one(database, Refund), one(database, Payment), one(database, Order)
    assert (refund.amount, refund.reason, refund.status) == (200, "cancelled by C2", RefundStatus.SUCCEEDED)
    assert refund.created_at == datetime(2010, 12, 3, 8, 26, tzinfo=UTC)
    assert (payment.refunded, order.status) == (200, OrderStatus.DELIVERED)


def test_an_order_that_was_given_back_altogether_is_refunded(database: Database, run: Import) -> None:
    run(line("1", quantity=5), line("C2", quantity=-2, day=3), line("C3", quantity=-3, day=4))
    order = one(database, Order)
    assert (order.status, order.version) == (OrderStatus.REFUNDED, 2)
    history = [(step.from_status, step.to_status, step.at.day) for step in rows(database, OrderHistory)]
    assert sorted(history, key=lambda step: step[2]) == [
        (None, OrderStatus.DELIVERED, 1),
        (OrderStatus.DELIVERED, OrderStatus.REFUNDED, 4),
    ]
    assert [event.type for event in rows(database, OutboxEvent)] == ["order.imported"]


def test_the_sample_is_taken_line_by_line_and_the_invariants_hold(database: Database, run: Import) -> None:
    result = run(file=SAMPLE)
    assert (result.read, result.taken, len(result.rejected)) == (196, 180, 16)
    assert (result.orders_created, result.refunds_created, result.in_part) == (33, 7, 1)
    assert sum(result.gross_by_day.values()) == sum(result.gross_by_country.values()) == 1_173_675
    with database.reading() as session:
        assert session.exec(select(func.sum(Order.total))).one() == 1_173_675
    assert_invariants_hold(database)


# ── again, and after an interruption ─────────────────────────────────────────────────────────────────────────────────


def test_a_second_run_adds_nothing_and_answers_the_same(database: Database, run: Import) -> None:
    first = run(file=SAMPLE)
    before = everything(database)
    second = run(file=SAMPLE)
    assert everything(database) == before
    assert (second.orders_created, second.refunds_created) == (0, 0)
    assert (first.there_before, second.there_before) == (0, second.taken)
    assert (second.read, second.taken, second.rejected) == (first.read, first.taken, first.rejected)
    assert (second.gross_by_day, second.gross_by_country) == (first.gross_by_day, first.gross_by_country)


class Killed(Exception):
    pass


@pytest.mark.parametrize("batches", [1, 2, 5])
def test_an_import_that_stopped_between_batches_is_completed_by_running_it_again(
    database: Database, run: Import, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    monkeypatch.setattr(importing, "BATCH_ORDERS", 5)
    done: list[int] = []

    def stop(lines: int) -> None:
        done.append(lines)
        if len(done) == batches:
            raise Killed

    with pytest.raises(Killed):
        run(file=SAMPLE, progress=stop)
    assert len(rows(database, Order)) == 5 * batches
    assert_invariants_hold(database)
    result = run(file=SAMPLE)
    assert result.orders_created == 33 - 5 * batches
    assert len(rows(database, Order)) == 33
    assert len(rows(database, Refund)) == 7
    assert_invariants_hold(database)
    resumed = outcome(database)
    with database.transaction() as session:
        for table in reversed(schema.metadata.sorted_tables):
            if table.name in ("roles", "role_permissions"):  # given with the schema
                continue
            session.connection().execute(table.delete())
    run(file=SAMPLE)
    assert resumed == outcome(database)


def test_a_batch_that_fails_leaves_nothing_of_itself(
    database: Database, run: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_more: object) -> None:
        raise Killed

    monkeypatch.setattr("orderkit.inventory.stock.pass_through", fail)
    with pytest.raises(Killed):
        run(file=SAMPLE)
    assert rows(database, Order) == rows(database, Payment) == rows(database, Refund) == []


def test_a_file_that_has_grown_adds_what_is_new_also_to_orders_that_are_there(database: Database, run: Import) -> None:
    lines = [line("1", quantity=5), line("C2", quantity=-1, day=2)]
    run(*lines)
    result = run(*lines, line("3", "B", day=3), line("C4", quantity=-4, day=4))
    assert (result.orders_created, result.refunds_created, result.taken, result.there_before) == (1, 1, 4, 2)
    assert sorted(refund.amount for refund in rows(database, Refund)) == [100, 400]
    assert {order.idempotency_key: order.status for order in rows(database, Order)} == {
        "online-retail:1": OrderStatus.REFUNDED,
        "online-retail:3": OrderStatus.DELIVERED,
    }
    assert_invariants_hold(database)


def test_no_more_is_given_back_than_others_have_left(database: Database, run: Import) -> None:
    run(line("1", quantity=5))
    with database.transaction() as session:
        payment = session.exec(select(Payment)).one()
        payment.refunded = 300
        session.add(payment)
        now = payment.created_at
        session.add(Refund(payment_id=payment.id, amount=300, currency="GBP", reason="by hand", run_at=now))
    run(line("1", quantity=5), line("C2", quantity=-4, day=2))
    assert sorted(refund.amount for refund in rows(database, Refund)) == [200, 300]
    assert one(database, Order).status == OrderStatus.REFUNDED
    assert_invariants_hold(database)


def test_an_order_whose_total_changed_in_the_file_stays_and_its_lines_are_rejected(
    database: Database, run: Import
) -> None:
    run(line("1", quantity=5))
    before = everything(database)
    result = run(line("1", quantity=6), line("1", "B"))
    assert [(one.record.line, one.reason) for one in result.rejected] == [
        (n, "the order was imported before with another total, and orders do not change") for n in (2, 3)
    ]
    assert (result.taken, result.orders_created, result.gross_by_day) == (0, 0, {})
    after = everything(database)
    assert [after[table] == before[table] for table in ("orders", "order_items", "payments")] == [True] * 3


def test_two_imports_at_once_bring_each_order_once(
    database: Database, run: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH_ORDERS", 3)
    start = threading.Barrier(2)
    results: list[Imported] = []

    def work() -> None:
        start.wait()
        results.append(run(file=SAMPLE))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(result.orders_created for result in results) == len(rows(database, Order)) == 33
    assert sum(result.refunds_created for result in results) == len(rows(database, Refund)) == 7
    assert_invariants_hold(database)


def test_a_killed_import_is_completed_by_running_it_again(
    database: Database, processes: Processes, tmp_path: Path
) -> None:
    """A real process, killed with SIGKILL once it has committed something and while it is at work on the rest."""
    count = 2_000
    file = tmp_path / "many.csv"
    file.write_text(
        HEADER
        + "".join(line(str(n), code, 3, day=1 + n * 20 // count) for n in range(count) for code in "ABCDEF")
        + "".join(line(f"C{n}", "A", -1, day=25) for n in range(20))
    )
    command = ("import", "orders", str(file))

    def committed() -> int:
        with database.reading() as session:
            return session.exec(select(func.count()).select_from(Order)).one()

    process = processes.start(*command)
    deadline = time.monotonic() + 60
    while committed() == 0 and process.is_running and time.monotonic() < deadline:
        time.sleep(0.002)
    assert process.kill() == -signal.SIGKILL
    stopped_at = committed()
    assert 0 < stopped_at < count
    assert_invariants_hold(database)

    finished = processes.run(*command)
    assert finished.returncode == 0, finished.stderr
    assert f"{count - stopped_at:,} orders created" in finished.stdout
    assert committed() == count
    assert len(rows(database, Refund)) == 20
    assert_invariants_hold(database)


# ── the plain format ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_example_file_is_recognised_and_imported(database: Database, run: Import) -> None:
    example = Path(__file__).parents[2] / "docs/examples/orders.csv"
    result = run(file=example)
    assert (result.read, result.taken, len(result.rejected), result.orders_created) == (14, 11, 3, 7)
    assert (result.currency, sum(result.gross_by_day.values())) == ("EUR", 25_710)
    emails = {user.email for user in rows(database, User)}
    assert emails == {*(f"buyer{n}@example.com" for n in (1, 2, 3, 5)), GUEST}
    assert_invariants_hold(database)


def test_a_customer_who_is_a_user_already_keeps_the_account(database: Database, run: Import) -> None:
    with database.transaction() as session:
        session.add(User(email="buyer1@example.com", name="Known", password_hash="hash"))
    run(file=Path(__file__).parents[2] / "docs/examples/orders.csv")
    [known] = [user for user in rows(database, User) if user.email == "buyer1@example.com"]
    assert (known.name, known.password_hash) == ("Known", "hash")
    assert {order.idempotency_key for order in rows(database, Order) if order.user_id == known.id} == {
        "csv:1001",
        "csv:1005",
    }
