"""Carriers: what one is asked, what it may answer, and which one is in use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from orderkit.settings import Settings

if TYPE_CHECKING:
    import aiohttp


@dataclass(frozen=True, slots=True)
class Booked:
    tracking_number: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A definite no (a 4xx): asking again is no use."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A 5xx, a timeout, a lost connection: it may have been done, and asking again under the same key is safe.

    `answered`: the carrier spoke, but gave no verdict: it is up, and its circuit breaker need not open. `unsent`: it was not
    even asked, for there was no connection. `failure` is the class of the error, for the log.
    """

    reason: str
    answered: bool = False
    unsent: bool = False
    failure: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Recalled:
    """The carrier will carry nothing under this key: what was booked is cancelled, and nothing can be booked again."""


BookResult = Booked | Rejected | Failed
RecallResult = Recalled | Failed


class Carrier(Protocol):
    """A carrier. Calls raise nothing but CancelledError.

    `key` is the idempotency key: however often it is asked, at most one parcel goes. `amount` is the order's value in
    minor units of `currency`. `address` is the order's, None where it has none. `attempt` counts bookings from 1.
    """

    @property
    def name(self) -> str: ...

    async def book(
        self, *, key: UUID, order_id: UUID, address: dict[str, str] | None, amount: int, currency: str, attempt: int
    ) -> BookResult: ...

    async def cancel(self, *, key: UUID) -> RecallResult:
        """Takes back what may have been booked under `key`, and keeps it from being booked later."""
        ...


def open_carrier(settings: Settings, http: aiohttp.ClientSession | None) -> Carrier:
    """The carrier that the settings name. Those that are not in process use `http`, which stays the caller's to close.

    Raises ValueError when one that needs `http` is given none.
    """
    if settings.carrier_name == "builtin":
        from orderkit.fulfillment.carriers.builtin import BuiltinCarrier

        return BuiltinCarrier()
    if http is None:
        raise ValueError(f"the {settings.carrier_name} carrier needs an HTTP session")
    from orderkit.fulfillment.carriers.simulator import SimulatorCarrier

    return SimulatorCarrier(http, settings.simulator_url)
