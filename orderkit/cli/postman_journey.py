"""The whole journey, as requests that Postman sends one after the other and tests that it makes of the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NAME = "The whole journey"
DESCRIPTION = """A customer registers, orders, loses an answer and repeats the request, cancels; an admin delivers, pays back, and
decides about a parcel that the carrier never took. Run the folder; its requests go in order, and each tests what it was answered.

Before: `orderkit migrate`, `orderkit users create admin@example.com --admin`, `orderkit serve` and `orderkit worker`, with
the test providers that development has; then set `adminEmail` and `adminPassword`. It takes about half a minute, most of which
the worker tries again and again to ship a parcel that nobody takes. It can be run as often as you like."""

ADMIN, CUSTOMER = "{{adminToken}}", "{{token}}"
OWN_VARIABLES = ("total", "orderKey", "refundKey", "cancelledId", "unshippableId", "tries")


@dataclass(frozen=True)
class Step:
    """One request, and what is expected of its answer. `before` and `after` are lines of JavaScript.

    `who` is the token to send; None for no token.
    """

    name: str
    operation: str
    status: int
    who: str | None = CUSTOMER
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    form: Mapping[str, str] = field(default_factory=dict)
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


def _test(what: str, *expectations: str) -> str:
    return f'pm.test("{what}", () => {{ {" ".join(f"{one};" for one in expectations)} }});'


def _keep(name: str, expression: str) -> str:
    return f'pm.collectionVariables.set("{name}", {expression});'


def _until(condition: str, what: str, *expectations: str) -> tuple[str, ...]:
    """Asks again, every half second for a minute, until `condition` holds of `answer`; then tests."""
    return (
        "const answer = pm.response.json();",
        'const tries = Number(pm.collectionVariables.get("tries") || 0) + 1;',
        f"if (!({condition}) && tries < 120) {{",
        '    pm.collectionVariables.set("tries", String(tries));',
        "    pm.execution.setNextRequest(pm.info.requestName);",
        "    setTimeout(() => {}, 500);",
        "} else {",
        '    pm.collectionVariables.set("tries", "0");',
        f"    {_test(what, *expectations)}",
        "}",
    )


def _order(quantity: int = 2, method: str = "pm_card_visa", postal_code: str = "N1 9GU", more: str = "") -> str:
    return f"""{{
  "items": [{{"sku": "{{{{sku}}}}", "quantity": {quantity}}}],
  "payment_method": "{method}",{more}
  "shipping_address": {{
    "name": "Ada Example", "line1": "1 High Street", "city": "London", "postal_code": "{postal_code}", "country": "GB"
  }}
}}"""


_NEW_KEY = {"Idempotency-Key": "{{$guid}}"}
_IS_PROBLEM = 'pm.expect(pm.response.headers.get("Content-Type")).to.include("application/problem+json")'
_FIRST_ORDER = _order(more='\n  "expected_total": {{total}},')


def _refused(code: str, *more: str) -> str:
    return _test(f"says {code}", _IS_PROBLEM, f'pm.expect(pm.response.json().code).to.eql("{code}")', *more)


_CUSTOMER_COMES = (
    Step(
        "Is it ready?",
        "GET /health/ready",
        200,
        who=None,
        after=(_test("all that is needed is there", 'pm.expect(pm.response.json().checks.database).to.eql("ok")'),),
    ),
    Step(
        "The admin logs in",
        "POST /token",
        200,
        who=None,
        form={"grant_type": "password", "username": "{{adminEmail}}", "password": "{{adminPassword}}"},
        after=(_keep("adminToken", "pm.response.json().access_token"), _keep("tries", '"0"')),
    ),
    Step(
        "The admin adds a product",
        "POST /products",
        201,
        who=ADMIN,
        before=(_keep("sku", '"JOURNEY-" + pm.variables.replaceIn("{{$guid}}").slice(0, 8)'),),
        body='{\n  "sku": "{{sku}}", "name": "Journey tea, 100 g", "unit_price": 1999, "currency": "GBP", "stock": 10\n}',
        after=(_test("it can be ordered", "pm.expect(pm.response.json().stock).to.eql(10)"),),
    ),
    Step(
        "A customer registers",
        "POST /register",
        201,
        who=None,
        before=(_keep("email", '"journey-" + pm.variables.replaceIn("{{$guid}}") + "@example.com"'),),
        body='{\n  "email": "{{email}}", "password": "{{password}}", "name": "Ada Example"\n}',
        after=(
            _keep("userId", "pm.response.json().id"),
            _test("no password comes back", 'pm.expect(pm.response.text()).to.not.include("assword")'),
        ),
    ),
    Step(
        "The customer logs in",
        "POST /token",
        200,
        who=None,
        form={"grant_type": "password", "username": "{{email}}", "password": "{{password}}"},
        after=(
            _keep("token", "pm.response.json().access_token"),
            _keep("refreshToken", "pm.response.json().refresh_token"),
        ),
    ),
    Step(
        "Who am I?",
        "GET /users/me",
        200,
        after=(
            _test(
                "the one who registered",
                'pm.expect(pm.response.json().email).to.eql(pm.collectionVariables.get("email"))',
            ),
        ),
    ),
    Step(
        "What can be bought?",
        "GET /products",
        200,
        who=None,
        query={"limit": "5"},
        after=(
            _test("a page of at most five", "pm.expect(pm.response.json().items.length).to.be.within(1, 5)"),
            _test("that says how to go on", 'pm.expect(pm.response.json()).to.have.property("next_cursor")'),
        ),
    ),
    Step(
        "What does it cost?",
        "GET /products/{sku}",
        200,
        who=None,
        after=(_keep("total", "String(2 * pm.response.json().unit_price)"),),
    ),
)

_ORDERS = (
    Step(
        "Order two, at no other price",
        "POST /orders",
        201,
        before=(_keep("orderKey", 'pm.variables.replaceIn("{{$guid}}")'),),
        headers={"Idempotency-Key": "{{orderKey}}"},
        body=_FIRST_ORDER,
        after=(
            "const order = pm.response.json();",
            _test(
                "is paid",
                'pm.expect(order.status).to.eql("paid")',
                'pm.expect(order.payment.status).to.eql("captured")',
            ),
            _test("costs what was seen", 'pm.expect(String(order.total)).to.eql(pm.collectionVariables.get("total"))'),
            _test("says where it is", 'pm.expect(pm.response.headers.get("Location")).to.eql("/orders/" + order.id)'),
            _test("is new", 'pm.expect(pm.response.headers.has("Idempotent-Replayed")).to.eql(false)'),
            _keep("orderId", "order.id"),
        ),
    ),
    Step(
        "The same again, as if the answer was lost",
        "POST /orders",
        201,
        headers={"Idempotency-Key": "{{orderKey}}"},
        body=_FIRST_ORDER,
        after=(
            _test(
                "is the same order", 'pm.expect(pm.response.json().id).to.eql(pm.collectionVariables.get("orderId"))'
            ),
            _test("and says so", 'pm.expect(pm.response.headers.get("Idempotent-Replayed")).to.eql("true")'),
        ),
    ),
    Step(
        "The same key for something else",
        "POST /orders",
        422,
        headers={"Idempotency-Key": "{{orderKey}}"},
        body=_order(3),
        after=(_refused("idempotency_key_reused"),),
    ),
    Step(
        "A card that is declined",
        "POST /orders",
        402,
        headers=_NEW_KEY,
        body=_order(method="pm_card_declined"),
        after=(_refused("payment_declined", 'pm.expect(pm.response.json().order_status).to.eql("payment_failed")'),),
    ),
    Step(
        "More than there is",
        "POST /orders",
        409,
        headers=_NEW_KEY,
        body=_order(100),
        after=(
            _refused("out_of_stock", 'pm.expect(pm.response.json().skus).to.eql([pm.collectionVariables.get("sku")])'),
        ),
    ),
    Step(
        "What did I order?",
        "GET /orders",
        200,
        after=(
            _test(
                "one order that was paid for, and one that was not",
                "const statuses = pm.response.json().items.map((one) => one.status)",
                "pm.expect(statuses.length).to.eql(2)",
                'pm.expect(statuses[0]).to.eql("payment_failed")',
            ),
        ),
    ),
    Step(
        "Wait until it is shipped",
        "GET /orders/{order_id}",
        200,
        after=(
            *_until(
                'answer.status !== "paid"',
                "is shipped, with a tracking number",
                'pm.expect(answer.status).to.eql("shipped")',
                'pm.expect(answer.fulfillment.status).to.eql("succeeded")',
                "pm.expect(answer.fulfillment.tracking_number.length).to.be.above(0)",
            ),
            _keep("etag", 'pm.response.headers.get("ETag")'),
        ),
    ),
    Step(
        "Its story",
        "GET /orders/{order_id}/timeline",
        200,
        query={"limit": "100"},
        after=(
            _test(
                "tells of payment and parcel",
                "const kinds = pm.response.json().items.map((one) => one.kind)",
                'pm.expect(kinds).to.include("payment_attempt")',
                'pm.expect(kinds).to.include("fulfillment_attempt")',
            ),
        ),
    ),
    Step(
        "Another order, to a slow address",
        "POST /orders",
        201,
        headers=_NEW_KEY,
        body=_order(1, postal_code="SLOW"),
        after=(_keep("cancelledId", "pm.response.json().id"),),
    ),
    Step(
        "On second thoughts",
        "POST /orders/{order_id}/cancel",
        200,
        path={"order_id": "{{cancelledId}}"},
        body='{\n  "reason": "ordered twice by mistake"\n}',
        after=(
            _test(
                "is cancelled, and its money promised back",
                'pm.expect(pm.response.json().status).to.eql("cancelled")',
                "pm.expect(pm.response.json().payment.refunded).to.eql(pm.response.json().total)",
            ),
        ),
    ),
    Step(
        "An order that no carrier will take",
        "POST /orders",
        201,
        headers=_NEW_KEY,
        body=_order(1, postal_code="FAIL-ALWAYS"),
        after=(_keep("unshippableId", "pm.response.json().id"),),
    ),
    Step(
        "Reports are not for customers",
        "GET /analytics/status-counts",
        403,
        after=(_refused("forbidden"),),
    ),
)

_REFUND = '{\n  "lines": [{"sku": "{{sku}}", "quantity": 1}], "restock": true, "reason": "arrived broken"\n}'

_ADMIN_ACTS = (
    Step(
        "The admin hears that it arrived",
        "PATCH /orders/{order_id}",
        200,
        who=ADMIN,
        headers={"If-Match": "{{etag}}"},
        body='{\n  "status": "delivered"\n}',
        after=(_test("is delivered", 'pm.expect(pm.response.json().status).to.eql("delivered")'),),
    ),
    Step(
        "A colleague saw it before that",
        "PATCH /orders/{order_id}",
        412,
        who=ADMIN,
        headers={"If-Match": "{{etag}}"},
        body='{\n  "staff_note": "Called about the delivery."\n}',
        after=(_refused("precondition_failed"),),
    ),
    Step(
        "One packet is paid back",
        "POST /orders/{order_id}/refunds",
        201,
        who=ADMIN,
        before=(_keep("refundKey", 'pm.variables.replaceIn("{{$guid}}")'),),
        headers={"Idempotency-Key": "{{refundKey}}"},
        body=_REFUND,
        after=(
            _test("its price", "pm.expect(pm.response.json().amount).to.eql(1999)"),
            _keep("refundId", "pm.response.json().id"),
        ),
    ),
    Step(
        "The same refund again",
        "POST /orders/{order_id}/refunds",
        201,
        who=ADMIN,
        headers={"Idempotency-Key": "{{refundKey}}"},
        body=_REFUND,
        after=(
            _test("is the same", 'pm.expect(pm.response.json().id).to.eql(pm.collectionVariables.get("refundId"))'),
            _test("and says so", 'pm.expect(pm.response.headers.get("Idempotent-Replayed")).to.eql("true")'),
        ),
    ),
    Step(
        "More than is left",
        "POST /orders/{order_id}/refunds",
        409,
        who=ADMIN,
        headers=_NEW_KEY,
        body='{\n  "amount": 2000, "reason": "for the trouble"\n}',
        after=(_refused("conflict", "pm.expect(pm.response.json().left).to.eql(1999)"),),
    ),
    Step(
        "Wait until it is paid back",
        "GET /orders/{order_id}/refunds/{refund_id}",
        200,
        after=_until('answer.status !== "pending"', "has succeeded", 'pm.expect(answer.status).to.eql("succeeded")'),
    ),
    Step(
        "Wait until the carrier is given up",
        "GET /dead-letters",
        200,
        who=ADMIN,
        query={"limit": "100"},
        after=(
            'const mine = (one) => one.order_id === pm.collectionVariables.get("unshippableId");',
            *_until(
                "answer.items.some(mine)",
                "there is a dead letter of the order",
                "pm.expect(answer.items.some(mine)).to.eql(true)",
                'pm.collectionVariables.set("letterId", answer.items.find(mine).id)',
            ),
        ),
    ),
    Step(
        "What the carrier said",
        "GET /dead-letters/{letter_id}",
        200,
        who=ADMIN,
        after=(_test("every call is there", "pm.expect(pm.response.json().calls.length).to.be.above(0)"),),
    ),
    Step(
        "The parcel is discarded",
        "POST /dead-letters/{letter_id}/discard",
        202,
        who=ADMIN,
        after=(_test("is decided", 'pm.expect(pm.response.json().resolution).to.eql("discarded")'),),
    ),
    Step(
        "So its order is cancelled",
        "GET /orders/{order_id}",
        200,
        path={"order_id": "{{unshippableId}}"},
        after=(
            _test(
                "and paid back",
                'pm.expect(pm.response.json().status).to.eql("cancelled")',
                "pm.expect(pm.response.json().payment.refunded).to.eql(1999)",
            ),
        ),
    ),
    Step(
        "New stock comes in",
        "POST /products/{sku}/stock",
        200,
        who=ADMIN,
        headers=_NEW_KEY,
        body='{\n  "delta": 5, "reason": "delivery 4711"\n}',
        # Of 10, two were ordered, of which one came back; what was cancelled is back too.
        after=(_test("all is accounted for", "pm.expect(pm.response.json().stock).to.eql(10 - 2 + 1 + 5)"),),
    ),
    Step(
        "What became of all orders",
        "GET /analytics/status-counts",
        200,
        who=ADMIN,
        after=(
            _test(
                "they are counted",
                'const delivered = pm.response.json().items.find((one) => one.status === "delivered")',
                "pm.expect(delivered.orders).to.be.above(0)",
            ),
        ),
    ),
)

_CUSTOMER_GOES = (
    Step(
        "A new access token",
        "POST /token/refresh",
        200,
        who=None,
        body='{\n  "refresh_token": "{{refreshToken}}"\n}',
        after=(
            _keep("token", "pm.response.json().access_token"),
            _keep("refreshToken", "pm.response.json().refresh_token"),
        ),
    ),
    Step("The customer logs out", "POST /token/revoke", 200, who=None, form={"token": "{{refreshToken}}"}),
    Step("And is nobody now", "GET /users/me", 401, after=(_refused("unauthenticated"),)),
)

STEPS = (*_CUSTOMER_COMES, *_ORDERS, *_ADMIN_ACTS, *_CUSTOMER_GOES)
