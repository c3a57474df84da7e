"""Giving money back over HTTP, and seeing what was."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from orderkit import idempotency
from orderkit.api import problems
from orderkit.api.dependencies import Running, requires
from orderkit.api.json_body import Body, Reason, StrictRoute, absent
from orderkit.api.orders import Reader, idempotency_key, readable
from orderkit.api.pagination import Page, Paging, paging
from orderkit.auth.callers import Caller
from orderkit.errors import NotFound
from orderkit.ids import new_id
from orderkit.money import MAX_AMOUNT
from orderkit.observability import context, metrics
from orderkit.orders import refund_reading, refund_requests
from orderkit.orders.refund_lines import AskedLine
from orderkit.orders.refund_requests import RequestRefund
from orderkit.orders.refunds import OrderRefund

router = APIRouter(prefix="/orders/{order_id}/refunds", tags=["refunds"], route_class=StrictRoute)

MAX_PIECES = 1_000_000
"""A SKU may be on all 100 lines of an order, 10,000 pieces each."""


class RefundLineIn(Body):
    """So many pieces of one line of the order."""

    # Factories, so that the schema says "may be left out" and not "may be null".
    sku: Annotated[str, Field(min_length=1, max_length=64)] = Field(default_factory=absent)
    line: Annotated[int, Field(ge=1, le=100)] = Field(
        default_factory=absent, description="Instead of `sku`: which of the order's `items`, from 1."
    )
    quantity: Annotated[int, Field(ge=1, le=MAX_PIECES)]

    @model_validator(mode="after")
    def _named_once(self) -> RefundLineIn:
        if len({"sku", "line"} & self.model_fields_set) != 1:
            raise ValueError("name the line by its sku or by its number, one of the two")
        return self


class RefundIn(Body):
    """What to give back: an `amount`, the price of `lines`, or, without either, all that is left."""

    amount: Annotated[int, Field(ge=1, le=MAX_AMOUNT)] = Field(
        default_factory=absent, description="In minor units of the order's currency."
    )
    lines: Annotated[list[RefundLineIn], Field(min_length=1, max_length=100)] = Field(default_factory=absent)
    restock: bool = Field(False, description="The goods, which must have left, come back when it succeeded.")
    reason: Reason = Field(description="The order's owner may read it.")

    @model_validator(mode="after")
    def _one_measure(self) -> RefundIn:
        if {"amount", "lines"} <= self.model_fields_set:
            raise ValueError("name an amount or lines, not both")
        return self


class RefundedPieces(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    line: int
    sku: str
    quantity: int


class RefundAnswer(BaseModel):
    """A refund. `pending` until the provider has confirmed it (`succeeded`) or refused (`failed`)."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    order_id: UUID
    amount: int = Field(description="In minor units.")
    currency: str
    status: str
    reason: str
    restock: bool
    lines: list[RefundedPieces] = Field(description="The pieces that it is for; none if it is for money alone.")
    created_at: datetime
    updated_at: datetime


async def _sent(request: Request) -> Any:
    """The body as it was sent, which is what makes two requests the same."""
    return await request.json()


@router.post(
    "",
    status_code=201,
    response_model=RefundAnswer,
    responses=problems.responses(400, 401, 403, 404, 409, 413, 415, 422, 503),
    openapi_extra={
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": True,
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
                "description": "One new value for each new refund; repeats of it never pay back twice.",
            }
        ]
    },
)
def refund_order(
    order_id: UUID,
    body: RefundIn,
    app: Running,
    caller: Annotated[Caller, Depends(requires("orders:refund"))],
    key: Annotated[str, Depends(idempotency_key)],
    sent: Annotated[Any, Depends(_sent)],
    request: Request,
) -> Response:
    """Promises money back; the worker has the provider pay it, within moments as a rule.

    All refunds of an order together are never more than was captured; the refusal says what is `left`. When all of it has
    gone back the order is `refunded`, and one that was not shipped never is: its goods come back without `restock`, which is
    for goods that have left and otherwise 409. Repeat the request with the same Idempotency-Key, whatever fails: it is paid
    once.
    """
    wanted = RequestRefund(
        refund_id=new_id(),
        order_id=order_id,
        user_id=caller.id,
        idempotency_key=key,
        fingerprint=idempotency.fingerprint("POST", request.scope["path"], sent),
        reason=body.reason,
        amount=body.amount,
        lines=tuple(AskedLine(one.quantity, one.line, one.sku) for one in body.lines) if body.lines else None,
        restock=body.restock,
        request_id=context.request_id(),
    )
    given = refund_requests.carry_out(app.database, app.settings, wanted, _promised)
    refund_id = json.loads(given.answer.body)["id"]
    headers = {"Location": refund_requests.location(order_id, refund_id)}
    if given.replayed:
        metrics.idempotency.labels("replayed").inc()
        headers["Idempotent-Replayed"] = "true"
    return Response(given.answer.body, given.answer.status, headers, "application/json")


def _promised(refund: OrderRefund) -> idempotency.Answer:
    return idempotency.Answer(201, RefundAnswer.model_validate(refund).model_dump_json())


@router.get("", responses=problems.responses(400, 401, 403, 404, 422, 503))
def list_refunds(
    order_id: UUID, caller: Reader, app: Running, paging: Annotated[Paging, Depends(paging)]
) -> Page[RefundAnswer]:
    """The refunds of an order, newest first, to its owner and to staff."""
    of = {"list": "refunds", "order": str(order_id)}
    after = paging.after(of, refund_reading.Position)
    with app.database.reading() as session:
        readable(session.connection(), order_id, caller)
        found = refund_reading.page(session.connection(), order_id, limit=paging.limit + 1, after=after)
    return paging.page(
        of, found, refund_reading.position, lambda shown: [RefundAnswer.model_validate(one) for one in shown]
    )


@router.get("/{refund_id}", response_model=RefundAnswer, responses=problems.responses(401, 403, 404, 422, 503))
def get_refund(order_id: UUID, refund_id: UUID, caller: Reader, app: Running) -> OrderRefund:
    """One refund as it stands, to the order's owner and to staff."""
    with app.database.reading() as session:
        readable(session.connection(), order_id, caller)
        found = refund_reading.find(session.connection(), order_id, refund_id)
    if found is None:
        raise NotFound(f"there is no refund {refund_id} of this order")
    return found
