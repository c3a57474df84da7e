"""Delivering, and reporting it to the API in a signed callback: once, often, late, or forged."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass
from datetime import timedelta
from sqlite3 import Connection
from typing import Any

import aiohttp

from orderkit import webhook_signatures
from orderkit.clock import now
from orderkit.http_client import Answer, NoAnswer, open_session, post
from orderkit.simulator.requests import Delivery
from orderkit.simulator.verdicts import Verdict, stamp

REPORT_WITHIN_S = 10.0
CALLBACKS = "webhooks/carrier"

UNKNOWN = Verdict(404, {"code": "unknown", "detail": "nothing was booked under this"})
CANCELLED = Verdict(409, {"code": "cancelled", "detail": "the booking was cancelled"})


@dataclass(frozen=True, slots=True)
class Delivered:
    """A parcel that is delivered; `at` is since when, for every report of it."""

    key: str
    tracking_number: str
    at: str


def deliver(connection: Connection, asked: Delivery) -> Delivered | Verdict:
    """Delivers a parcel that was booked, unless the report is to be forged; or says why that cannot be."""
    row = connection.execute(
        "SELECT * FROM bookings WHERE key = ? OR reference = ?", (asked.key, asked.tracking_number)
    ).fetchone()
    if row is None or row["reference"] is None:
        return UNKNOWN
    if row["status"] == "cancelled":
        return CANCELLED
    key, at = row["key"], stamp()
    if not asked.forge:
        connection.execute("INSERT INTO deliveries (key, at) VALUES (?, ?) ON CONFLICT DO NOTHING", (key, at))
        at = connection.execute("SELECT at FROM deliveries WHERE key = ?", (key,)).fetchone()["at"]
    return Delivered(key, row["reference"], at)


async def report(delivered: Delivered, asked: Delivery, *, key: bytes, api: str) -> dict[str, Any]:
    """Sends the callbacks, all at once: what each was answered, with status None where nothing came back."""
    if asked.forge:
        key = secrets.token_bytes(32)
    message_id = asked.id or f"delivered-{delivered.key}".replace(".", "-")[:255]
    body = json.dumps(
        {
            "type": "shipment.delivered",
            "timestamp": delivered.at,
            "data": {"key": delivered.key, "tracking_number": delivered.tracking_number},
        }
    ).encode()
    signed = webhook_signatures.sign(key, message_id, now() + timedelta(seconds=asked.skew_s), body)
    url = asked.url or f"{api.rstrip('/')}/{CALLBACKS}"
    async with open_session(REPORT_WITHIN_S) as http:
        reports = await asyncio.gather(*(_sent(http, url, body, signed) for _ in range(asked.times)))
    return {"id": message_id, "key": delivered.key, "url": url, "reports": reports}


async def _sent(http: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
    match await post(http, url, body, headers=headers):
        case Answer(status, answered):
            return {"status": status, "body": answered}
        case NoAnswer(reason):
            return {"status": None, "reason": reason}
