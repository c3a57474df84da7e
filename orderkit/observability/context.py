"""What is worked for: a request or something in the background, its trace, and whose order it is.

Set where the work begins, seen by everything that works for it, threads included, and written on each line of the log. Nobody
passes it along, but for rows: what is done later, by another process, continues the `traceparent` that its row has.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any, NamedTuple

from orderkit.redaction import redacted

_SANE_ID = re.compile(r"(?!(?i:basic|bearer)[._-])[A-Za-z0-9._-]{1,64}")
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?")

_request_id: ContextVar[str] = ContextVar("request_id", default="")
_traceparent: ContextVar[str] = ContextVar("traceparent", default="")
# One mapping for all threads that work for a request: what a route finds out in a thread of its own, the edge's line tells.
_facts: ContextVar[dict[str, Any] | None] = ContextVar("facts", default=None)


class RequestIds(NamedTuple):
    """A request's id, and its place in a trace as W3C Trace Context writes it in `traceparent`.

    `parent` is the `traceparent` that the caller sent, if it is a valid one, else empty.
    """

    request_id: str
    traceparent: str
    parent: str = ""


def begin(request_id: str | None, traceparent: str | None) -> RequestIds:
    """Makes this the current request: the caller's ids where they are sane, else new ones."""
    ids = made(request_id, traceparent)
    enter(ids)
    return ids


def enter(ids: RequestIds) -> None:
    """Makes this the current request, of which nothing is known yet."""
    _request_id.set(ids.request_id)
    _traceparent.set(ids.traceparent)
    _facts.set({})


def made(request_id: str | None, traceparent: str | None) -> RequestIds:
    """Ids for a request: the caller's where they are sane, else new ones.

    A valid `traceparent` is continued: the same trace and flags under a new span id.
    """
    fresh = secrets.token_hex(40)  # once: asking the system for randomness costs more than all else here
    one_id = request_id if request_id and _is_sane(request_id) else fresh[:32]
    trace, flags, parent = fresh[32:64], 1, ""
    if traceparent and (found := _parsed(traceparent)):
        (trace, flags), parent = found, traceparent
    return RequestIds(one_id, f"00-{trace}-{fresh[64:]}-{flags:02x}", parent)


def _parsed(traceparent: str) -> tuple[str, int] | None:
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or (found[1] == "00" and found[4]):
        return None
    return found[2], int(found[3], 16) & 1  # of the flags, version 00 defines only `sampled`


def _is_sane(request_id: str) -> bool:
    """Whether it can stand in every log line and answer: it is short, plain, and nobody's key or card."""
    return _SANE_ID.fullmatch(request_id) is not None and redacted(request_id) == request_id


@contextmanager
def continued(traceparent: str | None, **facts: Any) -> Iterator[None]:
    """Within, work goes on that began elsewhere: in the trace of `traceparent`, under a new span id, about `facts`.

    Without one, or with one that cannot be read, a trace begins here. There is no request. Afterwards all is as before.
    """
    found = _parsed(traceparent) if traceparent else None
    fresh = secrets.token_hex(24)
    trace, flags = found or (fresh[16:], 1)
    before = _request_id.set(""), _traceparent.set(f"00-{trace}-{fresh[:16]}-{flags:02x}"), _facts.set(_known(facts))
    try:
        yield
    finally:
        _request_id.reset(before[0])
        _traceparent.reset(before[1])
        _facts.reset(before[2])


def bind(**facts: Any) -> None:
    """From now on every line says these about the work under way. Ids of rows and words of our own: never what was sent.

    Does nothing where no work is under way that they could be about.
    """
    known = _facts.get()
    if known is not None:
        known |= _known(facts)


def _known(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value if isinstance(value, int) else str(value) for name, value in facts.items() if value}


def at_span(traceparent: str) -> Token[str]:
    """Notes which span is the current one, where there are spans: what is called from here on is its child."""
    return _traceparent.set(traceparent)


def leave_span(entered: Token[str]) -> None:
    """The span is current no more that was noted with that token, but the one before."""
    _traceparent.reset(entered)


def request_id() -> str:
    """The id of the current request; empty outside one."""
    return _request_id.get()


def traceparent() -> str:
    """What to send as `traceparent` with calls made for the work under way; empty where there is none."""
    return _traceparent.get()


def trace_id() -> str:
    """The id of the current trace, 32 hexadecimal digits; empty outside one."""
    return _traceparent.get()[3:35]


def span_id() -> str:
    """The id of the current span, 16 hexadecimal digits; empty outside a trace."""
    return _traceparent.get()[36:52]


def facts() -> Mapping[str, Any]:
    """What has been bound."""
    return _facts.get() or {}


def headers() -> dict[str, str]:
    """What a call to another service carries, so that its log can be put beside ours."""
    found = {}
    if traceparent := _traceparent.get():
        found["traceparent"] = traceparent
    if request_id := _request_id.get():
        found["X-Request-ID"] = request_id
    return found
