"""The carrier that `orderkit simulate` plays, over HTTP."""

from __future__ import annotations

from uuid import UUID

import aiohttp

from orderkit.fulfillment.carriers import Booked, BookResult, Failed, Recalled, RecallResult, Rejected
from orderkit.http_client import Answer, NoAnswer, post_json

TRY_LATER = frozenset({408, 409, 425, 429})
"""The 4xx that are about this moment, not about the booking."""


class SimulatorCarrier:
    """A booking is one only in the carrier's own words: any other 2xx is a failure, to be asked again."""

    name = "simulator"

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url.rstrip("/")

    async def book(
        self, *, key: UUID, order_id: UUID, address: dict[str, str] | None, amount: int, currency: str, attempt: int
    ) -> BookResult:
        body: dict[str, object] = {
            "order_id": str(order_id),
            "address": address,
            "amount": amount,
            "currency": currency,
        }
        answer = await self._post("bookings", key, body)
        match answer:
            case Answer(200, {"status": "booked", "reference": str(tracking_number)}) if tracking_number:
                return Booked(tracking_number)
            case Answer(status) if 400 <= status < 500 and status not in TRY_LATER:
                return Rejected(_reason(answer))
        return _failed(answer)

    async def cancel(self, *, key: UUID) -> RecallResult:
        answer = await self._post("bookings/cancel", key, {})
        match answer:
            case Answer(200, {"status": "cancelled"}):
                return Recalled()
        return _failed(answer)

    async def _post(self, path: str, key: UUID, body: dict[str, object]) -> Answer | NoAnswer:
        return await post_json(self._http, f"{self._url}/{path}", body, headers={"Idempotency-Key": str(key)})


def _failed(answer: Answer | NoAnswer) -> Failed:
    if isinstance(answer, NoAnswer):
        return Failed(answer.reason, unsent=answer.unsent, failure=answer.failure)
    return Failed(_reason(answer), answered=400 <= answer.status < 500)


def _reason(answer: Answer) -> str:
    return answer.text("code") or f"status {answer.status}"
