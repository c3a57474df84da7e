"""What the simulator is asked. Types are exact, bounds are set, and nothing extra is taken."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from orderkit.money import MAX_AMOUNT, is_currency


def _currency(code: str) -> str:
    if not is_currency(code):
        raise ValueError("is not an ISO 4217 currency")
    return code


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


Target = Literal["gateway", "carrier"]
Mode = Literal["error", "timeout_before", "timeout_after", "slow", "down"]


class Behavior(Asked):
    """The next `count` calls to `target` misbehave."""

    target: Target
    mode: Mode
    count: Annotated[int, Field(ge=1, le=1_000_000)] = 1
