"""One's API keys over HTTP: made, listed and revoked by somebody who logged in, never by a key."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from orderkit.api import problems
from orderkit.api.accounts import CurrentPassword, require_password
from orderkit.api.dependencies import Acting, Running, Runtime, logged_in
from orderkit.api.json_body import Body, OneLine, StrictRoute
from orderkit.api.pagination import Page, Paging, paging
from orderkit.auth import api_keys
from orderkit.auth.audit_log import Actor
from orderkit.auth.callers import Caller

Owner = Annotated[Caller, Depends(logged_in)]

router = APIRouter(prefix="/users/me/api-keys", tags=["API keys"], route_class=StrictRoute)


class ApiKeyIn(Body):
    """`permissions`: what the key may do at most. It never does more than its owner may at the time."""

    name: Annotated[OneLine, Field(examples=["nightly export"])]
    permissions: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=64)]],
        Field(min_length=1, max_length=50, examples=[["orders:own"]]),
    ]
    expires_in_days: Annotated[int, Field(ge=1, le=api_keys.MAX_DAYS)] = api_keys.DEFAULT_DAYS
    current_password: Annotated[
        CurrentPassword,
        Field(description="The account's, so that a stolen access token of 15 minutes buys no key of a year."),
    ]


class ApiKeyAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    prefix: str = Field(description="How the key begins.", examples=["okk_k3v9x0qa"])
    permissions: list[str]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = Field(description="To the minute.")
    revoked_at: datetime | None


class MadeKey(ApiKeyAnswer):
    key: str = Field(description="Shown this once. Send it as `Authorization: Bearer okk_…`.")


@router.get("", responses=problems.responses(400, 401, 403, 422, 503))
def list_api_keys(owner: Owner, app: Running, paging: Annotated[Paging, Depends(paging)]) -> Page[ApiKeyAnswer]:
    """One's API keys, those that are no longer good too, newest first."""
    of = {"list": "api-keys", "user": str(owner.id)}
    after = paging.after(of, api_keys.Position)
    with app.database.reading() as session:
        found = api_keys.page(session.connection(), owner.id, limit=paging.limit + 1, after=after)
    return paging.page(
        of, found, lambda last: last.position, lambda shown: [ApiKeyAnswer.model_validate(one) for one in shown]
    )


@router.post("", status_code=201, responses=problems.responses(400, 401, 403, 409, 413, 415, 422, 429, 503))
async def make_api_key(body: ApiKeyIn, request: Request, owner: Owner, app: Running, actor: Acting) -> MadeKey:
    """Makes an API key and shows it, this once. At most 50 of one's keys are good at the same time.

    A wrong password counts as a failed login.
    """
    await require_password(app, request, owner, body.current_password)
    return await run_in_threadpool(_make, body, owner, app, actor)


def _make(body: ApiKeyIn, owner: Caller, app: Runtime, actor: Actor) -> MadeKey:
    with app.database.transaction() as session:
        key, text = api_keys.make(
            session.connection(),
            actor,
            owner.id,
            name=body.name,
            wanted=body.permissions,
            days=body.expires_in_days,
        )
    return MadeKey(**ApiKeyAnswer.model_validate(key).model_dump(), key=text)


@router.delete("/{key_id}", status_code=204, responses=problems.responses(401, 403, 404, 422, 503))
def revoke_api_key(key_id: UUID, owner: Owner, app: Running, actor: Acting) -> None:
    """Revokes one of one's API keys: the next request with it is refused."""
    with app.database.transaction() as session:
        api_keys.revoke(session.connection(), actor, owner.id, key_id)
