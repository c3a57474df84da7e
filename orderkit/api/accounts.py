"""Registering, getting a token, and seeing one's own account."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends
from fastapi.security import OAuth2PasswordRequestForm
from pydantic import BaseModel, ConfigDict, Field

from orderkit.api import problems
from orderkit.api.dependencies import Running, current_user
from orderkit.api.json_body import Body, OneLine, StrictRoute
from orderkit.auth import accounts, passwords, permissions
from orderkit.auth.models import User
from orderkit.errors import Unauthenticated

router = APIRouter(tags=["accounts"], route_class=StrictRoute)


class Registration(Body):
    email: Annotated[str, Field(min_length=3, max_length=254, examples=["ada@example.com"])]
    password: Annotated[
        str,
        Field(
            min_length=passwords.MIN_LENGTH, max_length=passwords.MAX_LENGTH, json_schema_extra={"format": "password"}
        ),
    ]
    name: OneLine


class UserAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    email: str
    name: str
    role: str
    created_at: datetime


class MyAccount(UserAnswer):
    permissions: list[str] = Field(description="What the role allows.")


class TokenAnswer(BaseModel):
    """RFC 6749, section 5.1."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - a word of the RFC
    expires_in: int = Field(description="Seconds.")


@router.post(
    "/register", status_code=201, response_model=UserAnswer, responses=problems.responses(400, 413, 415, 422, 503)
)
async def register(body: Registration, app: Running) -> User:
    """Creates an account. An address that is taken gets the same answer, and nothing is stored."""
    return await app.hashing.run(accounts.register, app.database, body.email, body.name, body.password)


@router.post("/token", responses=problems.responses(400, 401, 413, 415, 422, 503))
async def log_in(form: Annotated[OAuth2PasswordRequestForm, Depends()], app: Running) -> TokenAnswer:
    """An access token for an e-mail address (`username`) and a password."""
    user = await app.hashing.run(accounts.authenticate, app.database, form.username, form.password)
    if user is None:
        raise Unauthenticated("the e-mail address and the password do not match")
    issued = app.tokens.issue(user.id)
    return TokenAnswer(access_token=issued.token, expires_in=issued.expires_in)


@router.get("/users/me", responses=problems.responses(401, 503))
async def me(user: Annotated[User, Depends(current_user)]) -> MyAccount:
    """The account of the token, its role and what that allows."""
    return MyAccount(
        id=user.id,
        email=user.email,
        name=user.name,
        role=user.role,
        created_at=user.created_at,
        permissions=sorted(permissions.of_role(user.role)),
    )
