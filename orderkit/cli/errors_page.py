"""The page that explains every problem code, made of the table that answers are made of."""

from __future__ import annotations

import json
from http import HTTPStatus
from itertools import groupby
from operator import itemgetter

from orderkit.api import problems
from orderkit.api.examples import refusals
from orderkit.api.examples.refusals import Refusal
from orderkit.api.examples.world import REQUEST_ID
from orderkit.api.problems import KINDS

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


def text() -> str:
    """The page: codes by status, and within one by name."""
    examples = refusals.by_code()
    codes = sorted(((kind.status, code) for code, kind in KINDS.items()))
    parts = [HEAD]
    for status, those in groupby(codes, key=itemgetter(0)):
        parts.append(f"## {status} {HTTPStatus(status).phrase}\n")
        parts += [_section(code, _told(examples[code])) for _status, code in those]
    return "\n".join(parts)


def _section(code: str, example: str) -> str:
    kind = KINDS[code]
    return f"### {code}\n\n{kind.meaning}\n\n**What to do:** {kind.remedy}\n\n```http\n{example}\n```\n"


def _told(refusal: Refusal) -> str:
    status = HTTPStatus(refusal.members["status"])
    head = [f"HTTP/1.1 {status.value} {status.phrase}", f"Content-Type: {problems.MEDIA_TYPE}"]
    head += [f"X-Request-ID: {REQUEST_ID}", *(f"{name}: {value}" for name, value in refusal.headers.items())]
    return "\n".join((*head, "", json.dumps(refusal.members, indent=2, ensure_ascii=False)))
