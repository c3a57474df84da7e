"""What the simulator is asked. Types are exact, bounds are set, and nothing extra is taken."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from orderkit.money import MAX_AMOUNT, is_currency


def _currency(code: str) -> str:
    if not is_currency(code):
        raise ValueError("is not an ISO 4217 currency")
    return code


def _on_this_machine(url: str) -> str:
    """Whoever can reach the simulator could have it knock at doors that they cannot reach themselves."""
    try:
        parts = urlsplit(url)
        good = (
            parts.scheme in ("http", "https")
            and parts.hostname in ("127.0.0.1", "::1", "localhost")
            and parts.port != 0
        )
    except ValueError:
        good = False
    if not good:
        raise ValueError("is not a URL on this machine")
    return url


Amount = Annotated[int, Field(ge=0, le=MAX_AMOUNT)]
Currency = Annotated[str, AfterValidator(_currency)]
Text = Annotated[str, Field(min_length=1, max_length=255)]


class Asked(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Charge(Asked):
    amount: Amount
    currency: Currency
    method: Text


class Void(Asked):
    """Of the charge whose key the request carries."""

    amount: Amount
    currency: Currency


class Refund(Asked):
    """`charge` is the reference of the capture."""

    charge: Text
    amount: Annotated[int, Field(gt=0, le=MAX_AMOUNT)]
    currency: Currency


class Booking(Asked):
    order_id: UUID
    address: dict[str, str | None] | None = None
    amount: Amount
    currency: Currency


class Cancellation(Asked):
    """Of the booking whose key the request carries."""


class Delivery(Asked):
    """Of the booking with this key, or with this tracking number. How it is to be reported, and how badly.

    `times` reports, all at once and alike; signed `skew_s` seconds off the time, or with `forge` by a stranger. `id` is the
    webhook-id, the same for every report of a booking unless told otherwise. `url`: instead of the API of the settings.
    """

    key: Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,255}$")] | None = None
    tracking_number: Text | None = None
    url: Annotated[str, AfterValidator(_on_this_machine)] | None = None
    id: Annotated[str, Field(pattern=r"^[\x21-\x2d\x2f-\x7e]{1,255}$")] | None = None
    times: Annotated[int, Field(ge=1, le=100)] = 1
    skew_s: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] = 0
    forge: bool = False

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.key is None) == (self.tracking_number is None):
            raise ValueError("give the key or the tracking_number")
        return self


Target = Literal["gateway", "carrier"]
Mode = Literal["error", "timeout_before", "timeout_after", "slow", "down"]


class Behavior(Asked):
    """The next `count` calls to `target` misbehave."""

    target: Target
    mode: Mode
    count: Annotated[int, Field(ge=1, le=1_000_000)] = 1
