"""Registering, and seeing one's own account."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from orderkit.api import problems
from orderkit.api.dependencies import Running, account, anyone
from orderkit.api.json_body import Body, OneLine, StrictRoute
from orderkit.auth import accounts, passwords
from orderkit.auth.callers import Caller
from orderkit.auth.models import User
from orderkit.auth.permissions import OWN_ORDERS

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


@router.post(
    "/register", status_code=201, response_model=UserAnswer, responses=problems.responses(400, 413, 415, 422, 503)
)
@anyone
async def register(body: Registration, app: Running) -> User:
    """Creates an account. An address that is taken gets the same answer, and nothing is stored."""
    return await app.hashing.run(accounts.register, app.database, body.email, body.name, body.password)


@router.get("/users/me", responses=problems.responses(401, 503))
async def me(caller: Annotated[Caller, Depends(account)]) -> MyAccount:
    """The account of the token or key, its role, and what the caller may do besides handling own orders."""
    user = caller.user
    return MyAccount(
        id=user.id,
        email=user.email,
        name=user.name,
        role=user.role,
        created_at=user.created_at,
        permissions=sorted(caller.permissions - {OWN_ORDERS}),
    )
