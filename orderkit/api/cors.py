"""Which pages of other sites may call this API from a browser: those whose origin is listed, and nobody else's.

An origin is never given back because it was sent, and `*` is never answered. Browsers are told to send no cookies along, as
none are read: a page that may call sends its token itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from starlette.responses import Response

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
TAKEN = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "Prefer", "X-Request-ID", "traceparent")
"""What a page may send besides what every page may."""
TOLD = (
    "ETag",
    "Idempotent-Replayed",
    "Location",
    "Preference-Applied",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-Request-ID",
    "traceparent",
)
"""What a page may read of an answer besides what every page may."""
KEPT_S = 600
"""Seconds for which a browser need not ask again before it calls."""

Headers = tuple[tuple[bytes, bytes], ...]

_VARIES = (b"vary", b"Origin")
_EXPOSED = (b"access-control-expose-headers", ", ".join(TOLD).encode())


def said_of(allowed: Collection[str], sent: Mapping[bytes, bytes]) -> Headers:
    """What every answer to a request with the headers `sent` says about who may read it; nothing where no origin is allowed."""
    if not allowed:
        return ()
    origin = sent.get(b"origin", b"")
    if origin.decode("latin-1") not in allowed:
        return (_VARIES,)
    return (_VARIES, (b"access-control-allow-origin", origin), _EXPOSED)


def preflight(allowed: Collection[str], method: str, sent: Mapping[bytes, bytes]) -> Response | None:
    """The answer to a browser that asks whether a page may call; None if that is not what is asked, or if it may not."""
    asks = method == "OPTIONS" and b"access-control-request-method" in sent
    if not (asks and sent.get(b"origin", b"").decode("latin-1") in allowed):
        return None
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Methods": ", ".join(METHODS),
            "Access-Control-Allow-Headers": ", ".join(TAKEN),
            "Access-Control-Max-Age": str(KEPT_S),
        },
    )
