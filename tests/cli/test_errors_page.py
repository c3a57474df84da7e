"""docs/errors.md, which is printed from the table that answers are made of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from orderkit import errors
from orderkit.api import problems
from orderkit.api.examples import refusals, world
from orderkit.cli import errors_page
from orderkit.db import Database
from orderkit.settings import Settings
from tests.client import Answer, running
from tests.factories import make_product, make_user

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def engine_name() -> str:
    """One engine will do: it is about what errors say."""
    return "sqlite"


@pytest.fixture(scope="module")
def examples() -> dict[str, Any]:
    """The document of each code's example."""
    found = re.findall(r"(?s)### (\w+)\n.*?```http\n(.*?)\n```", errors_page.text())
    return {code: json.loads(example.partition("\n\n")[2]) for code, example in found}


def test_the_page_is_what_the_command_prints() -> None:
    committed = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert committed == errors_page.text(), "run: orderkit openapi --errors -o docs/errors.md"


def test_every_code_has_a_section_with_an_example_of_its_own(examples: dict[str, Any]) -> None:
    assert examples.keys() == problems.KINDS.keys()
    for code, example in examples.items():
        assert (example["code"], example["status"]) == (code, problems.KINDS[code].status)
        assert example["type"] == f"/problems/{code}"


def test_every_error_of_the_domains_is_among_the_examples() -> None:
    raised = {one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.OrderkitError)}
    shown = {type(one) for one in refusals.EXAMPLES}
    assert {one.code for one in raised - {errors.OrderkitError}} == {one.code for one in shown}


def test_the_examples_are_as_the_api_answers(settings: Settings, database: Database, examples: dict[str, Any]) -> None:
    make_product(database, sku="TEA-001", stock=1, unit_price=2099)
    body = {"items": [{"sku": "TEA-001", "quantity": 1}], "payment_method": "pm_card_visa"}
    with running(settings) as api:
        user, admin = api.token(make_user(database)), api.token(make_user(database, role="admin"))

        def order(key: str, **more: Any) -> Answer:
            return api.post("/orders", body | more, user | {"Idempotency-Key": key})

        answers = [
            api.post("/orders", body, user),
            api.post("/orders", b"[1, ", user | {"Content-Type": "application/json"}),
            api.post("/orders", b"x" * 70_000, user),
            api.post("/orders", b"{}", user),
            api.post("/webhooks/carrier", {}),
            api.get("/users/me"),
            api.get("/users", user),
            api.get(f"/orders/{world.ORDER_ID}", user),
            api.get("/orders?cursor=x", user),
            api.get("/orders?limit=101", user),
            api.post("/token"),
            order("a", payment_method="pm_card_declined"),
            order("a"),
            order("b", expected_total=3998, items=[{"sku": "TEA-001", "quantity": 2}]),
            order("c", items=[{"sku": "TEA-001", "quantity": 2}]),
            api.post("/orders", body, [*user.items(), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]),
            api.run(api.call("DELETE", "/products")),
            api.post("/products", {"sku": "TEA-001", "name": "T", "unit_price": 1, "currency": "GBP"}, admin),
        ]
        paid = order("d").headers["location"]
        answers += [
            api.patch(paid, {"staff_note": "x"}, admin),
            api.patch(paid, {"staff_note": "x"}, admin | {"If-Match": '"99"'}),
            api.patch(paid, {"status": "refunded"}, admin | {"If-Match": "*"}),
        ]
    seen = {answer.code: answer for answer in answers}
    assert len(seen) == 20
    same: tuple[str, ...] = (
        "payment_declined",
        "price_changed",
        "out_of_stock",
        "unauthenticated",
        "method_not_allowed",
        "cursor_invalid",
    )
    same += ("idempotency_key_reused", "idempotency_key_missing", "idempotency_key_malformed", "precondition_required")
    for code, answer in seen.items():
        assert answer.json().keys() == examples[code].keys(), code
        if code in same:
            assert answer.json()["detail"] == examples[code]["detail"]
