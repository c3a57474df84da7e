"""Payment providers: what one is asked, what it may answer, and which one is in use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from orderkit.settings import Settings

if TYPE_CHECKING:
    import aiohttp


@dataclass(frozen=True, slots=True)
class Captured:
    """The money was taken, once, under the provider's `reference`."""

    reference: str


@dataclass(frozen=True, slots=True)
class Declined:
    """A definite no: nothing was taken and nothing will be under this key."""

    code: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The provider may or may not have done it. Not a failure: only asking again under the same key can tell.

    `retryable`: worth repeating at once (a 5xx, a connection that was refused or cut); a timeout is not, it has used
    the time up. `answered`: the provider spoke, but gave no verdict: it is up, and its circuit breaker need not open.
    `failure` is the class of the error, for the log.
    """

    reason: str
    retryable: bool = False
    answered: bool = False
    failure: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Voided:
    """Nothing was taken, and the provider refuses this key for ever."""


@dataclass(frozen=True, slots=True)
class Refunded:
    reference: str


@dataclass(frozen=True, slots=True)
class RefundRefused:
    """A definite no: nothing was given back and nothing will be under this key."""

    code: str


ChargeResult = Captured | Declined | Unknown
VoidResult = Voided | Captured | Declined | Unknown
RefundResult = Refunded | RefundRefused | Unknown


class Gateway(Protocol):
    """A payment provider. Calls raise nothing but CancelledError: whatever goes wrong is an Unknown.

    `key` is the idempotency key: however often it is asked, in whatever order, at most one act comes of it. `amount` is
    in minor units of `currency`. `attempt` counts the calls under a key from 1 over its whole life, voids included.
    """

    @property
    def name(self) -> str: ...

    @property
    def methods(self) -> frozenset[str]:
        """The payment methods it knows."""
        ...

    async def charge(self, *, key: UUID, amount: int, currency: str, method: str, attempt: int) -> ChargeResult: ...

    async def void(self, *, key: UUID, amount: int, currency: str, method: str, attempt: int) -> VoidResult:
        """Ends a charge that is unknown: either it never happened and never will, or it reports what did happen."""
        ...

    async def refund(self, *, key: UUID, reference: str, amount: int, currency: str, attempt: int) -> RefundResult:
        """Gives back `amount` of the capture `reference`, under a key of its own."""
        ...


def open_gateway(settings: Settings, http: aiohttp.ClientSession | None) -> Gateway:
    """The gateway that the settings name. Those that are not in process use `http`, which stays the caller's to close.

    Raises ValueError when one that needs `http` is given none.
    """
    if settings.gateway == "builtin":
        from orderkit.payments.gateways.builtin import BuiltinGateway

        return BuiltinGateway()
    if http is None:
        raise ValueError(f"the {settings.gateway} gateway needs an HTTP session")
    from orderkit.payments.gateways.simulator import SimulatorGateway

    return SimulatorGateway(http, settings.simulator_url)
