"""What routes ask for: the running application, and who is calling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar
from uuid import UUID

from anyio import CapacityLimiter
from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer
from starlette.concurrency import run_in_threadpool

from orderkit.analytics.source import Source
from orderkit.auth import callers, permissions, sessions
from orderkit.auth.audit_log import Actor
from orderkit.auth.callers import API_KEY_PREFIX, Caller
from orderkit.auth.passwords import HashingThreads
from orderkit.auth.permissions import OWN_ORDERS
from orderkit.auth.sessions import Holder
from orderkit.auth.tokens import Tokens
from orderkit.breaker import Breaker
from orderkit.db import Database
from orderkit.errors import Forbidden, InvalidToken, Unauthenticated
from orderkit.observability import context
from orderkit.orders.checkout import Checkout
from orderkit.payments.gateways import Gateway
from orderkit.settings import Settings
from orderkit.system.reader import Reader
from orderkit.throttle import Throttle


@dataclass(slots=True)
class Runtime:
    """Everything that one process of the API has open. Made by `app` at start, closed by it at the end."""

    settings: Settings
    database: Database
    gateway: Gateway
    checkout: Checkout
    tokens: Tokens
    hashing: HashingThreads
    throttle: Throttle
    reports: Source
    breaker: Breaker
    system: Reader
    draining: bool = False
    scrapes: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(4))
    """Threads that answer scrapes; each takes 2 s at most."""


async def runtime(request: Request) -> Runtime:
    """The running application."""
    running: Runtime = request.app.state.runtime
    return running


Running = Annotated[Runtime, Depends(runtime)]


# ── Who may. Every route states one of these rules; `api/access.py` lists them all. ────────

ANYONE, ACCOUNT, SESSION = "anyone", "account", "session"
"""Nobody in particular; whoever is known, by a session or an API key; only somebody who logged in."""


class _Bearer(OAuth2PasswordBearer):
    """Documents itself as FastAPI's own, and finds out who calls in the same step: each step costs an order 12 µs."""

    def __init__(self) -> None:
        super().__init__(tokenUrl="token", scheme_name="OAuth2PasswordBearer")

    async def __call__(self, request: Request) -> Caller:  # type: ignore[override]
        # Asked once a request, by whoever comes first: the route, before it reads a body, or FastAPI.
        if not hasattr(request.state, "caller"):
            request.state.caller = await self._find(request)
        caller: Caller = request.state.caller
        context.bind(user_id=caller.id, api_key_id=caller.api_key_id, order_id=_order_named(request))
        return caller

    async def _find(self, request: Request) -> Caller:
        app: Runtime = request.app.state.runtime
        token = _bearer_token(request)
        if token.startswith(API_KEY_PREFIX):
            return await _by_api_key(app, token)
        verified = await app.tokens.verify_soon(token)
        found = await run_in_threadpool(callers.of_session, app.database, verified.user_id, verified.session_id)
        if found is None:
            raise sessions.over()
        return found


class _OrderBearer(_Bearer):
    """Only reads the token: whether its session is still good, the order's own transaction asks the database."""

    who = OWN_ORDERS

    async def __call__(self, request: Request) -> Holder:  # type: ignore[override]
        app: Runtime = request.app.state.runtime
        token = _bearer_token(request)
        if token.startswith(API_KEY_PREFIX):
            caller = await _by_api_key(app, token)
            context.bind(user_id=caller.id, api_key_id=caller.api_key_id)
            Rule(OWN_ORDERS).check(caller)
            return Holder(caller.id, None)
        verified = await app.tokens.verify_soon(token)
        context.bind(user_id=verified.user_id)
        return Holder(verified.user_id, verified.session_id)


def _order_named(request: Request) -> UUID | None:
    """The order that the path names, if it names one by something that can be an order's id."""
    try:
        return UUID(request.path_params["order_id"])
    except (KeyError, ValueError):
        return None


def _bearer_token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if not token or scheme.lower() != "bearer":
        raise Unauthenticated("this needs an access token; send it as Authorization: Bearer …")
    return token


async def _by_api_key(app: Runtime, key: str) -> Caller:
    found = await run_in_threadpool(callers.of_api_key, app.database, key)
    if found is None:
        raise InvalidToken("the API key is not good, or no longer")
    if found.api_key_id is not None:
        app.throttle.remember_key(callers.key_hash(key), found.api_key_id)
    return found


principal = _OrderBearer()
"""The dependency of placing an order: whose token it is, or whose key. Raises Unauthenticated, and Forbidden for a key."""

_caller = _Bearer()


class Rule:
    """A dependency that gives the caller. Raises Unauthenticated, and Forbidden unless they are whom `who` names.

    `also` is a permission that does as well.
    """

    def __init__(self, who: str, also: str | None = None) -> None:
        self.who = who
        self.also = also

    async def __call__(self, caller: Annotated[Caller, Depends(_caller)]) -> Caller:
        self.check(caller)
        return caller

    async def admit(self, request: Request) -> None:
        """Asks the same before FastAPI does: whoever may not, does not get to hear what is wrong with their body."""
        self.check(await _caller(request))

    def check(self, caller: Caller) -> None:
        """Raises Forbidden."""
        if self.who == SESSION:
            if caller.session_id is None:
                raise Forbidden("this is for somebody who logged in, not for an API key")
        elif self.who != ACCOUNT and not (caller.may(self.who) or (self.also and caller.may(self.also))):
            raise Forbidden(f"this needs the permission {self.who}" + (f" or {self.also}" if self.also else ""))


account = Rule(ACCOUNT)
logged_in = Rule(SESSION)


def requires(permission: str, also: str | None = None) -> Rule:
    """The rule that lets in whoever has `permission`, or `also`."""
    permissions.SCOPES[permission], permissions.SCOPES[also or permission]  # a misspelt name fails at import
    return Rule(permission, also)


Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def anyone(endpoint: Endpoint) -> Endpoint:
    """States of an endpoint that it is for anyone. Said aloud, so that none is open because its rule was forgotten."""
    endpoint.who = ANYONE  # type: ignore[attr-defined]
    return endpoint


# ── Where from. ──────────────────────────────────────────────────────────────────────────────────────────────────────


def address(request: Request) -> str:
    """The client's address; behind a trusted proxy, the one that the proxy names."""
    # Cut, because a trusted proxy passes on whatever it is told.
    return request.client.host[:64] if request.client else "unknown"


async def acting(request: Request, caller: Annotated[Caller, Depends(_caller)]) -> Actor:
    """The caller, as the audit log names them."""
    return Actor(caller.id, address(request))


Acting = Annotated[Actor, Depends(acting)]
