"""One problem document for each code: what docs/errors.md shows, and the document of the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from orderkit import errors
from orderkit.api import problems
from orderkit.api.examples.world import ORDER_ID, REQUEST_ID
from orderkit.errors import OrderkitError


class Refusal(NamedTuple):
    """An answer that is a problem document: its members, and the headers that such an answer has besides X-Request-ID."""

    members: Mapping[str, Any]
    headers: Mapping[str, str]


EXAMPLES: tuple[OrderkitError, ...] = (
    errors.BodyMalformed("the body is not JSON: Expecting value at character 12"),
    errors.CursorInvalid("the cursor is not one that this list gave for these filters; start without one"),
    errors.KeyMissing("send an Idempotency-Key header: one new value, such as a UUID, for each new order"),
    errors.KeyMalformed("send one Idempotency-Key header, not several"),
    errors.SignatureInvalid("webhook-timestamp is more than 5 minutes from now"),
    errors.Unauthenticated("this needs an access token; send it as Authorization: Bearer …"),
    errors.PaymentDeclined(
        "the payment was declined; the order is kept as payment_failed and its stock was given back",
        facts={"order_id": ORDER_ID, "order_status": "payment_failed"},
    ),
    errors.Forbidden("this needs the permission orders:refund"),
    errors.NotFound(f"there is no order {ORDER_ID}"),
    errors.Conflict("there is a product TEA-001 already"),
    errors.KeyExpired(
        "this Idempotency-Key was used too long ago to be answered again; see what it made at Location",
        headers={"Location": f"/orders/{ORDER_ID}"},
    ),
    errors.KeyInUse(
        "a request with this Idempotency-Key is still being answered; repeat it in a moment",
        headers={"Retry-After": "1"},
    ),
    errors.IllegalTransition("an order that is shipped cannot become cancelled", facts={"status_now": "shipped"}),
    errors.OutOfStock("not enough of TEA-001", facts={"skus": ["TEA-001"]}),
    errors.PriceChanged("the total is 4198, not 3998", facts={"total": 4198, "currency": "GBP"}),
    errors.PreconditionFailed('the order is of version "4", which is not what If-Match says', headers={"ETag": '"4"'}),
    errors.RequestMalformed("this is not HTTP", headers={"Connection": "close"}),
    errors.ExpectationUnknown("nothing can be expected but 100-continue", headers={"Connection": "close"}),
    errors.CodingUnknown(
        "a body comes with its length, or is chunked and nothing else", headers={"Connection": "close"}
    ),
    errors.VersionUnknown("this speaks HTTP/1.1 and HTTP/1.0", headers={"Connection": "close"}),
    errors.RequestLate("the body did not arrive within 10 s", headers={"Connection": "close"}),
    errors.HeadTooLarge("request line and headers have at most 32768 bytes", headers={"Connection": "close"}),
    errors.BodyTooLarge("a body has at most 65536 bytes", headers={"Connection": "close"}),
    errors.WrongMediaType("send the body as application/json"),
    errors.KeyReused("this Idempotency-Key was used for another request; send a new key with a new request"),
    errors.Invalid(
        "the request has values that cannot be taken",
        pointers=[("#/items/0/quantity", "Input should be less than or equal to 10000")],
    ),
    errors.PreconditionRequired("send the ETag of the order that you saw as If-Match, or * if any version will do"),
    errors.RateLimited("more than 600 requests in a minute; try again later", headers={"Retry-After": "17"}),
    errors.Unavailable("the database does not answer just now; try again"),
    errors.ConfigurationError("this installation is not set up for that"),
)
"""One of each that orderkit raises."""

NOT_RAISED = {
    "method_not_allowed": ("this address takes GET, HEAD, POST", {"Allow": "GET, HEAD, POST"}),
    "internal_error": ("something failed that should not; it was logged under the request id", {}),
}
"""Detail and headers of the others."""


def by_code() -> dict[str, Refusal]:
    """One of every code there is."""
    return {one.code: _raised(one) for one in EXAMPLES} | {code: _not_raised(code) for code in NOT_RAISED}


def _raised(error: OrderkitError) -> Refusal:
    return Refusal(problems.document(error, REQUEST_ID), problems.headers_of(error))


def _not_raised(code: str) -> Refusal:
    detail, headers = NOT_RAISED[code]
    return Refusal(problems.members(code, detail, REQUEST_ID), headers)
