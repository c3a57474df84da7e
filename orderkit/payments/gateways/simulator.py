"""The payment provider that `orderkit simulate` plays, over HTTP."""

from __future__ import annotations

from uuid import UUID

import aiohttp

from orderkit.http_client import Answer, NoAnswer, post_json
from orderkit.payments.gateways import (
    Captured,
    ChargeResult,
    Declined,
    Refunded,
    RefundRefused,
    RefundResult,
    Unknown,
    Voided,
    VoidResult,
)
from orderkit.payments.gateways.builtin import TEST_METHODS


class SimulatorGateway:
    """A verdict is one only in the provider's own words: any other status or body is an Unknown."""

    name = "simulator"
    methods = TEST_METHODS

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url.rstrip("/")

    async def charge(self, *, key: UUID, amount: int, currency: str, method: str, attempt: int) -> ChargeResult:
        answer = await self._post("charges", key, {"amount": amount, "currency": currency, "method": method})
        return _charge_verdict(answer) or _no_verdict(answer)

    async def void(self, *, key: UUID, amount: int, currency: str, method: str, attempt: int) -> VoidResult:
        answer = await self._post("voids", key, {"amount": amount, "currency": currency})
        match answer:
            case Answer(200, {"status": "voided"}):
                return Voided()
        return _charge_verdict(answer) or _no_verdict(answer)

    async def refund(self, *, key: UUID, reference: str, amount: int, currency: str, attempt: int) -> RefundResult:
        answer = await self._post("refunds", key, {"charge": reference, "amount": amount, "currency": currency})
        match answer:
            case Answer(200, {"status": "refunded", "reference": str(refund)}) if refund:
                return Refunded(refund)
            case Answer(402, {"status": "refused", "code": str(code)}) if code:
                return RefundRefused(code)
        return _no_verdict(answer)

    async def _post(self, path: str, key: UUID, body: dict[str, object]) -> Answer | NoAnswer:
        return await post_json(self._http, f"{self._url}/{path}", body, headers={"Idempotency-Key": str(key)})


def _charge_verdict(answer: Answer | NoAnswer) -> Captured | Declined | None:
    match answer:
        case Answer(200, {"status": "captured", "reference": str(reference)}) if reference:
            return Captured(reference)
        case Answer(402, {"status": "declined", "code": str(code)}) if code:
            return Declined(code)
    return None


def _no_verdict(answer: Answer | NoAnswer) -> Unknown:
    if isinstance(answer, NoAnswer):
        return Unknown(answer.reason, retryable=not answer.timed_out, failure=answer.failure)
    code = answer.text("code")
    reason = f"status {answer.status}" + (f": {code}" if code else "")
    if answer.status >= 500:
        return Unknown(reason, retryable=True)
    # 409: another call under this key is under way and will soon have its verdict.
    return Unknown(reason, retryable=answer.status == 409, answered=400 <= answer.status < 500)
