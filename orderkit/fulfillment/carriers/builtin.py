"""A carrier in this process: what it answers follows from postal code, key and attempt alone. It keeps no ledger."""

from __future__ import annotations

import asyncio
from uuid import UUID

from orderkit.fulfillment.carriers import Booked, BookResult, Failed, Recalled, Rejected

SLOW_S = 2.0
FAIL_2_FAILURES = 2


class BuiltinCarrier:
    """Plays a carrier without a network. `FAIL-ALWAYS` has nothing here that could heal it; the simulator has."""

    name = "builtin"

    async def book(
        self, *, key: UUID, order_id: UUID, address: dict[str, str] | None, amount: int, currency: str, attempt: int
    ) -> BookResult:
        match (address or {}).get("postal_code"):
            case "SLOW":
                await asyncio.sleep(SLOW_S)
            case "FAIL-2" if attempt <= FAIL_2_FAILURES:
                return Failed("status 500")
            case "FAIL-ALWAYS":
                return Failed("status 500")
            case "REJECT":
                return Rejected("address_not_served")
        return Booked(f"OK{key.hex[-12:].upper()}")

    async def cancel(self, *, key: UUID) -> Recalled:
        return Recalled()
