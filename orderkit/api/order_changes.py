"""Changing and cancelling orders, and telling the story of one."""

from __future__ import annotations

import re
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Response
from pydantic import AfterValidator, Field, model_validator

from orderkit.api import answers, problems, timeline
from orderkit.api.dependencies import Running, requires
from orderkit.api.json_body import Body, Reason, StrictRoute, absent
from orderkit.api.orders import AddressIn, Reader, no_card_number, readable, sent
from orderkit.api.pagination import Page, Paging, paging
from orderkit.auth.callers import Caller
from orderkit.auth.permissions import OWN_ORDERS
from orderkit.errors import PreconditionRequired
from orderkit.fulfillment import by_hand
from orderkit.observability import context
from orderkit.orders import cancellation, editing
from orderkit.orders.states import OrderStatus

EVERYONES = "orders:write"

Staff = Annotated[Caller, Depends(requires(EVERYONES))]
Canceller = Annotated[Caller, Depends(requires(OWN_ORDERS, also=EVERYONES))]

router = APIRouter(prefix="/orders", tags=["orders"], route_class=StrictRoute)

_TAG = re.compile(r'(W/)?"([^"]*)"')


class OrderChange(Body):
    """What is to change: a member that is absent stays as it is, and a `staff_note` of null is taken away."""

    # Factories, so that the schema says "may be left out" and not "may be null". Strict, an enum would refuse its own text.
    status: Annotated[OrderStatus, Field(strict=False)] = Field(
        default_factory=absent,
        description="`shipped`, `delivered` or `cancelled`; any other is a conflict.",
    )
    shipping_address: AddressIn = Field(default_factory=absent, description="While no carrier has been asked.")
    staff_note: Annotated[str, Field(max_length=1000), AfterValidator(no_card_number)] | None = Field(
        None, description="Shown to staff only."
    )

    @model_validator(mode="after")
    def _something(self) -> OrderChange:
        if not self.model_fields_set:
            raise ValueError("name what is to change: status, shipping_address, staff_note or several of them")
        return self

    def wanted(self) -> by_hand.Wanted:
        named = self.model_fields_set
        return by_hand.Wanted(
            status=self.status,
            address=self.shipping_address.model_dump(exclude_none=True) if "shipping_address" in named else None,
            notes="staff_note" in named,
            staff_note=self.staff_note,
        )


class Cancellation(Body):
    reason: Reason | None = Field(None, description="Kept in the story of the order, which its owner may read.")


def if_match(
    sent: Annotated[
        list[str] | None,
        Header(alias="If-Match", include_in_schema=False),  # FastAPI would call it a list that may be left out
    ] = None,
) -> editing.Seen:
    """The versions that a request is made for (RFC 9110, section 13.1.1); None for any. Raises PreconditionRequired.

    A weak tag fits nothing, nor does what is no tag at all: that is found out with the order at hand.
    """
    condition = ",".join(sent or ()).strip()
    if not condition:
        raise PreconditionRequired("send the ETag of the order that you saw as If-Match, or * if any version will do")
    if condition == "*":
        return None
    if _TAG.sub("", condition).strip(" \t,"):
        return frozenset()
    return frozenset(tag for weak, tag in _TAG.findall(condition) if not weak)


@router.patch(
    "/{order_id}",
    responses={
        200: {"model": answers.OrderAnswer},
        **problems.responses(400, 401, 403, 404, 409, 412, 413, 415, 422, 428, 503),
    },
    openapi_extra={
        "parameters": [
            {
                "name": "If-Match",
                "in": "header",
                "required": True,
                "schema": {"type": "string"},
                "description": "The ETag of the order that was seen; `*` for whichever it is.",
            }
        ]
    },
)
def change_order(
    order_id: UUID,
    body: OrderChange,
    app: Running,
    staff: Staff,
    seen: Annotated[editing.Seen, Depends(if_match)],
) -> Response:
    """Ships an order by hand, calls it delivered, cancels it, sends it elsewhere, or notes something: all that is named,
    or nothing.

    Shipping by hand stops what is under way with the carrier; while the carrier is just being asked, it is a conflict. A status
    that the order has already is no change: with `If-Match: *` a repeat is answered with the order as it is, with the ETag of
    before it is 412.
    """
    with app.database.transaction() as session:
        connection = session.connection()
        order = by_hand.change(
            connection,
            order_id,
            body.wanted(),
            seen=seen,
            actor_id=staff.id,
            request_id=context.request_id(),
        )
        return sent(connection, order, to_staff=True)


@router.post(
    "/{order_id}/cancel",
    responses={200: {"model": answers.OrderAnswer}, **problems.responses(400, 401, 403, 404, 409, 413, 415, 422, 503)},
)
def cancel_order(order_id: UUID, app: Running, caller: Canceller, body: Cancellation | None = None) -> Response:
    """Cancels an order that is not shipped yet: its stock comes back at once, its money and its parcel through the worker.

    An order that is cancelled already is answered as it is.
    """
    staff = caller.may(EVERYONES)
    with app.database.transaction() as session:
        connection = session.connection()
        order = cancellation.cancel(
            connection,
            order_id,
            reason=(body and body.reason) or cancellation.NO_REASON,
            of_user=None if staff else caller.id,
            actor_id=caller.id,
            request_id=context.request_id(),
        )
        return sent(connection, order, to_staff=staff)


@router.get("/{order_id}/timeline", responses=problems.responses(400, 401, 403, 404, 422, 503))
def get_timeline(
    order_id: UUID, caller: Reader, app: Running, paging: Annotated[Paging, Depends(paging)]
) -> Page[timeline.TimelineItem]:
    """The story of an order, oldest first, to its owner and to staff: every change, every call to provider and carrier,
    every refund and delivery, in sentences.
    """
    to_staff = caller.may("orders:read")
    of = {"list": "timeline", "order": str(order_id), "to_staff": to_staff}
    after = paging.after(of, timeline.Position)
    with app.database.reading() as session:
        connection = session.connection()
        order = readable(connection, order_id, caller)
        found = timeline.page(connection, order, limit=paging.limit, to_staff=to_staff, after=after)
    return Page(
        items=[timeline.TimelineItem.model_validate(one) for one in found.items],
        next_cursor=found.more_after and paging.cursor(of, found.more_after),
    )
