"""Facts: what reports are sums of. Money that came, money that went back, and orders that moved from status to status."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Sold:
    """A line of a sale: `revenue` is what its pieces came to, in minor units."""

    sku: str
    pieces: int
    revenue: int


@dataclass(frozen=True, slots=True)
class Sale:
    """The money of an order came, or it was imported. `at` is when the order was placed; `amount` its total in minor units.

    With `sign` -1 it is taken back, because the order is delivered to another country than was counted.
    """

    at: datetime
    currency: str
    user_id: UUID
    country: str | None
    amount: int
    lines: tuple[Sold, ...]
    sign: int = 1


@dataclass(frozen=True, slots=True)
class GivenBack:
    """A refund succeeded. `at` is when it was asked for; `amount` in minor units; `sign` as of a Sale."""

    at: datetime
    currency: str
    user_id: UUID
    country: str | None
    amount: int
    sign: int = 1


@dataclass(frozen=True, slots=True)
class Moved:
    """An order placed `at` that time went from status `before` to `after`.

    `before` is None for one that was `pending`: those are few, never summed, and counted where they are.
    """

    at: datetime
    currency: str
    before: str | None
    after: str


Fact = Sale | GivenBack | Moved
