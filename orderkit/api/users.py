"""Other people's accounts: what anyone may see of one, and what staff may find, change and delete."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from orderkit.api import problems
from orderkit.api.dependencies import Acting, Running, anyone, requires
from orderkit.api.json_body import Body, StrictRoute
from orderkit.api.pagination import Page, Paging, paging
from orderkit.auth import directory, moderation
from orderkit.auth.callers import Caller
from orderkit.auth.directory import Account
from orderkit.orders import erasure

Moderator = Annotated[Caller, Depends(requires(moderation.NEEDED))]

router = APIRouter(prefix="/users", tags=["users"], route_class=StrictRoute)


class ProfileAnswer(BaseModel):
    """What anyone may see of a user."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    avatar_url: str | None
    bio: str | None
    verified: bool = Field(description="Whether the user's address is known to be theirs.")
    created_at: datetime


class AccountAnswer(ProfileAnswer):
    email: str
    role: str
    banned: bool


class AccountIn(Body):
    """What is to change: a member that is absent stays as it is."""

    role: Annotated[str, Field(min_length=1, max_length=64, examples=["support"])] = ""
    banned: bool = False


def _searchable(text: str) -> str:
    if not text.strip() or re.search(r"[\x00-\x1f\x7f-\x9f]", text):
        raise ValueError("is blank or has control characters")
    return text.strip()


@router.get("", responses=problems.responses(400, 401, 403, 422, 503))
def list_users(
    app: Running,
    _moderator: Moderator,
    paging: Annotated[Paging, Depends(paging)],
    q: Annotated[
        str | None,
        AfterValidator(_searchable),
        Query(
            min_length=1,
            max_length=254,
            description="The beginning of an e-mail address or of a name, in whatever case, or a whole id.",
        ),
    ] = None,
) -> Page[AccountAnswer]:
    """Accounts by e-mail address; with `q` those that fit, by address first and then those that fit by name only.

    A page may have fewer items than `limit` and still be followed by another: `next_cursor` tells.
    """
    of = {"list": "users", "q": q}
    after = paging.after(of, directory.Position)
    with app.database.reading() as session:
        found = directory.page(session.connection(), limit=paging.limit, q=q or "", after=after)
    return Page(
        items=[AccountAnswer.model_validate(one) for one in found.accounts],
        next_cursor=found.more_after and paging.cursor(of, found.more_after),
    )


@router.get("/{user_id}", response_model=ProfileAnswer, responses=problems.responses(404, 422, 503))
@anyone
def get_user(user_id: UUID, app: Running) -> Account:
    """What a user says of themselves. One who is deleted is as one who never was."""
    with app.database.reading() as session:
        return directory.get(session.connection(), user_id)


@router.patch(
    "/{user_id}",
    response_model=AccountAnswer,
    responses=problems.responses(400, 401, 403, 404, 409, 413, 415, 422, 503),
)
def change_user(user_id: UUID, body: AccountIn, app: Running, moderator: Moderator, actor: Acting) -> Account:
    """Gives somebody else another role, bans or unbans them. A ban ends all their sessions; both count at once.

    Nobody gives or takes what they do not have: 403 for a role, theirs or the new one, that may do more than the caller.
    The last active admin stays one: 409.
    """
    wanted = body.model_dump(exclude_unset=True)
    with app.database.transaction() as session:
        connection = session.connection()
        moderation.change(connection, actor, user_id, by=moderator, **wanted)
        return directory.get(connection, user_id)


@router.delete("/{user_id}", status_code=204, responses=problems.responses(401, 403, 404, 409, 422, 503))
def delete_user(user_id: UUID, app: Running, moderator: Moderator, actor: Acting) -> None:
    """Deletes somebody else's account as they could themselves: personal data goes, orders stay. Rules as for PATCH."""
    with app.database.transaction() as session:
        moderation.delete(session.connection(), actor, user_id, by=moderator)
        erasure.erase(session.connection(), user_id)
