"""Who is outside: a payment provider and a carrier, each with books of its own, that answer in the mood they are put in.

Their books are what orderkit's are held against, so they know nothing of orderkit but what they are asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock
from typing import Generic, Literal, TypeVar
from uuid import UUID

from orderkit.fulfillment.carriers import Booked, BookResult, Failed, Recalled, RecallResult, Rejected
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

Silence = TypeVar("Silence")
R = TypeVar("R")


class Mood(StrEnum):
    """What becomes of one call. Whoever is slow waits until told to go on; a caller that dies never hears the answer."""

    WELL = "answers"
    REFUSES = "says no to what is new"
    DEAF = "hears nothing, and is not heard"
    MUTE = "does it, and is not heard"
    CALLER_DIES_FIRST = "hears nothing, as the caller dies"
    CALLER_DIES_AFTER = "does it, while the caller dies"
    SLOW_TO_ACT = "takes its time, then does it and answers"
    SLOW_TO_ANSWER = "does it, then takes its time to answer"


class CallerDied(Exception):
    """The process that called is no more: what it would have done next does not happen."""


class Outside(Generic[Silence]):
    """Somebody to call. Thread-safe. `on_slow` is given what a slow call waits for."""

    def __init__(self, silence: Silence) -> None:
        self.mood = Mood.WELL
        self.on_slow: Callable[[asyncio.Future[None]], object] = lambda _going_on: None
        self._silence = silence
        self._lock = Lock()

    async def _called(self, act: Callable[[bool], R]) -> R | Silence:
        """What `act`, told whether to refuse, answers; unless the mood of the moment comes between."""
        mood = self.mood
        if mood is Mood.CALLER_DIES_FIRST:
            raise CallerDied
        if mood is Mood.DEAF:
            return self._silence
        if mood is Mood.SLOW_TO_ACT:
            await self._take_time()
        with self._lock:
            answer = act(mood is Mood.REFUSES)
        if mood is Mood.CALLER_DIES_AFTER:
            raise CallerDied
        if mood is Mood.MUTE:
            return self._silence
        if mood is Mood.SLOW_TO_ANSWER:
            await self._take_time()
        return answer

    async def _take_time(self) -> None:
        going_on: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_slow(going_on)
        await going_on


@dataclass
class Charge:
    """What became of a key, for ever: the first verdict stands. `amount` in minor units."""

    status: Literal["captured", "declined", "voided"]
    amount: int


@dataclass
class PaidBack:
    reference: str
    amount: int
    done: bool


class Provider(Outside[Unknown]):
    """A payment provider. `charges` by key, and `refunds` by theirs, of the captures they name."""

    name = "outside"
    methods = frozenset({"pm_card_visa"})

    def __init__(self) -> None:
        super().__init__(Unknown("no answer"))
        self.charges: dict[UUID, Charge] = {}
        self.refunds: dict[UUID, PaidBack] = {}

    async def charge(self, *, key: UUID, amount: int, currency: str, method: str, attempt: int) -> ChargeResult:
        def act(refuse: bool) -> ChargeResult:
            charge = self.charges.setdefault(key, Charge("declined" if refuse else "captured", amount))
            assert charge.amount == amount, "one key is one amount"
            return Captured(reference(key)) if charge.status == "captured" else Declined(charge.status)

        return await self._called(act)

    async def void(self, *, key: UUID, amount: int, currency: str, method: str, attempt: int) -> VoidResult:
        def act(_refuse: bool) -> VoidResult:
            match self.charges.setdefault(key, Charge("voided", amount)).status:
                case "captured":
                    return Captured(reference(key))
                case "declined":
                    return Declined("declined")
                case "voided":
                    return Voided()

        return await self._called(act)

    async def refund(self, *, key: UUID, reference: str, amount: int, currency: str, attempt: int) -> RefundResult:
        def act(refuse: bool) -> RefundResult:
            fits = self.paid_back(reference) + amount <= self.captured(reference)
            refund = self.refunds.setdefault(key, PaidBack(reference, amount, fits and not refuse))
            assert (refund.reference, refund.amount) == (reference, amount), "one key is one refund"
            return Refunded(f"re_{key.hex}") if refund.done else RefundRefused("refused")

        return await self._called(act)

    def captured(self, of: str) -> int:
        """What was taken under a reference, in minor units."""
        charge = self.charges.get(UUID(of.removeprefix("ch_")))
        return charge.amount if charge is not None and charge.status == "captured" else 0

    def paid_back(self, of: str) -> int:
        """What went back of the capture of that reference, in minor units."""
        return sum(one.amount for one in self.refunds.values() if one.done and one.reference == of)


def reference(key: UUID) -> str:
    return f"ch_{key.hex}"


class Carrier(Outside[Failed]):
    """A carrier. `parcels` by key: what it carries, and what it was told to forget. `orders`: whose each is."""

    name = "outside"

    def __init__(self) -> None:
        super().__init__(Failed("no answer"))
        self.parcels: dict[UUID, Literal["carried", "forgotten"]] = {}
        self.orders: dict[UUID, UUID] = {}

    async def book(
        self, *, key: UUID, order_id: UUID, address: dict[str, str] | None, amount: int, currency: str, attempt: int
    ) -> BookResult:
        def act(refuse: bool) -> BookResult:
            if refuse and key not in self.parcels:
                return Rejected("address_not_served")
            self.orders[key] = order_id
            carried = self.parcels.setdefault(key, "carried") == "carried"
            return Booked(f"TR{key.hex}") if carried else Rejected("cancelled")

        return await self._called(act)

    async def cancel(self, *, key: UUID) -> RecallResult:
        def act(_refuse: bool) -> RecallResult:
            self.parcels[key] = "forgotten"
            return Recalled()

        return await self._called(act)
