"""Parcels that were given up, over HTTP: see them, try them again, or discard them and pay back."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from orderkit.api import problems
from orderkit.api.dependencies import Running, requires
from orderkit.api.pagination import Page, Paging, paging
from orderkit.auth.callers import Caller
from orderkit.fulfillment import dead_letters
from orderkit.fulfillment.dead_letters import Letter
from orderkit.observability import context

Operator = Annotated[Caller, Depends(requires("fulfillment:manage"))]

router = APIRouter(prefix="/dead-letters", tags=["dead letters"])


class LetterAnswer(BaseModel):
    """A fulfillment that was given up. `resolution` is `retried`, `discarded`, or null while it waits for a decision."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    order_id: UUID
    fulfillment_id: UUID
    reason: str = Field(description="What the carrier last said.")
    attempts: int = Field(description="Bookings that were tried before it was given up.")
    created_at: datetime
    resolved_at: datetime | None
    resolution: str | None


class CallAnswer(BaseModel):
    """One call to the carrier."""

    model_config = ConfigDict(from_attributes=True)

    number: int
    outcome: str
    detail: str | None
    started_at: datetime
    duration_ms: int


class LetterWithCalls(LetterAnswer):
    calls: list[CallAnswer] = Field(description="Every call made for the fulfillment, oldest first.")


@router.get("", responses=problems.responses(400, 401, 403, 422, 503))
def list_dead_letters(
    app: Running,
    _operator: Operator,
    paging: Annotated[Paging, Depends(paging)],
    resolved: Annotated[bool, Query(description="Also those that were retried or discarded.")] = False,
) -> Page[LetterAnswer]:
    """Dead letters that wait for a decision, newest first."""
    of = {"list": "dead-letters", "resolved": resolved}
    after = paging.after(of, dead_letters.Position)
    with app.database.reading() as session:
        found = dead_letters.page(session.connection(), limit=paging.limit + 1, resolved=resolved, after=after)
    return paging.page(
        of, found, lambda last: last.position, lambda shown: [LetterAnswer.model_validate(one) for one in shown]
    )


@router.get("/{letter_id}", responses=problems.responses(401, 403, 404, 422, 503))
def get_dead_letter(letter_id: UUID, app: Running, _operator: Operator) -> LetterWithCalls:
    """One dead letter, with every call to the carrier that led to it."""
    with app.database.reading() as session:
        letter = dead_letters.get(session.connection(), letter_id)
        calls = dead_letters.attempts(session.connection(), letter)
    answer = LetterAnswer.model_validate(letter)
    return LetterWithCalls(**answer.model_dump(), calls=[CallAnswer.model_validate(call) for call in calls])


@router.post(
    "/{letter_id}/retry",
    status_code=202,
    response_model=LetterAnswer,
    responses=problems.responses(401, 403, 404, 409, 422, 503),
)
def retry_dead_letter(letter_id: UUID, app: Running, operator: Operator) -> Letter:
    """Has the worker try again, with all attempts before it. However often this is asked, it runs once."""
    with app.database.transaction() as session:
        return dead_letters.retry(session.connection(), letter_id, actor_id=operator.id)


@router.post(
    "/{letter_id}/discard",
    status_code=202,
    response_model=LetterAnswer,
    responses=problems.responses(401, 403, 404, 409, 422, 503),
)
def discard_dead_letter(letter_id: UUID, app: Running, operator: Operator) -> Letter:
    """Cancels the order: its stock comes back at once, its money and whatever was booked through the worker."""
    with app.database.transaction() as session:
        return dead_letters.discard(
            session.connection(), letter_id, actor_id=operator.id, request_id=context.request_id()
        )
