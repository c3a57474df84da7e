"""What can go wrong, by stable code. Domains raise these; `api/problems.py` alone maps a code to an HTTP status."""

from __future__ import annotations

from typing import Any, ClassVar


class OrderkitError(Exception):
    """An error that a caller can understand and act on.

    `detail` is one sentence for a person. `pointers` are the places in the request that are wrong, as RFC 9457 writes
    them: `[("#/items/0/sku", "no such product")]`. `facts` are further members of the problem document, such as the
    new total of a changed price. `headers` go with an HTTP answer, such as Retry-After.
    """

    code: ClassVar[str] = "error"

    def __init__(
        self,
        detail: str,
        *,
        pointers: list[tuple[str, str]] | None = None,
        facts: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.pointers = pointers or []
        self.facts = facts or {}
        self.headers = headers or {}


class Invalid(OrderkitError):
    """The request is well formed and still cannot be taken as it is."""

    code = "validation_failed"


class NotFound(OrderkitError):
    code = "not_found"


class Unauthenticated(OrderkitError):
    code = "unauthenticated"


class InvalidToken(Unauthenticated):
    """A token was sent, and is not good, or no longer. The header says so to programs (RFC 6750, section 3.1)."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})


class Forbidden(OrderkitError):
    code = "forbidden"


class Conflict(OrderkitError):
    """The thing is not in a state that allows this, or exists already."""

    code = "conflict"


class IllegalTransition(OrderkitError):
    code = "illegal_transition"


class OutOfStock(OrderkitError):
    code = "out_of_stock"


class PriceChanged(OrderkitError):
    code = "price_changed"


class PaymentDeclined(OrderkitError):
    code = "payment_declined"


class PreconditionRequired(OrderkitError):
    """The request changes something and does not say which version of it was seen."""

    code = "precondition_required"


class PreconditionFailed(OrderkitError):
    """The thing was changed since it was seen."""

    code = "precondition_failed"


class SignatureInvalid(OrderkitError):
    """A callback is not signed as it should be, or is too old."""

    code = "signature_invalid"


class KeyMissing(OrderkitError):
    code = "idempotency_key_missing"


class KeyMalformed(OrderkitError):
    code = "idempotency_key_malformed"


class KeyReused(OrderkitError):
    code = "idempotency_key_reused"


class KeyInUse(OrderkitError):
    code = "idempotency_key_in_use"


class KeyExpired(OrderkitError):
    code = "idempotency_key_expired"


class CursorInvalid(OrderkitError):
    code = "cursor_invalid"


class BodyMalformed(OrderkitError):
    """The body is not what JSON (RFC 8259) or a form should be; nothing was read from it."""

    code = "body_malformed"


class BodyTooLarge(OrderkitError):
    code = "body_too_large"


class RequestMalformed(OrderkitError):
    """What came is not HTTP. Of a body in chunks that shows when its request is under way already."""

    code = "request_malformed"


class ExpectationUnknown(OrderkitError):
    """The head expects something else than to be told whether its body is wanted."""

    code = "expectation_failed"


class CodingUnknown(OrderkitError):
    """The body is encoded for its transfer in another way than in chunks."""

    code = "transfer_coding_unknown"


class VersionUnknown(OrderkitError):
    """The request is of another version of HTTP than 1.1 and 1.0."""

    code = "http_version_unknown"


class RequestLate(OrderkitError):
    """A head or a body did not arrive in time."""

    code = "request_timeout"


class HeadTooLarge(OrderkitError):
    """A head is too large, or what comes with the chunks of a body and is none of it."""

    code = "head_too_large"


class WrongMediaType(OrderkitError):
    code = "unsupported_media_type"


class Unavailable(OrderkitError):
    """The database, or something else that is needed, does not answer. Worth trying again."""

    code = "unavailable"


class RateLimited(OrderkitError):
    """Too many requests, or failed logins, in too short a time. Retry-After says when to come again."""

    code = "rate_limited"


class ConfigurationError(OrderkitError):
    """A setting is wrong, or the installation is not ready. The detail says what to do."""

    code = "configuration"
