"""Queries of the state of the system, which are asked at each scrape."""

from __future__ import annotations

from orderkit.explain.query import Bench, Query
from orderkit.system import state

WHAT = {
    "events": "events that the relay has not sent",
    "payments": "payments without a verdict",
    "refunds": "refunds on their way back",
    "fulfillments": "parcels that are to be shipped",
    "recalls": "bookings that the carrier is to forget",
    "mails": "mails that are to be sent",
    "dead_letters": "dead letters that wait for a decision",
}


def _read(bench: Bench) -> object:
    return state.read(bench.connection)


QUERIES = tuple(
    Query(
        f"system.{name}",
        f"how many wait, and since when: {what}; {state.MOST:,} at most are looked at",
        state.KINDS[name].index,
        _read,
        ordered=True,
    )
    for name, what in WHAT.items()
)
