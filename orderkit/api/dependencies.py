"""What routes ask for: the running application, and who is calling."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer
from starlette.concurrency import run_in_threadpool

from orderkit.auth import accounts, permissions
from orderkit.auth.models import User
from orderkit.auth.passwords import HashingThreads
from orderkit.auth.tokens import Tokens
from orderkit.db import Database
from orderkit.errors import Forbidden, Unauthenticated
from orderkit.orders.checkout import Checkout
from orderkit.payments.gateways import Gateway
from orderkit.settings import Settings


@dataclass(slots=True)
class Runtime:
    """Everything that one process of the API has open. Made by `app` at start, closed by it at the end."""

    settings: Settings
    database: Database
    gateway: Gateway
    checkout: Checkout
    tokens: Tokens
    hashing: HashingThreads
    draining: bool = False


class Principal(NamedTuple):
    """Whoever holds the token. That the account still exists is not known; placing an order finds out by foreign key."""

    user_id: UUID


async def runtime(request: Request) -> Runtime:
    """The running application."""
    running: Runtime = request.app.state.runtime
    return running


Running = Annotated[Runtime, Depends(runtime)]


class _Bearer(OAuth2PasswordBearer):
    """Documents itself as FastAPI's own, and checks the token in the same step: each step costs an order 12 µs."""

    async def __call__(self, request: Request) -> Principal:  # type: ignore[override]
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not token or scheme.lower() != "bearer":
            raise Unauthenticated("this needs an access token; send it as Authorization: Bearer …")
        return Principal(request.app.state.runtime.tokens.verify(token))


principal = _Bearer(tokenUrl="token", scheme_name="OAuth2PasswordBearer")
"""The dependency of whatever needs to know who asks: whose token it is. Asks no database. Raises Unauthenticated."""


async def current_user(request: Request, who: Annotated[Principal, Depends(principal)]) -> User:
    """The account of the token, as it is now. Raises Unauthenticated when it is gone."""
    database = request.app.state.runtime.database
    user = await run_in_threadpool(accounts.find, database, who.user_id)
    if user is None:
        raise Unauthenticated("the account of this token no longer exists")
    return user


def requires(permission: str) -> Callable[..., Coroutine[Any, Any, User]]:
    """A dependency that gives the current user, and raises Forbidden unless their role has `permission`."""
    permissions.PERMISSIONS[permission]  # a misspelt name fails at import

    async def permitted(user: Annotated[User, Depends(current_user)]) -> User:
        if not permissions.allows(user, permission):
            raise Forbidden(f"this needs the permission {permission}")
        return user

    return permitted
