"""Registering, and one's own account: seen, changed, deleted."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from orderkit.api import problems
from orderkit.api.dependencies import Acting, Running, Runtime, account, address, anyone, logged_in
from orderkit.api.json_body import Body, OneLine, StrictRoute
from orderkit.auth import accounts, moderation, password_change, passwords, profiles
from orderkit.auth.callers import Caller
from orderkit.auth.models import User
from orderkit.auth.permissions import OWN_ORDERS
from orderkit.orders import erasure

router = APIRouter(tags=["accounts"], route_class=StrictRoute)


NewPassword = Annotated[
    str,
    Field(min_length=passwords.MIN_LENGTH, max_length=passwords.MAX_LENGTH, json_schema_extra={"format": "password"}),
]


CurrentPassword = Annotated[
    str, Field(min_length=1, max_length=passwords.MAX_LENGTH, json_schema_extra={"format": "password"})
]


class Registration(Body):
    email: Annotated[str, Field(min_length=3, max_length=254, examples=["ada@example.com"])]
    password: NewPassword
    name: OneLine


class UserAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    email: str
    name: str
    role: str
    created_at: datetime


class MyAccount(UserAnswer):
    avatar_url: str | None
    bio: str | None
    verified: bool = Field(description="Whether the address is known to be the user's.")
    permissions: list[str] = Field(description="What the role allows.")


class ProfileIn(Body):
    """What is to change: a member that is absent stays as it is, null clears it."""

    name: OneLine = ""
    avatar_url: (
        Annotated[
            str,
            Field(min_length=1, max_length=profiles.MAX_URL, examples=["https://example.com/ada.png"]),
            AfterValidator(profiles.check_avatar_url),
        ]
        | None
    ) = None
    bio: Annotated[str, Field(min_length=1, max_length=profiles.MAX_BIO), AfterValidator(profiles.check_bio)] | None = (
        None
    )


class PasswordIn(Body):
    current_password: CurrentPassword
    new_password: NewPassword


@router.post(
    "/register", status_code=201, response_model=UserAnswer, responses=problems.responses(400, 413, 415, 422, 429, 503)
)
@anyone
async def register(body: Registration, request: Request, app: Running) -> User:
    """Creates an account. An address that is taken gets the same answer, and nothing is stored."""
    await app.throttle.mail(address(request))
    user = await app.hashing.run(accounts.applicant, body.email, body.name, body.password)
    await run_in_threadpool(accounts.register, app.database, user)
    return user


@router.get("/users/me", responses=problems.responses(401, 503))
async def me(caller: Annotated[Caller, Depends(account)]) -> MyAccount:
    """The account of the token or key, its role, and what the caller may do besides handling own orders."""
    return _mine(caller.user, caller)


@router.patch("/users/me", responses=problems.responses(400, 401, 403, 413, 415, 422, 503))
def change_me(body: ProfileIn, caller: Annotated[Caller, Depends(logged_in)], app: Running) -> MyAccount:
    """Changes what one says of oneself."""
    with app.database.transaction() as session:
        user = profiles.change(session.connection(), caller.id, body.model_dump(exclude_unset=True))
    return _mine(user, caller)


@router.delete("/users/me", status_code=204, responses=problems.responses(401, 403, 409, 503))
def delete_me(caller: Annotated[Caller, Depends(logged_in)], app: Running, actor: Acting) -> None:
    """Deletes one's account, and what says who one is. Orders stay, without an address once they are shipped.

    The last active admin cannot: 409.
    """
    with app.database.transaction() as session:
        moderation.leave(session.connection(), actor, caller.id)
        erasure.erase(session.connection(), caller.id)


@router.post(
    "/users/me/password", status_code=204, responses=problems.responses(400, 401, 403, 409, 413, 415, 422, 429, 503)
)
async def change_password(
    body: PasswordIn,
    request: Request,
    caller: Annotated[Caller, Depends(logged_in)],
    app: Running,
    actor: Acting,
) -> None:
    """Changes one's password, and ends all of one's logins but this one. A wrong current one counts as a failed login."""
    await run_in_threadpool(password_change.check_new, caller.user, body.new_password)
    await require_password(app, request, caller, body.current_password)
    hashed = await app.hashing.run(passwords.hash_password, body.new_password)
    await run_in_threadpool(password_change.change, app.database, actor, caller.user, hashed, caller.session_id)


async def require_password(app: Runtime, request: Request, caller: Caller, current: str) -> None:
    """Raises Invalid, with pointer #/current_password, unless it is the caller's; a wrong one counts as a failed login."""
    async with app.throttle.login(caller.user.email, address(request)) as attempt:
        await app.hashing.run(password_change.check_current, caller.user, current)
        attempt.succeeded()


def _mine(user: Any, caller: Caller) -> MyAccount:
    return MyAccount(
        id=user.id,
        email=user.email,
        name=user.name,
        role=user.role,
        created_at=user.created_at,
        avatar_url=user.avatar_url,
        bio=user.bio,
        verified=user.verified_at is not None,
        permissions=sorted(caller.permissions - {OWN_ORDERS}),
    )
