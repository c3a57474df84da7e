"""Refunds over HTTP: who may ask, what is answered, and that a key pays once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from sqlmodel import select

from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.payments.models import Refund
from tests.client import Answer, Client
from tests.engines import decided_by_the_request
from tests.factories import PASSWORD, make_product, make_user
from tests.threads import at_once

PRICE = 500


@pytest.fixture(autouse=True)
def tea(database: Database) -> None:
    make_product(database, sku="TEA", unit_price=PRICE, stock=10)


@pytest.fixture
def support(api: Client, database: Database) -> dict[str, str]:
    return api.token(make_user(database, role="support", password=PASSWORD))


@pytest.fixture
def order(api: Client, customer: dict[str, str]) -> dict[str, Any]:
    """A paid one of 4 pieces."""
    body = {"items": [{"sku": "TEA", "quantity": 4}], "payment_method": "pm_card_visa"}
    answer = api.post("/orders", body, customer | {"Idempotency-Key": "k"})
    assert answer.status == 201
    made: dict[str, Any] = answer.json()
    return made


def refund(api: Client, who: dict[str, str], order_id: str, key: str = "r", **wanted: Any) -> Answer:
    body = {"reason": "broken"} | wanted
    return api.post(f"/orders/{order_id}/refunds", body, who | {"Idempotency-Key": key})


def send(api: Client, database: Database, order_id: str) -> None:
    """Ships an order by hand."""
    admin = api.token(make_user(database, role="admin", password=PASSWORD))
    assert api.patch(f"/orders/{order_id}", {"status": "shipped"}, admin | {"If-Match": "*"}).status == 200


def test_a_refund_answers_201_with_all_its_members(
    api: Client, support: dict[str, str], customer: dict[str, str], order: dict[str, Any], database: Database
) -> None:
    send(api, database, order["id"])
    order = api.get(f"/orders/{order['id']}", customer).json()
    answer = refund(api, support, order["id"], lines=[{"sku": "TEA", "quantity": 2}], restock=True)

    made = answer.json()
    assert answer.status == 201
    assert (
        made.items()
        >= {
            "order_id": order["id"],
            "amount": 2 * PRICE,
            "currency": "GBP",
            "status": "pending",
            "reason": "broken",
            "restock": True,
            "lines": [{"line": 1, "sku": "TEA", "quantity": 2}],
        }.items()
    )
    assert answer.headers["location"] == f"/orders/{order['id']}/refunds/{made['id']}"
    assert "idempotent-replayed" not in answer.headers
    assert api.get(answer.headers["location"], customer).json() == made
    now = api.get(f"/orders/{order['id']}", customer)
    assert now.json()["payment"]["refunded"] == 2 * PRICE
    assert now.headers["etag"] != f'"{order["version"]}"'


def test_without_an_amount_it_is_all_that_is_left_and_then_nothing_is(
    api: Client, support: dict[str, str], order: dict[str, Any]
) -> None:
    assert refund(api, support, order["id"], "a", amount=300).status == 201
    assert refund(api, support, order["id"], "b").json()["amount"] == 4 * PRICE - 300
    answer = refund(api, support, order["id"], "c", amount=1)
    assert (answer.status, answer.code, answer.json()["left"]) == (409, "conflict", 0)


def test_more_than_was_captured_is_refused_and_the_key_can_be_used_again(
    api: Client, support: dict[str, str], order: dict[str, Any]
) -> None:
    answer = refund(api, support, order["id"], amount=4 * PRICE + 1)
    assert (answer.status, answer.code, answer.json()["left"]) == (409, "conflict", 4 * PRICE)
    answer = refund(api, support, order["id"], amount=4 * PRICE)
    assert answer.status == 201
    assert "idempotent-replayed" not in answer.headers


def test_a_repeated_key_answers_the_same_and_pays_once(
    api: Client, support: dict[str, str], order: dict[str, Any], database: Database
) -> None:
    first = refund(api, support, order["id"], amount=100)
    again = api.post(
        f"/orders/{order['id']}/refunds",
        b'{ "amount": 100,\n"reason":"broken" }',
        support | {"Idempotency-Key": '"r"', "Content-Type": "application/json"},
    )
    assert (again.status, again.body) == (201, first.body)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert refunds(database) == [100]


def test_one_key_twenty_times_at_once_is_one_refund(
    api: Client, support: dict[str, str], order: dict[str, Any], database: Database
) -> None:
    given = at_once(*[lambda: refund(api, support, order["id"], amount=100)] * 20)
    assert Counter(one.status for one in given) == {201: 20}
    assert len({one.body for one in given}) == 1
    assert sum("idempotent-replayed" in one.headers for one in given) == 19
    assert refunds(database) == [100]


def test_a_key_is_good_for_one_request_only(
    api: Client, support: dict[str, str], order: dict[str, Any], database: Database
) -> None:
    placed = {"items": [{"sku": "TEA", "quantity": 1}], "payment_method": "pm_card_visa"}
    other = api.post("/orders", placed, support | {"Idempotency-Key": "of-an-order"})
    assert other.status == 201
    assert refund(api, support, order["id"], amount=100).status == 201

    for answer in (
        refund(api, support, order["id"], amount=101),
        refund(api, support, order["id"], amount=100, restock=False),
        refund(api, support, other.json()["id"], amount=100),
        refund(api, support, order["id"], "of-an-order", amount=100),
        api.post("/orders", placed, support | {"Idempotency-Key": "r"}),
    ):
        assert (answer.status, answer.code) == (422, "idempotency_key_reused")
    assert refunds(database) == [100]


def test_goods_of_an_order_that_was_not_shipped_cannot_be_restocked(
    api: Client, support: dict[str, str], order: dict[str, Any], database: Database
) -> None:
    answer = refund(api, support, order["id"], restock=True)

    assert (answer.status, answer.code) == (409, "conflict")
    assert answer.json()["detail"] == "the goods have not left; cancel the order, or refund all of it"
    send(api, database, order["id"])
    made = refund(api, support, order["id"], restock=True)
    assert (made.status, made.json()["lines"]) == (201, [{"line": 1, "sku": "TEA", "quantity": 4}])


@decided_by_the_request
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"amount": 0}, "#/amount"),
        ({"amount": -1}, "#/amount"),
        ({"amount": 2**53}, "#/amount"),
        ({"amount": 1.5}, "#/amount"),
        ({"amount": "1"}, "#/amount"),
        ({"amount": True}, "#/amount"),
        ({"amount": None}, "#/amount"),
        ({"lines": None}, "#/lines"),
        ({"lines": []}, "#/lines"),
        ({"lines": [{"sku": "TEA", "quantity": 0}]}, "#/lines/0/quantity"),
        ({"lines": [{"quantity": 1}]}, "#/lines/0"),
        ({"lines": [{"sku": "TEA", "line": 1, "quantity": 1}]}, "#/lines/0"),
        ({"lines": [{"line": 0, "quantity": 1}]}, "#/lines/0/line"),
        ({"amount": 1, "lines": [{"sku": "TEA", "quantity": 1}]}, "#"),
        ({"amount": 1, "restock": True}, "#/restock"),
        ({"restock": "yes"}, "#/restock"),
        ({"reason": " "}, "#/reason"),
        ({"reason": "card 4242 4242 4242 4242"}, "#/reason"),
        ({"reason": None}, "#/reason"),
        ({"why": "x"}, "#/why"),
    ],
)
def test_what_cannot_be_taken_is_pointed_at(
    api: Client, support: dict[str, str], order: dict[str, Any], database: Database, body: Any, pointer: str
) -> None:
    answer = refund(api, support, order["id"], **body)
    assert (answer.status, answer.code, answer.pointers) == (422, "validation_failed", [pointer])
    assert refunds(database) == []


@pytest.mark.parametrize(
    ("line", "pointer"), [({"sku": "CUP"}, "#/lines/0/sku"), ({"line": 2}, "#/lines/0/line")], ids=["sku", "number"]
)
def test_a_line_that_the_order_has_not_is_pointed_at(
    api: Client,
    support: dict[str, str],
    order: dict[str, Any],
    database: Database,
    line: dict[str, Any],
    pointer: str,
) -> None:
    answer = refund(api, support, order["id"], lines=[line | {"quantity": 1}])
    assert (answer.status, answer.code, answer.pointers) == (422, "validation_failed", [pointer])
    assert refunds(database) == []


def test_a_refund_needs_a_key_and_a_reason(api: Client, support: dict[str, str], order: dict[str, Any]) -> None:
    path = f"/orders/{order['id']}/refunds"
    missing = api.post(path, {"reason": "x"}, support)
    assert missing.code == "idempotency_key_missing"
    assert missing.json()["detail"].endswith("for each new refund")
    answer = api.post(path, {"reason": "x"}, support | {"Idempotency-Key": '"'})
    assert (answer.status, answer.code) == (400, "idempotency_key_malformed")
    assert api.post(path, {}, support | {"Idempotency-Key": "r"}).pointers == ["#/reason"]


def test_only_whoever_may_gives_money_back_and_an_absent_order_is_not_found(
    api: Client, customer: dict[str, str], support: dict[str, str], order: dict[str, Any], database: Database
) -> None:
    operations = api.token(make_user(database, role="operations", password=PASSWORD))
    for who in (customer, operations):
        assert refund(api, who, order["id"]).status == 403
    assert refund(api, {}, order["id"]).status == 401
    assert refund(api, support, str(new_id())).code == "not_found"
    assert refunds(database) == []


def test_an_order_that_is_not_paid_has_nothing_to_give_back(
    api: Client, customer: dict[str, str], support: dict[str, str]
) -> None:
    body = {"items": [{"sku": "TEA", "quantity": 1}], "payment_method": "pm_card_visa"}
    placed = api.post("/orders", body, customer | {"Idempotency-Key": "p", "Prefer": "respond-async"}).json()
    answer = refund(api, support, placed["id"])
    assert (answer.status, answer.code) == (409, "conflict")


def test_refunds_are_listed_newest_first_page_by_page_to_the_owner_and_to_staff(
    api: Client, customer: dict[str, str], support: dict[str, str], order: dict[str, Any], database: Database
) -> None:
    made = [refund(api, support, order["id"], f"r{n}", amount=10 + n).json() for n in range(5)]
    path = f"/orders/{order['id']}/refunds"

    for who in (customer, support):
        first = api.get(f"{path}?limit=3", who).json()
        rest = api.get(f"{path}?limit=3&cursor={first['next_cursor']}", who).json()
        assert [*first["items"], *rest["items"]] == made[::-1]
        assert rest["next_cursor"] is None
    assert api.get(f"{path}?cursor=x", customer).code == "cursor_invalid"


def test_refunds_of_anothers_order_are_those_of_an_order_that_is_not_there(
    api: Client, support: dict[str, str], order: dict[str, Any], database: Database
) -> None:
    made = refund(api, support, order["id"], amount=1).json()
    stranger = api.token(make_user(database, password=PASSWORD))
    for path in (f"/orders/{order['id']}/refunds", f"/orders/{order['id']}/refunds/{made['id']}"):
        absent = path.replace(order["id"], str(new_id()))
        assert (api.get(path, stranger).status, api.get(absent, stranger).status) == (404, 404)
        assert api.get(path, stranger).json()["detail"].replace(order["id"], "") == api.get(absent, stranger).json()[
            "detail"
        ].replace(absent.split("/")[2], "")
        assert api.get(path).status == 401
    assert api.get(f"/orders/{order['id']}/refunds/{new_id()}", support).code == "not_found"


def refunds(database: Database) -> list[int]:
    with database.reading() as session:
        return list(session.exec(select(Refund.amount)))
