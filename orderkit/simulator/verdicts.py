"""What the provider and the carrier say to a call, and whether they say it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from sqlite3 import Connection

from orderkit import clock


@dataclass(frozen=True, slots=True)
class Verdict:
    """An HTTP status and a JSON object. `unanswered`: the caller is left waiting instead, whatever was done."""

    status: int
    body: dict[str, str]
    unanswered: bool = False

    @property
    def outcome(self) -> str:
        """In a word."""
        return self.body.get("status") or self.body["code"]


SERVER_ERROR = Verdict(500, {"code": "server_error"})
SILENCE = Verdict(504, {"code": "no_answer"}, unanswered=True)
KEY_REUSED = Verdict(422, {"code": "key_reused", "detail": "this Idempotency-Key was used for another request"})


def reference(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


def stamp() -> str:
    return clock.now().isoformat(timespec="microseconds").replace("+00:00", "Z")


def failed_calls(connection: Connection, operation: str, key: str) -> int:
    """Counts one more call that may be failed on purpose; how many that makes for this key."""
    row = connection.execute(
        "INSERT INTO failures (operation, key, count) VALUES (?, ?, 1)"
        " ON CONFLICT (operation, key) DO UPDATE SET count = count + 1 RETURNING count",
        (operation, key),
    ).fetchone()
    return int(row["count"])
