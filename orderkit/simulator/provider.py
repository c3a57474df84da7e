"""The payment provider: charges, voids and refunds, each at most once for a key. Every act runs inside a transaction."""

from __future__ import annotations

from sqlite3 import Connection, Row

from orderkit.simulator.requests import Charge, Refund, Void
from orderkit.simulator.verdicts import (
    KEY_REUSED,
    SERVER_ERROR,
    SILENCE,
    Verdict,
    failed_calls,
    reference,
    stamp,
)

CAPTURES = frozenset(
    {
        "pm_card_visa",
        "pm_card_slow",
        "pm_card_timeout_before_charge",
        "pm_card_timeout_after_charge",
        "pm_card_error_then_ok",
    }
)
DECLINES = {"pm_card_declined": "card_declined", "pm_card_insufficient_funds": "insufficient_funds"}


def charge(connection: Connection, key: str, asked: Charge) -> Verdict:
    """Takes the money, or says no, once; the first verdict is given to every later call with the key.

    A voided key is declined for ever, as `voided`. The same key for another amount, currency or method is refused with 422
    and changes nothing. A call that fails on purpose leaves only its count.
    """
    row = _charge(connection, key)
    if row is not None:
        if row["status"] != "voided" and (row["amount"], row["currency"], row["method"]) != (
            asked.amount,
            asked.currency,
            asked.method,
        ):
            return KEY_REUSED
        return _declined("voided") if row["status"] == "voided" else _charge_verdict(row)
    if asked.method == "pm_card_timeout_before_charge" and failed_calls(connection, "charge", key) == 1:
        return SILENCE
    if asked.method == "pm_card_error_then_ok" and failed_calls(connection, "charge", key) <= 2:
        return SERVER_ERROR
    captured = asked.method in CAPTURES
    row = connection.execute(
        "INSERT INTO charges (key, reference, method, amount, currency, status, code, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
        (
            key,
            reference("ch") if captured else None,
            asked.method,
            asked.amount,
            asked.currency,
            "captured" if captured else "declined",
            None if captured else DECLINES.get(asked.method, "method_unknown"),
            stamp(),
        ),
    ).fetchone()
    verdict = _charge_verdict(row)
    if asked.method == "pm_card_timeout_after_charge":
        return Verdict(verdict.status, verdict.body, unanswered=True)
    return verdict


def void(connection: Connection, key: str, asked: Void) -> Verdict:
    """Keeps the key from ever being charged, or reports what became of it. What was captured stays captured."""
    row = _charge(connection, key)
    if row is not None and row["status"] != "voided":
        return _charge_verdict(row)
    if row is None:
        connection.execute(
            "INSERT INTO charges (key, amount, currency, status, at) VALUES (?, ?, ?, 'voided', ?)",
            (key, asked.amount, asked.currency, stamp()),
        )
    return Verdict(200, {"status": "voided"})


def refund(connection: Connection, key: str, asked: Refund) -> Verdict:
    """Gives money back, or refuses, once; never more in all than was captured. Refusals are kept under their key too."""
    row = connection.execute("SELECT * FROM refunds WHERE key = ?", (key,)).fetchone()
    if row is not None:
        same = (row["charge"], row["amount"], row["currency"]) == (asked.charge, asked.amount, asked.currency)
        return _refund_verdict(row) if same else KEY_REUSED
    refusal = _refusal(connection, asked)
    row = connection.execute(
        "INSERT INTO refunds (key, reference, charge, amount, currency, status, code, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
        (
            key,
            None if refusal else reference("re"),
            asked.charge,
            asked.amount,
            asked.currency,
            "refused" if refusal else "refunded",
            refusal,
            stamp(),
        ),
    ).fetchone()
    return _refund_verdict(row)


def _refusal(connection: Connection, asked: Refund) -> str | None:
    captured = connection.execute("SELECT * FROM charges WHERE reference = ?", (asked.charge,)).fetchone()
    if captured is None:
        return "charge_unknown"
    if captured["currency"] != asked.currency:
        return "currency_mismatch"
    (returned,) = connection.execute(
        "SELECT COALESCE(SUM(amount), 0) FROM refunds WHERE charge = ? AND status = 'refunded'", (asked.charge,)
    ).fetchone()
    return "amount_exceeds_captured" if returned + asked.amount > captured["amount"] else None


def _charge(connection: Connection, key: str) -> Row | None:
    row: Row | None = connection.execute("SELECT * FROM charges WHERE key = ?", (key,)).fetchone()
    return row


def _charge_verdict(row: Row) -> Verdict:
    if row["status"] == "captured":
        return Verdict(200, {"status": "captured", "reference": row["reference"]})
    return _declined(row["code"])


def _declined(code: str) -> Verdict:
    return Verdict(402, {"status": "declined", "code": code})


def _refund_verdict(row: Row) -> Verdict:
    if row["status"] == "refunded":
        return Verdict(200, {"status": "refunded", "reference": row["reference"]})
    return Verdict(402, {"status": "refused", "code": row["code"]})
