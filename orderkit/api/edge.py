"""What happens to every request, before any route: ids, the limits of its body, the log line, the numbers, the last resort.

Plain ASGI: Starlette's BaseHTTPMiddleware runs each request in a task of its own, which an order would notice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache

from fastapi.routing import APIRoute
from prometheus_client import Counter, Histogram
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orderkit.api import cors, problems
from orderkit.api.cors import Headers
from orderkit.api.dependencies import Runtime
from orderkit.auth.callers import API_KEY_PREFIX, key_hash
from orderkit.errors import BodyTooLarge, NotFound, RateLimited, RequestLate, Unauthenticated, Unavailable
from orderkit.observability import context, logs, metrics, tracing
from orderkit.settings import Settings

MAX_BODY_BYTES = 64 * 1024
BODY_WITHIN_S = 10.0

CLIENT_GONE = 499
"""What is logged where a client left before its request was whole; nobody is there to be answered."""

# Most answers are somebody's, so none is kept by a cache that was not asked to by the route.
ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
UNLESS_SAID = (b"cache-control", b"no-store")
HTTPS_ONLY = (b"strict-transport-security", b"max-age=31536000")
"""A year. Subdomains are not orderkit's to speak for."""
QUIET_S = 60.0
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class Edge:
    """Wraps the routes of one application. Whatever fails, the answer is a problem document that says which request it is to."""

    def __init__(self, app: ASGIApp, direct: Iterable[APIRoute] = ()) -> None:
        """Routes that are `direct` are called from here: the way through FastAPI takes 60 of the 500 µs of an order."""
        self._app = app
        self._direct = {
            (method, one.path): (one, one.get_route_handler()) for one in direct for method in one.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        ids = tracing.began(context.begin(_text(headers, b"x-request-id"), _text(headers, b"traceparent")))
        runtime: Runtime = scope["app"].state.runtime
        asked = scope["method"]
        answer = _Answer(send, ids, _also(runtime.settings, headers), bodiless=asked == "HEAD")
        body = _Body(receive, headers)
        if asked == "HEAD":  # whatever GET would answer, but for the body (RFC 9110, section 9.3.2)
            scope = {**scope, "method": "GET"}
        refused: Response | None = None
        try:
            async with asyncio.timeout(runtime.settings.request_timeout) as answer.deadline:
                if preflight := cors.preflight(runtime.settings.allowed_origins, asked, headers):
                    await preflight(scope, body.receive, answer.send)
                else:
                    await self._pass_on(runtime, scope, body, answer)
        except ClientDisconnect:
            answer.status = answer.status or CLIENT_GONE
        except Exception as error:  # noqa: BLE001 - the last resort: what nobody knows is logged, and answered with a 500
            late = answer.is_late(error)
            refused = _too_late(runtime) if late else await problems.answer_to_any(Request(scope), error)
        answer.deadline = None  # whatever is still to be said is said here, and at once
        if refused and not answer.status:
            await refused(scope, body.receive, answer.send)
        _record(asked, scope, answer.status, time.perf_counter() - started)

    async def _pass_on(self, runtime: Runtime, scope: Scope, body: _Body, answer: _Answer) -> None:
        """To the routes, if nothing about the request as such forbids it. Raises RateLimited, BodyTooLarge and NotFound."""
        if runtime.throttle.per_minute and not scope["path"].startswith(problems.UNCOUNTED):
            await _count(runtime, scope, answer)
        body.check_length()
        # PostgreSQL cannot even be asked for a NUL; and a route's pattern would overlook a line break at the end.
        if "\0" in scope["path"] or scope["path"].endswith("\n"):
            raise NotFound("there is nothing under this address")
        direct = self._direct.get((scope["method"], scope["path"]))
        if direct is None:
            await self._app(scope, body.receive, answer.send)
            return
        scope["route"], handle = direct
        response = await handle(Request(scope, body.receive))
        await response(scope, body.receive, answer.send)


class _Answer:
    """Adds to the head of an answer what all answers have, and remembers its status; 0 until there is one."""

    def __init__(self, send: Send, ids: context.RequestIds, also: Headers, *, bodiless: bool) -> None:
        """`also` are further headers; of a `bodiless` answer nothing follows its head."""
        self._send = send
        self._ids = ids
        self._also = also
        self._bodiless = bodiless
        self.status = 0
        self.quota: Headers = ()
        """What the answer says about the limit on requests."""
        self.deadline: asyncio.Timeout | None = None
        """By when the answer must begin. How long it may take from there on is the connection's to say."""

    def is_late(self, error: Exception) -> bool:
        """Whether `error` means that the deadline has passed; the application has timeouts of its own."""
        return isinstance(error, TimeoutError) and self.deadline is not None and self.deadline.expired()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if self.deadline is not None and not self.deadline.expired():
                self.deadline.reschedule(None)
            self.status = message["status"]
            head = [
                *message.get("headers", ()),
                (b"x-request-id", self._ids.request_id.encode()),
                (b"traceparent", self._ids.traceparent.encode()),
                *ALWAYS,
                *self._also,
                *self.quota,
            ]
            if not any(name == b"cache-control" for name, _ in head):
                head.append(UNLESS_SAID)
            message["headers"] = head
        elif self._bodiless and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)


def _too_late(runtime: Runtime) -> Response:
    metrics.timed_out.labels("request").inc()
    seconds = runtime.settings.request_timeout
    return problems.answer_to(
        Unavailable(
            f"there was no answer within {seconds:g} s; what was begun may still happen, so repeat it unchanged"
        )
    )


def _also(settings: Settings, sent: Mapping[bytes, bytes]) -> Headers:
    """What answers have on top of that in some installations."""
    said = cors.said_of(settings.allowed_origins, sent)
    return (*said, HTTPS_ONLY) if settings.is_https_only else said


async def _count(runtime: Runtime, scope: Scope, answer: _Answer) -> None:
    """Counts the request for whoever sends it. Raises RateLimited for one too many."""
    quota = await runtime.throttle.request(_principal(runtime, scope))
    answer.quota = quota.headers
    if quota.retry_after:
        raise RateLimited(f"more than {runtime.throttle.per_minute} requests in a minute; try again later")


def _principal(runtime: Runtime, scope: Scope) -> str:
    """Whose request it is as far as is known without asking the database; whoever is nobody is their network address.

    What is made up, a token or a key, is nobody's: it would be a new principal with each request.
    """
    # The first of several, as the routes take it.
    given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    scheme, _, secret = given.decode("latin-1").partition(" ")
    if secret and scheme.lower() == "bearer":
        if secret.startswith(API_KEY_PREFIX):
            key_id = runtime.throttle.known_key(key_hash(secret))
            if key_id is not None:
                return f"key:{key_id}"
        else:
            try:
                return f"user:{runtime.tokens.verify(secret).user_id}"
            except Unauthenticated:
                pass  # the route will say so, if it minds
    client = scope.get("client")
    return runtime.throttle.address(client[0] if client else None)


class _Body:
    """Passes a body on, up to its limits of size and time; never holds more than one chunk."""

    def __init__(self, receive: Receive, headers: Mapping[bytes, bytes]) -> None:
        self._receive = receive
        self._headers = headers
        self._size = 0
        self._complete = False
        self._until = 0.0

    def check_length(self) -> None:
        """Raises BodyTooLarge when the head already says so."""
        length = self._headers.get(b"content-length", b"0")
        if len(length) > 18 or (length.isdigit() and int(length) > MAX_BODY_BYTES):
            raise _too_large()

    async def receive(self) -> Message:
        """The next part. Raises BodyTooLarge, RequestLate for a body that trickles, and what else may be wrong with it."""
        if self._complete:
            return await self._receive()
        loop = asyncio.get_running_loop()
        self._until = self._until or loop.time() + BODY_WITHIN_S
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            metrics.timed_out.labels("body").inc()
            raise RequestLate(
                f"the body did not arrive within {BODY_WITHIN_S:.0f} s", headers={"Connection": "close"}
            ) from None
        self._size += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._size > MAX_BODY_BYTES:
            raise _too_large()
        return message


def _too_large() -> BodyTooLarge:
    return BodyTooLarge(f"a body has at most {MAX_BODY_BYTES} bytes", headers={"Connection": "close"})


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


def _record(asked: str, scope: Scope, status: int, seconds: float) -> None:
    """One log line and the numbers. Labels are taken from what exists, so that callers cannot make up new ones."""
    found = scope.get("route")
    route = getattr(found, "path", None) or ("static" if scope.get("root_path") else "none")
    method = asked if asked in _METHODS else "other"
    counter, histogram = _series(method, route, status)
    counter.inc()
    histogram.observe(seconds)
    # By its route: a path is the caller's own words, and whatever an order's answer needs of it is bound as `order_id`.
    logs.write(
        "INFO" if not route.startswith(problems.WATCHED) or _is_news(route, status) else "DEBUG",
        f"{method} {route} {status}",
        {"method": method, "route": route, "status": status, "ms": round(seconds * 1000, 1)},
    )
    tracing.ended(method, status, route)


_told: dict[str, tuple[int, float]] = {}


def _is_news(route: str, status: int) -> bool:
    """Whether what is asked every second is to be told: when its answer changes, and once in QUIET_S besides."""
    before, at = _told.get(route, (0, 0.0))
    is_news = before != status or time.monotonic() >= at + QUIET_S
    if is_news:
        _told[route] = status, time.monotonic()
    return is_news


@lru_cache(maxsize=1024)
def _series(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Looked up once: finding them by label costs as much as counting."""
    return metrics.http_requests.labels(method, route, status), metrics.http_seconds.labels(method, route)
