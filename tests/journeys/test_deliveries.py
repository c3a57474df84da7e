"""From the order to the doorstep: the carrier reports a delivery, and whatever else comes as one changes nothing."""

from __future__ import annotations

from typing import Any

from tests.journeys.conftest import Shop, eventually
from tests.processes import Process


def test_an_order_is_paid_shipped_and_delivered_when_the_carrier_says_so(shop: Shop, worker: Process) -> None:
    shop.make_product("TEA", stock=10)
    order = shop.one(shop.order("k", [("TEA", 1)])).body["id"]
    eventually(lambda: shop.get(f"/orders/{order}")["status"] == "shipped")
    [parcel] = shop.ledger()["bookings"]
    callbacks = f"{shop.addresses[-1]}/webhooks/carrier"

    def report(**how: Any) -> list[tuple[int, str]]:
        told = shop.deliver(parcel["key"], url=callbacks, **how)
        return sorted((one["status"], one["body"].get("outcome") or one["body"]["code"]) for one in told["reports"])

    assert report(forge=True) == [(400, "signature_invalid")]
    assert report(skew_s=-400) == [(400, "signature_invalid")]
    assert shop.get(f"/orders/{order}")["status"] == "shipped"

    assert report(times=5) == [(200, "delivered"), *[(200, "repeated")] * 4]
    delivered = shop.get(f"/orders/{order}")
    assert delivered["status"] == "delivered"
    assert [one["status"] for one in shop.ledger()["bookings"]] == ["delivered"]

    assert report() == [(200, "repeated")]
    assert report(id="another") == [(200, "known")]
    assert shop.get(f"/orders/{order}") == delivered


def test_a_parcel_that_arrives_before_its_booking_was_answered_is_delivered_in_the_end(
    shop: Shop, worker: Process
) -> None:
    shop.make_product("TEA", stock=10)
    shop.misbehave("carrier", "timeout_after", 2)
    order = shop.one(shop.order("k", [("TEA", 1)])).body["id"]
    [parcel] = eventually(lambda: shop.ledger()["bookings"])
    told = shop.deliver(parcel["key"], url=f"{shop.addresses[0]}/webhooks/carrier")
    assert [one["status"] for one in told["reports"]] == [200]
    eventually(lambda: shop.get(f"/orders/{order}")["status"] == "delivered")
    assert len(shop.ledger()["bookings"]) == 1
