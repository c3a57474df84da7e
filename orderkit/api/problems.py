"""The only table from error code to HTTP: status, title, and what a caller should know and do.

Every error leaves as `application/problem+json` (RFC 9457). `type` is a page of this API, `GET /problems/{code}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

from fastapi import APIRouter, FastAPI, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from loguru import logger
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from orderkit import db, reasons
from orderkit.api.dependencies import anyone
from orderkit.errors import (
    BodyMalformed,
    ConfigurationError,
    Invalid,
    NotFound,
    OrderkitError,
    Unauthenticated,
    Unavailable,
)
from orderkit.observability import context, metrics

MEDIA_TYPE = "application/problem+json"
MAX_POINTERS = 20
MAX_POINTER_LENGTH = 200
RETRY_AFTER_S = 1


class Kind(NamedTuple):
    status: int
    title: str
    meaning: str
    remedy: str


KINDS: dict[str, Kind] = {
    "request_malformed": Kind(
        400,
        "Malformed request",
        "What came is not HTTP as RFC 9112 has it; in HTTP/1.1 a request names its Host, once. The connection is closed.",
        "Look at what sends it, and at what stands between.",
    ),
    "body_malformed": Kind(
        400,
        "Malformed body",
        "The body is empty, is not UTF-8, is not JSON as RFC 8259 has it, or names a member twice.",
        "Send one JSON object, or for /token a form.",
    ),
    "cursor_invalid": Kind(
        400,
        "Invalid cursor",
        "The cursor was altered, or belongs to another list or to other filters.",
        "Start again without a cursor, and pass on `next_cursor` unchanged with the same filters.",
    ),
    "idempotency_key_missing": Kind(
        400,
        "Idempotency-Key missing",
        "This request makes something that must not be made twice, and came without a key.",
        "Send an Idempotency-Key header: a new value, such as a UUID, for each new thing.",
    ),
    "idempotency_key_malformed": Kind(
        400,
        "Idempotency-Key malformed",
        "The key is empty, too long, has characters other than visible ASCII, or was given twice.",
        "Send one key of 1 to 255 visible ASCII characters.",
    ),
    "signature_invalid": Kind(
        400,
        "Invalid signature",
        "The callback is not signed with the secret of this installation, or is older than five minutes.",
        "Sign it as Standard Webhooks says, and send it anew.",
    ),
    "unauthenticated": Kind(
        401,
        "Not authenticated",
        "There was no access token, or it is no longer good, or the e-mail address and password do not match.",
        "Get a token from POST /token and send it as `Authorization: Bearer …`.",
    ),
    "payment_declined": Kind(
        402,
        "Payment declined",
        "No money was taken. The order is kept as payment_failed, or as cancelled if it was that meanwhile, and its stock"
        " was given back.",
        "Order again under a new Idempotency-Key, with another payment method.",
    ),
    "forbidden": Kind(
        403,
        "Not allowed",
        "The account lacks the permission that this needs.",
        "Ask whoever administers this installation.",
    ),
    "not_found": Kind(
        404,
        "Not found",
        "There is nothing under this address, or nothing that this account may see.",
        "Check the address.",
    ),
    "method_not_allowed": Kind(
        405,
        "Method not allowed",
        "The address exists and does not take this method.",
        "Use a method that the Allow header names.",
    ),
    "request_timeout": Kind(
        408,
        "The request took too long to arrive",
        "Its head or its body did not arrive in time. Nothing was done.",
        "Send the request again.",
    ),
    "conflict": Kind(
        409,
        "Conflict",
        "The thing exists already, or is not in a state that allows this.",
        "Look at its present state and decide anew.",
    ),
    "idempotency_key_expired": Kind(
        409,
        "Idempotency-Key expired",
        "The key was used so long ago that its answer is no longer kept. What it made exists.",
        "See what it made at Location. Use a new key for something new.",
    ),
    "idempotency_key_in_use": Kind(
        409,
        "Idempotency-Key in use",
        "The first request with this key is still being answered.",
        "Repeat the request, with the same key, after the seconds in Retry-After.",
    ),
    "illegal_transition": Kind(
        409,
        "Illegal transition",
        "From its present state the thing cannot go to the state that was asked for.",
        "Look at its present state and decide anew.",
    ),
    "out_of_stock": Kind(
        409,
        "Out of stock",
        "Less is left than was ordered. Nothing was kept; `skus` names what is short.",
        "Order less or wait. The same Idempotency-Key can be used again.",
    ),
    "price_changed": Kind(
        409,
        "Price changed",
        "The order costs something else than `expected_total`. Nothing was kept; `total` is the new price.",
        "Show the new total, and order again with it. The same Idempotency-Key can be used again.",
    ),
    "precondition_failed": Kind(
        412,
        "Changed meanwhile",
        "The thing has another version than If-Match says. Nothing was changed.",
        "Look at it again, and send its new ETag as If-Match.",
    ),
    "body_too_large": Kind(
        413,
        "Body too large",
        "The body is larger than 64 KB. It was not read.",
        "Send less at once.",
    ),
    "unsupported_media_type": Kind(
        415,
        "Unsupported media type",
        "The Content-Type is not the one that this address takes.",
        "Send application/json, or for /token application/x-www-form-urlencoded.",
    ),
    "expectation_failed": Kind(
        417,
        "Expectation failed",
        "The Expect header asks for something else than 100-continue. The connection is closed.",
        "Leave Expect away, or send 100-continue.",
    ),
    "idempotency_key_reused": Kind(
        422,
        "Idempotency-Key reused",
        "The key was used for another request before.",
        "Use a new key for a new request, and repeat a request unchanged.",
    ),
    "validation_failed": Kind(
        422,
        "Validation failed",
        "The request is well formed and its content cannot be taken; `errors` says what is wrong where.",
        "Correct what `errors` points at.",
    ),
    "precondition_required": Kind(
        428,
        "If-Match missing",
        "This request changes what others may change too, and came without If-Match.",
        "Send the ETag of what you saw as If-Match, or `*` if any version will do.",
    ),
    "rate_limited": Kind(
        429,
        "Too many requests",
        "More was asked, or a login failed more often, than is allowed within the time. Nothing was done.",
        "Repeat the request after the seconds in Retry-After.",
    ),
    "head_too_large": Kind(
        431,
        "Head too large",
        "Request line and headers are larger than 32 KB together. Nothing was done.",
        "Send fewer or shorter headers; what is long belongs into the body.",
    ),
    "internal_error": Kind(
        500,
        "Internal error",
        "Something failed that should not. It was logged under the request id.",
        "Repeat the request, an order under the same Idempotency-Key. Report the request id if it goes on.",
    ),
    "configuration": Kind(
        500,
        "Not configured",
        "This installation is not set up for what was asked. It was logged under the request id.",
        "Ask whoever runs this installation.",
    ),
    "transfer_coding_unknown": Kind(
        501,
        "Unknown transfer coding",
        "The Transfer-Encoding is not `chunked` and that alone. The connection is closed.",
        "Send the body as it is, with its length or in chunks.",
    ),
    "http_version_unknown": Kind(
        505,
        "Unknown HTTP version",
        "The request is of another version than HTTP/1.1 and HTTP/1.0. The connection is closed.",
        "Speak HTTP/1.1, or have what stands between speak it.",
    ),
    "unavailable": Kind(
        503,
        "Unavailable",
        "The database, or something else that is needed, does not answer, or too much is asked at once.",
        "Repeat the request, an order under the same Idempotency-Key, after the seconds in Retry-After.",
    ),
}

WATCHED = ("/health/", "/metrics")
"""Paths of whoever watches, and asks all the time. They are answered however much is under way, so that nobody takes the process
for dead, and logged when there is news."""

UNCOUNTED = (*WATCHED, "/problems/")
"""Paths that count against nobody's limit: those, and where whoever is refused may ask why."""

NOT_RAISED = {
    405: "method_not_allowed",
    500: "internal_error",
}
"""By status, codes that no error of orderkit has: its framework raises what they are for, or nobody knows what."""

_BY_STATUS = NOT_RAISED | {
    400: "body_malformed",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    413: "body_too_large",
    409: "conflict",
    412: "precondition_failed",
    415: "unsupported_media_type",
    422: "validation_failed",
    428: "precondition_required",
    429: "rate_limited",
    503: "unavailable",
}


class Place(BaseModel):
    """A place in the request, and what is wrong there."""

    pointer: str = Field(
        description="JSON pointer into the body as a URI fragment, `#/items/0/quantity`; a parameter is `#/query/limit`."
    )
    detail: str


class Problem(BaseModel):
    """What went wrong (RFC 9457). Some codes add members of their own."""

    type: str = Field(description="Where `code` is explained.")
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable; this is what a program should look at.")
    request_id: str
    errors: list[Place] = Field(default_factory=list, description="With status 422.")


class Explanation(BaseModel):
    """What a problem code means and what to do about it."""

    code: str
    status: int
    title: str
    meaning: str
    remedy: str


def document(error: OrderkitError, request_id: str) -> dict[str, Any]:
    """The members of the problem document of `error`."""
    return members(error.code, error.detail, request_id, pointers=error.pointers, facts=error.facts)


def members(
    code: str,
    detail: str,
    request_id: str,
    *,
    pointers: list[tuple[str, str]] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The members of a problem document. `facts` are further ones."""
    kind = KINDS[code]
    told: dict[str, Any] = {
        "type": f"/problems/{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }
    if kind.status == 422:
        told["errors"] = [{"pointer": where, "detail": what} for where, what in pointers or []]
    return told | dict(facts or {})


def around_the_id(code: str, detail: str) -> tuple[bytes, bytes]:
    """A problem document in two parts, between which belongs the request id: for answers that are made beforehand."""
    head, _, tail = json.dumps(members(code, detail, "\0"), separators=(",", ":")).partition("\\u0000")
    return head.encode(), tail.encode()


def answer(code: str, detail: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request that failed with one of the codes of KINDS."""
    return _sent(members(code, detail, context.request_id()), headers)


def headers_of(error: OrderkitError) -> dict[str, str]:
    """The headers that go with the answer to `error`, besides those of every problem document."""
    headers = dict(error.headers)
    if isinstance(error, Unauthenticated):
        headers.setdefault("WWW-Authenticate", "Bearer")
    if isinstance(error, Unavailable):
        headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    return headers


def answer_to(error: OrderkitError) -> Response:
    """The answer to a request that failed with `error`."""
    headers = headers_of(error)
    if isinstance(error, ConfigurationError):
        logger.error("not configured: {}", error.detail)
        return answer(error.code, "this installation is not set up for that", headers=headers)
    return _sent(document(error, context.request_id()), headers)


def told(code: str) -> None:
    """Counts an answer that is a problem document, and has the request's line in the log say its code."""
    metrics.problem(code)
    context.bind(code=code)


def _sent(members: Mapping[str, Any], headers: Mapping[str, str] | None) -> Response:
    told(members["code"])
    # "replace": a detail may quote what a caller sent, and no error may fail for that.
    content = json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    return Response(content, members["status"], headers, MEDIA_TYPE)


def pointer(loc: tuple[int | str, ...]) -> str:
    """A place as FastAPI names it, `("body", "items", 0)`, as a JSON pointer (RFC 6901, section 6): `#/items/0`."""
    steps = loc[1:] if loc[:1] == ("body",) else loc
    text = "".join("/" + quote(str(step).replace("~", "~0").replace("/", "~1"), errors="replace") for step in steps)
    return f"#{text}"[:MAX_POINTER_LENGTH]


def pointers(problems: Any) -> list[tuple[str, str]]:
    """Places and reasons from pydantic's list of errors; never what was sent, which may be a secret."""
    return [(pointer(tuple(one["loc"])), _reason(one)) for one in list(problems)[:MAX_POINTERS]]


def _reason(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        return "is not known here"  # as of a parameter
    if problem["loc"] == ("path", "order_id") and re.fullmatch(r"[0-9]{1,12}", problem["input"]):
        return f"is no id, but a number; ask for GET /orders?number={problem['input']}"
    return str(problem["msg"]).removeprefix("Value error, ")


async def _orderkit_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, OrderkitError)  # noqa: S101 - for types; it is registered for nothing else
    return answer_to(error)


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - for types
    return answer_to(Invalid("the request has values that cannot be taken", pointers=pointers(error.errors())))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - for types
    if error.status_code == 404:
        return answer("not_found", "there is nothing under this address")
    if error.status_code == 405:
        allowed = ", ".join(sorted(_methods(request)))
        return answer("method_not_allowed", f"this address takes {allowed}", headers={"Allow": allowed})
    code = _BY_STATUS.get(error.status_code, BodyMalformed.code if error.status_code < 500 else "internal_error")
    return answer(code, str(error.detail), headers=error.headers)


def _methods(request: Request) -> set[str]:
    """All methods of an address; the route that refused one knows only its own."""
    methods: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        pattern = getattr(route, "path_regex", None)
        if pattern is not None and route.methods and pattern.match(request.scope["path"]):
            methods |= route.methods
    if "GET" in methods:
        methods.add("HEAD")  # the edge answers it as GET
    return methods or {"GET", "HEAD"}  # files, which are mounted


async def _unreachable(_request: Request, error: Exception) -> Response:
    logger.bind(**reasons.facts(error)).warning("the database does not answer: {}", reasons.in_words(error))
    if db.is_locked(error):
        return answer_to(Unavailable("the database is locked by another writer just now; try again"))
    return answer_to(Unavailable("the database does not answer just now; try again"))


def internal_error(error: BaseException) -> Response:
    """Logs `error` with its traceback; the answer tells nothing of it."""
    logger.opt(exception=error).error("unexpected {}", type(error).__name__)
    return answer("internal_error", "something failed that should not; it was logged under the request id")


_ANSWERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    OrderkitError: _orderkit_error,
    RequestValidationError: _invalid,
    HTTPException: _http_error,
    **dict.fromkeys(db.UNREACHABLE, _unreachable),
}


def install(app: FastAPI) -> None:
    """Lets every error of `app` leave as a problem document. What none of these knows, the edge answers with a 500."""
    for kind, make in _ANSWERS.items():
        app.add_exception_handler(kind, make)


async def answer_to_any(request: Request, error: Exception) -> Response:
    """The answer to a request that failed with `error`, whatever it is."""
    make = next((_ANSWERS[kind] for kind in type(error).__mro__ if kind in _ANSWERS), None)
    return internal_error(error) if make is None else await make(request, error)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The statuses that a route refuses requests with, for its `responses`; `api/refusing.py` says by which codes."""
    return {status: {"model": Problem} for status in statuses}


router = APIRouter(prefix="/problems", tags=["errors"])


@router.get("/{code}", responses=responses(404))
@anyone
async def explain_problem(code: Annotated[str, Path(description="The `code` of a problem document.")]) -> Explanation:
    """What a problem code means and what to do about it."""
    if code not in KINDS:
        raise NotFound("there is no such problem code")
    return Explanation(code=code, **KINDS[code]._asdict())
