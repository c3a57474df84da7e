"""Which request this is. Set at the edge, seen by everything that works for the request, threads included."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass

from orderkit.redaction import redacted

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?")

_request_id: ContextVar[str] = ContextVar("request_id", default="")
_traceparent: ContextVar[str] = ContextVar("traceparent", default="")


@dataclass(frozen=True, slots=True)
class RequestIds:
    """A request's id, and its place in a trace as W3C Trace Context writes it in `traceparent`."""

    request_id: str
    traceparent: str


def begin(request_id: str | None, traceparent: str | None) -> RequestIds:
    """Makes this the current request: the caller's ids where they are sane, else new ones.

    A valid `traceparent` is continued: the same trace and flags under a new span id.
    """
    fresh = secrets.token_hex(40)  # once: asking the system for randomness costs more than all else here
    one_id = request_id if request_id and _is_sane(request_id) else fresh[:32]
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if found and not (found[1] == "00" and found[4]):
        trace, flags = found[2], int(found[3], 16) & 1  # of the flags, version 00 defines only `sampled`
    else:
        trace, flags = fresh[32:64], 1
    ids = RequestIds(one_id, f"00-{trace}-{fresh[64:]}-{flags:02x}")
    _request_id.set(ids.request_id)
    _traceparent.set(ids.traceparent)
    return ids


def _is_sane(request_id: str) -> bool:
    """Whether it can stand in every log line and answer: it is short, plain, and nobody's key or card."""
    return _SANE_ID.fullmatch(request_id) is not None and redacted(request_id) == request_id


def request_id() -> str:
    """The id of the current request; empty outside one."""
    return _request_id.get()


def traceparent() -> str:
    """What to send as `traceparent` with calls made for the current request; empty outside one."""
    return _traceparent.get()
