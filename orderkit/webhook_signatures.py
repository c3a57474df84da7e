"""Signing callbacks and telling whether one is signed, as Standard Webhooks has it (www.standardwebhooks.com).

A callback carries `webhook-id`, `webhook-timestamp` (seconds since 1970) and `webhook-signature`: one or more of
`v1,<base64>`, apart by spaces, each HMAC-SHA-256 of `id.timestamp.body` under a secret that is written `whsec_<base64>`.

The package `standardwebhooks` does it too. It reads the time of day by itself, where ours can be moved, knows one secret at a
time, and leaves a header that is cut in the wrong place to whichever error that raises.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import datetime

from orderkit.errors import SignatureInvalid

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"

TOLERANCE_S = 300
"""How far the sender's clock and ours may be apart, the way of the callback included."""

PREFIX = "whsec_"
MIN_KEY_BYTES, MAX_KEY_BYTES = 24, 64

# No full stop: with one in it, what was signed could be cut into id, time and body in more than one way.
_ID = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,255}")
_SECONDS = re.compile(r"[0-9]{1,12}")


def keys_of(secrets: str) -> tuple[bytes, ...]:
    """The keys of secrets that are set apart by commas. Raises ValueError, whose text quotes none of them."""
    keys = []
    for secret in secrets.split(","):
        encoded = secret.strip()
        try:
            key = base64.b64decode(encoded.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not (encoded.startswith(PREFIX) and MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES):
            raise ValueError(
                f"is not {PREFIX} and base64 of {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes, or several by commas"
            )
        keys.append(key)
    return tuple(keys)


def sign(key: bytes, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers of a callback that is sent at that time."""
    timestamp = str(int(at.timestamp()))
    return {ID: message_id, TIMESTAMP: timestamp, SIGNATURE: _signature(key, message_id, timestamp, body)}


def verify(
    keys: Sequence[bytes], *, message_id: str, timestamp: str, signatures: str, body: bytes, at: datetime
) -> None:
    """Raises SignatureInvalid unless one of `signatures` is by one of `keys`, and the callback is as old as `at` allows.

    Takes the same time for every wrong signature. Nobody's signature is good where there are no keys.
    """
    if not (_ID.fullmatch(message_id) and _SECONDS.fullmatch(timestamp)):
        raise SignatureInvalid(f"send {ID}, {TIMESTAMP} and {SIGNATURE}, each once, as Standard Webhooks has them")
    if abs(at.timestamp() - int(timestamp)) > TOLERANCE_S:
        raise SignatureInvalid(f"{TIMESTAMP} is more than {TOLERANCE_S // 60} minutes from now")
    given = [one.encode() for one in signatures.split(" ")]
    good = [_signature(key, message_id, timestamp, body).encode() for key in keys]
    if not any(hmac.compare_digest(one, other) for one in given for other in good):
        raise SignatureInvalid("the callback is not signed with the secret of this installation")


def _signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    signed = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(signed).decode()
