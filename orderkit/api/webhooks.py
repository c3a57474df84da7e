"""Callbacks of the carrier. Their signature is their authentication; without it nothing of them is read, kept or logged."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from orderkit import batches, webhook_signatures
from orderkit.api import json_body, problems
from orderkit.api.dependencies import Running, Runtime, anyone
from orderkit.clock import now
from orderkit.errors import SignatureInvalid
from orderkit.events import receipts
from orderkit.fulfillment import delivery
from orderkit.fulfillment.delivery import Outcome
from orderkit.observability import context, metrics
from orderkit.webhook_signatures import ID, SIGNATURE, TIMESTAMP

DELIVERED = "shipment.delivered"

router = APIRouter(prefix="/webhooks", tags=["webhooks"])


class _Callback(BaseModel):
    """What the carrier sends. It may say more in time, so members that are not known are passed over."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)


class Callback(_Callback):
    type: Annotated[str, Field(min_length=1, max_length=255)]


class Shipment(_Callback):
    key: UUID = Field(description="The key that the shipment was booked under.")


class Delivered(Callback):
    timestamp: AwareDatetime = Field(description="When it was delivered.")
    data: Shipment


class Taken(BaseModel):
    """What came of the callback. Whatever it is, it need not be sent again."""

    outcome: Outcome | Literal["repeated", "ignored"] = Field(
        description="The order is delivered; will be, once it is shipped; stays as it is, being cancelled or refunded; this was "
        "known; of no shipment of ours; had this webhook-id before; of a type that is of no interest."
    )


_HEADERS = [
    {"name": name, "in": "header", "required": True, "schema": {"type": "string"}, "description": what}
    for name, what in (
        (ID, "The same for every repeat of one callback."),
        (TIMESTAMP, "Seconds since 1970; at most five minutes from now."),
        (SIGNATURE, "`v1,` and base64 of the HMAC-SHA-256 of `id.timestamp.body`; several by spaces."),
    )
]


@router.post(
    "/carrier",
    responses=problems.responses(400, 413, 415, 422, 503),
    openapi_extra=json_body.documented(Delivered) | {"parameters": _HEADERS},
)
@anyone
async def carrier_callback(request: Request, app: Running) -> Taken:
    """The carrier reports what became of a shipment, signed as Standard Webhooks has it. Repeats change nothing.

    The body is `{"type": "shipment.delivered", "timestamp": "…", "data": {"key": "…"}}`. Other types are taken and ignored. So is
    a shipment that is not known: a key is known before the carrier hears it, so that sending it again would not help.
    """
    try:
        message_id = await _verified(request, app)
    except SignatureInvalid:
        metrics.webhooks.labels("refused").inc()
        raise
    taken = await _taken(request, app, message_id)
    metrics.webhooks.labels(taken.outcome).inc()
    return taken


async def _taken(request: Request, app: Runtime, message_id: str) -> Taken:
    body: Any = await json_body.read(request)
    raw = await request.body()
    try:
        if Callback.model_validate(body).type != DELIVERED:
            return Taken(outcome="ignored")
        delivered = Delivered.model_validate_json(raw)
    except ValidationError as error:
        raise json_body.invalid(error) from None
    act = partial(_deliver, message_id=message_id, delivered=delivered, request_id=context.request_id())
    return await run_in_threadpool(batches.alone, app.database, act)


async def _verified(request: Request, app: Running) -> str:
    """The id of the callback. Raises SignatureInvalid, and BodyTooLarge from the edge."""
    values = [request.headers.getlist(name) for name in (ID, TIMESTAMP, SIGNATURE)]
    message_id, timestamp, signatures = (found[0] if len(found) == 1 else "" for found in values)
    body = await request.body()
    keys = await run_in_threadpool(lambda: app.settings.carrier_webhook_keys)  # development may read it from a file
    webhook_signatures.verify(
        keys, message_id=message_id, timestamp=timestamp, signatures=signatures, body=body, at=now()
    )
    return message_id


def _deliver(connection: Connection, *, message_id: str, delivered: Delivered, request_id: str) -> Taken:
    if not receipts.take(connection, message_id, at=now()):
        return Taken(outcome="repeated")
    return Taken(outcome=delivery.report(connection, delivered.data.key, delivered.timestamp, request_id=request_id))
