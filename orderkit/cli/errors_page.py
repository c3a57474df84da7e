"""The page that explains every problem code, made of the table that answers are made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from itertools import groupby
from operator import itemgetter
from typing import Any

from orderkit import errors
from orderkit.api import problems
from orderkit.api.problems import KINDS
from orderkit.errors import OrderkitError

REQUEST_ID = "01995d1e-7c1a-7d3e-9b52-6f0a4c8e21d7"
ORDER_ID = "01995d1e-7c22-7a10-8e6f-3b9d5c70a4f2"

HEAD = f"""\
# Errors

Every answer with a status of 400 or more is a problem document (RFC 9457), `{problems.MEDIA_TYPE}`:

| member | |
| --- | --- |
| `type` | where the code is explained by the API itself: `GET /problems/{{code}}` |
| `title`, `status` | of the code, and always the same |
| `detail` | one sentence about this very request, for a person; it may change |
| `code` | stable; this is what a program should look at |
| `request_id` | also the header `X-Request-ID`, and in the logs of every process that had to do with the request |
| `errors` | with status 422: what is wrong where, as pointers: `#/items/0/quantity` of the body, `#/query/limit` of the address |

Some codes add members of their own, which their examples show. No error tells a stack trace, a statement of SQL, or a secret that
was sent. What is no request at all, such as a head that is not HTTP, is answered likewise.

**Which may be repeated?** 408, 429, 500 and 503, and 409 `idempotency_key_in_use`: after the seconds of `Retry-After`, if there
is one, and an order or a refund under the same `Idempotency-Key`. Any other is answered alike until something changes.

Written by: `orderkit openapi --errors -o docs/errors.md`
"""

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

OF_THE_EDGE = {
    "method_not_allowed": ("this address takes GET, HEAD, POST", {"Allow": "GET, HEAD, POST"}),
    "internal_error": ("something failed that should not; it was logged under the request id", {}),
}
"""Detail and headers of the others."""


def text() -> str:
    """The page: codes by status, and within one by name."""
    examples = {one.code: _answer(one) for one in EXAMPLES} | {code: _of_the_edge(code) for code in OF_THE_EDGE}
    codes = sorted(((kind.status, code) for code, kind in KINDS.items()))
    parts = [HEAD]
    for status, those in groupby(codes, key=itemgetter(0)):
        parts.append(f"## {status} {HTTPStatus(status).phrase}\n")
        parts += [_section(code, examples[code]) for _status, code in those]
    return "\n".join(parts)


def _section(code: str, example: str) -> str:
    kind = KINDS[code]
    return f"### {code}\n\n{kind.meaning}\n\n**What to do:** {kind.remedy}\n\n```http\n{example}\n```\n"


def _answer(error: OrderkitError) -> str:
    return _told(problems.document(error, REQUEST_ID), problems.headers_of(error))


def _of_the_edge(code: str) -> str:
    detail, headers = OF_THE_EDGE[code]
    return _told(problems.members(code, detail, REQUEST_ID), headers)


def _told(members: Mapping[str, Any], headers: Mapping[str, str]) -> str:
    status = HTTPStatus(members["status"])
    head = [f"HTTP/1.1 {status.value} {status.phrase}", f"Content-Type: {problems.MEDIA_TYPE}"]
    head += [f"X-Request-ID: {REQUEST_ID}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\n".join((*head, "", json.dumps(members, indent=2, ensure_ascii=False)))
