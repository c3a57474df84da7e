"""The simulator as a carrier: one key, one parcel, and failures by postal code that can be healed."""

from __future__ import annotations

import asyncio

import pytest

from orderkit.fulfillment.carriers import Booked, BookResult, Failed, Recalled, Rejected
from orderkit.fulfillment.carriers.simulator import SimulatorCarrier
from orderkit.ids import UUID, new_id
from tests.simulator.conftest import Simulator

pytestmark = pytest.mark.integration

ORDER = new_id()


async def book(
    carrier: SimulatorCarrier, key: UUID, postal_code: str | None = "SW1A 1AA", order_id: UUID = ORDER
) -> BookResult:
    address = {"name": "A. Buyer", "postal_code": postal_code} if postal_code else None
    return await carrier.book(key=key, order_id=order_id, address=address, amount=500, currency="GBP", attempt=1)


def test_fifty_bookings_at_once_under_one_key_are_one_parcel(simulator: Simulator) -> None:
    async def story() -> None:
        key = new_id()
        async with simulator.session() as http:
            carrier = SimulatorCarrier(http, simulator.url)
            results = await asyncio.gather(*(book(carrier, key) for _ in range(50)))
            assert await book(carrier, key, order_id=new_id()) == Rejected("key_reused")
        assert len(set(results)) == 1
        assert isinstance(results[0], Booked)
        (booking,) = (await simulator.ledger())["bookings"]
        assert booking["at"].endswith("Z")
        del booking["at"]
        assert booking == {
            "key": str(key),
            "reference": results[0].tracking_number,
            "amount": 500,
            "currency": "GBP",
            "status": "booked",
            "order_id": str(ORDER),
        }

    asyncio.run(story())


def test_bookings_and_cancels_that_race_never_leave_a_parcel_going(simulator: Simulator) -> None:
    async def story() -> None:
        keys = [new_id() for _ in range(10)]
        async with simulator.session() as http:
            carrier = SimulatorCarrier(http, simulator.url)
            bookings = [book(carrier, key) for key in keys]
            cancels = [carrier.cancel(key=key) for key in keys]
            booked, cancelled = await asyncio.gather(asyncio.gather(*bookings), asyncio.gather(*cancels))
            assert cancelled == [Recalled()] * 10
            assert all(isinstance(result, Booked) or result == Rejected("cancelled") for result in booked)
            assert [await book(carrier, key) for key in keys] == [Rejected("cancelled")] * 10
        parcels = (await simulator.ledger())["bookings"]
        assert len(parcels) == sum(isinstance(result, Booked) for result in booked)
        assert {parcel["status"] for parcel in parcels} <= {"cancelled"}

    asyncio.run(story())


def test_a_cancelled_booking_stays_in_the_ledger_as_cancelled(simulator: Simulator) -> None:
    async def story() -> None:
        key = new_id()
        async with simulator.session() as http:
            carrier = SimulatorCarrier(http, simulator.url)
            booked = await book(carrier, key)
            assert isinstance(booked, Booked)
            assert [await carrier.cancel(key=key) for _ in range(2)] == [Recalled()] * 2
            assert await book(carrier, key) == Rejected("cancelled")
        (parcel,) = (await simulator.ledger())["bookings"]
        assert (parcel["reference"], parcel["status"]) == (booked.tracking_number, "cancelled")

    asyncio.run(story())


def test_fail_2_fails_twice_for_each_key_and_then_books(simulator: Simulator) -> None:
    async def story() -> None:
        async with simulator.session() as http:
            carrier = SimulatorCarrier(http, simulator.url)
            for key in (new_id(), new_id()):
                results = [await book(carrier, key, "FAIL-2") for _ in range(3)]
                assert results[:2] == [Failed("server_error")] * 2
                assert isinstance(results[2], Booked)

    asyncio.run(story())


def test_healing_lets_the_keys_be_booked_that_always_failed_and_no_others(simulator: Simulator) -> None:
    async def story() -> None:
        before, after = new_id(), new_id()
        async with simulator.session() as http:
            carrier = SimulatorCarrier(http, simulator.url)
            assert [await book(carrier, before, "FAIL-ALWAYS") for _ in range(5)] == [Failed("server_error")] * 5
            assert await simulator.heal() == {"forgotten": 0, "healed": 1}
            assert await book(carrier, after, "FAIL-ALWAYS") == Failed("server_error")
            assert isinstance(await book(carrier, before, "FAIL-ALWAYS"), Booked)
        assert [parcel["key"] for parcel in (await simulator.ledger())["bookings"]] == [str(before)]

    asyncio.run(story())


def test_an_address_that_is_not_served_is_rejected_and_a_missing_or_slow_one_is_booked(simulator: Simulator) -> None:
    async def story() -> None:
        async with simulator.session() as http:
            carrier = SimulatorCarrier(http, simulator.url)
            assert await book(carrier, new_id(), "REJECT") == Rejected("address_not_served")
            assert isinstance(await book(carrier, new_id(), None), Booked)
            started = asyncio.get_running_loop().time()
            assert isinstance(await book(carrier, new_id(), "SLOW"), Booked)
            assert asyncio.get_running_loop().time() - started >= 0.2

    asyncio.run(story())
