"""The carrier: books and cancels, each at most once for a key. Every act runs inside a transaction."""

from __future__ import annotations

from sqlite3 import Connection, Row

from orderkit.simulator.requests import Booking
from orderkit.simulator.verdicts import KEY_REUSED, SERVER_ERROR, Verdict, failed_calls, reference, stamp


def book(connection: Connection, key: str, asked: Booking) -> Verdict:
    """Books a parcel once; the same tracking number is given to every later call with the key.

    By postal code: `FAIL-2` fails the first two calls of a key, `FAIL-ALWAYS` every call until it is healed, `REJECT` is
    not served. A cancelled key is refused for ever with 410; the same key for another order, with 422.
    """
    row = _booking(connection, key)
    if row is not None:
        if row["status"] == "cancelled":
            return Verdict(410, {"status": "rejected", "code": "cancelled"})
        same = (row["order_id"], row["amount"], row["currency"]) == (str(asked.order_id), asked.amount, asked.currency)
        return _booked(row["reference"]) if same else KEY_REUSED
    postal_code = (asked.address or {}).get("postal_code")
    if postal_code == "REJECT":
        return Verdict(422, {"status": "rejected", "code": "address_not_served"})
    if postal_code == "FAIL-2" and failed_calls(connection, "book", key) <= 2:
        return SERVER_ERROR
    if postal_code == "FAIL-ALWAYS" and not _healed(connection, key):
        failed_calls(connection, "book", key)
        return SERVER_ERROR
    tracking_number = reference("tr")
    connection.execute(
        "INSERT INTO bookings (key, reference, order_id, amount, currency, status, at) VALUES (?, ?, ?, ?, ?, 'booked', ?)",
        (key, tracking_number, str(asked.order_id), asked.amount, asked.currency, stamp()),
    )
    return _booked(tracking_number)


def cancel(connection: Connection, key: str) -> Verdict:
    """Cancels what was booked under the key, and keeps it from being booked later."""
    connection.execute(
        "INSERT INTO bookings (key, status, at) VALUES (?, 'cancelled', ?)"
        " ON CONFLICT (key) DO UPDATE SET status = 'cancelled'",
        (key, stamp()),
    )
    return Verdict(200, {"status": "cancelled"})


def heal(connection: Connection) -> int:
    """Lets the keys that have failed so far be booked from now on, `FAIL-ALWAYS` included; how many."""
    return connection.execute("UPDATE failures SET healed = 1 WHERE operation = 'book' AND healed = 0").rowcount


def _booking(connection: Connection, key: str) -> Row | None:
    row: Row | None = connection.execute("SELECT * FROM bookings WHERE key = ?", (key,)).fetchone()
    return row


def _booked(tracking_number: str) -> Verdict:
    return Verdict(200, {"status": "booked", "reference": tracking_number})


def _healed(connection: Connection, key: str) -> bool:
    row = connection.execute("SELECT healed FROM failures WHERE operation = 'book' AND key = ?", (key,)).fetchone()
    return row is not None and bool(row["healed"])
