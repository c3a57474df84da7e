"""A payment provider in this process: its answers follow from method, key and attempt alone. It keeps no ledger."""

from __future__ import annotations

import asyncio
from uuid import UUID

from orderkit.payments.gateways import (
    Captured,
    ChargeResult,
    Declined,
    Refunded,
    RefundResult,
    Unknown,
    Voided,
    VoidResult,
)

SLOW_S = 2.0

DECLINES = {"pm_card_declined": "card_declined", "pm_card_insufficient_funds": "insufficient_funds"}

CAPTURED_BY_ATTEMPT = {
    "pm_card_visa": 1,
    "pm_card_slow": 1,
    "pm_card_timeout_after_charge": 1,
    "pm_card_timeout_before_charge": 2,
    "pm_card_error_then_ok": 3,
}
"""The attempt at which each method takes the money."""

TEST_METHODS = frozenset(DECLINES) | frozenset(CAPTURED_BY_ATTEMPT)


class BuiltinGateway:
    """Plays a provider without a network. A timeout is answered at once as the Unknown it would end in."""

    name = "builtin"
    methods = TEST_METHODS

    async def charge(self, *, key: UUID, amount: int, currency: str, method: str, attempt: int) -> ChargeResult:
        if method == "pm_card_slow":
            await asyncio.sleep(SLOW_S)
        if method in ("pm_card_timeout_before_charge", "pm_card_timeout_after_charge") and attempt == 1:
            return Unknown("timed out")
        if method == "pm_card_error_then_ok" and attempt < CAPTURED_BY_ATTEMPT[method]:
            return Unknown("status 500", retryable=True)
        return _declined(method) or _captured(key)

    async def void(self, *, key: UUID, amount: int, currency: str, method: str, attempt: int) -> VoidResult:
        """`attempt - 1` calls came before: whether one of them took the money follows from the method."""
        made = attempt - 1
        if made and (declined := _declined(method)):
            return declined
        return _captured(key) if method in CAPTURED_BY_ATTEMPT and made >= CAPTURED_BY_ATTEMPT[method] else Voided()

    async def refund(self, *, key: UUID, reference: str, amount: int, currency: str, attempt: int) -> RefundResult:
        return Refunded(f"re_{key.hex}")


def _captured(key: UUID) -> Captured:
    return Captured(f"ch_{key.hex}")


def _declined(method: str) -> Declined | None:
    if method in CAPTURED_BY_ATTEMPT:
        return None
    return Declined(DECLINES.get(method, "method_unknown"))
