"""Logging in, staying logged in, and logging out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.security import OAuth2PasswordRequestForm
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from orderkit.api import problems
from orderkit.api.dependencies import Acting, Running, Runtime, address, anyone, logged_in
from orderkit.api.json_body import Body, StrictRoute
from orderkit.api.pagination import Page, Paging, paging
from orderkit.auth import accounts, audit_log, passwords, sessions
from orderkit.auth.callers import Caller
from orderkit.auth.models import User
from orderkit.auth.sessions import Granted
from orderkit.errors import NotFound, RateLimited, Unauthenticated, Unavailable
from orderkit.observability import metrics

router = APIRouter(tags=["accounts"], route_class=StrictRoute)


class TokenAnswer(BaseModel):
    """RFC 6749, section 5.1."""

    access_token: str
    refresh_token: str = Field(description="Good once, at POST /token/refresh. Used twice, it ends the session.")
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - a word of the RFC
    expires_in: int = Field(description="Seconds that the access token is good for.")


class RefreshIn(Body):
    refresh_token: Annotated[str, Field(min_length=1, max_length=4000, json_schema_extra={"format": "password"})]


class SessionAnswer(BaseModel):
    """A login. `current` is the one that asks."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    user_agent: str | None
    address: str | None
    created_at: datetime
    refreshed_at: datetime
    expires_at: datetime
    current: bool = False


def _answer(app: Runtime, granted: Granted) -> TokenAnswer:
    issued = app.tokens.issue(granted.user_id, granted.session_id)
    return TokenAnswer(access_token=issued.token, refresh_token=granted.refresh_token, expires_in=issued.expires_in)


@router.post("/token", responses=problems.responses(400, 401, 413, 415, 422, 429, 503))
@anyone
async def log_in(request: Request, form: Annotated[OAuth2PasswordRequestForm, Depends()], app: Running) -> TokenAnswer:
    """Begins a session, for an e-mail address (`username`) and a password."""
    try:
        user = await _whose(form, app, address(request))
    except (RateLimited, Unauthenticated) as error:
        metrics.logins.labels("throttled" if isinstance(error, RateLimited) else "failed").inc()
        raise
    metrics.logins.labels("succeeded").inc()
    await _keep_hash_up_to_date(app, user, form.password)
    granted = await run_in_threadpool(
        sessions.start,
        app.database,
        user,
        days=app.settings.session_days,
        user_agent=request.headers.get("user-agent"),
        address=address(request),
    )
    return _answer(app, granted)


async def _whose(form: OAuth2PasswordRequestForm, app: Runtime, client: str) -> User:
    """Whose e-mail address and password these are. Raises Unauthenticated, and RateLimited before any is looked at."""
    async with app.throttle.login(accounts.spelling(form.username), client) as attempt:
        user = await run_in_threadpool(accounts.sought, app.database, form.username)
        if not await app.hashing.run(accounts.is_theirs, user, form.password) or user is None:
            raise Unauthenticated("the e-mail address and the password do not match")
        attempt.succeeded()
    return user


async def _keep_hash_up_to_date(app: Runtime, user: User, password: str) -> None:
    """Makes a hash of other parameters than today's anew. Where there is no time for that, the next login may have it."""
    if user.password_hash and passwords.is_outdated(user.password_hash):
        with suppress(Unavailable):
            fresh = await app.hashing.run(passwords.hash_password, password)
            await run_in_threadpool(accounts.upgrade, app.database, user, fresh)


@router.post("/token/refresh", responses=problems.responses(400, 401, 413, 415, 422, 503))
@anyone
async def refresh(body: RefreshIn, app: Running) -> TokenAnswer:
    """New tokens for a refresh token, which is used up.

    Used a second time, whoever uses it, it ends the session: one of the two has stolen it. A client that lost the answer
    logs in again.
    """
    return _answer(app, await run_in_threadpool(sessions.refresh, app.database, body.refresh_token))


@router.post("/token/revoke", response_class=Response, responses=problems.responses(400, 413, 415, 422, 503))
@anyone
async def revoke(
    token: Annotated[str, Form()],
    app: Running,
    token_type_hint: Annotated[str | None, Form(description="Not needed.")] = None,
) -> Response:
    """Ends the session of a refresh or an access token. Always 200 (RFC 7009), also for what is no token."""
    if token.startswith(sessions.PREFIX):
        await run_in_threadpool(sessions.revoke, app.database, token)
        return Response()
    try:
        verified = await app.tokens.verify_soon(token)
        await run_in_threadpool(_end, app, verified.user_id, verified.session_id)
    except (Unauthenticated, NotFound):
        pass
    return Response()


def _end(app: Runtime, user_id: UUID, session_id: UUID) -> None:
    with app.database.transaction() as session:
        sessions.end(session.connection(), user_id, session_id)


@router.get("/users/me/sessions", responses=problems.responses(400, 401, 403, 422, 503))
def list_sessions(
    caller: Annotated[Caller, Depends(logged_in)], app: Running, paging: Annotated[Paging, Depends(paging)]
) -> Page[SessionAnswer]:
    """One's logins that are still good, newest first."""
    of = {"list": "sessions", "user": str(caller.id)}
    after = paging.after(of, sessions.Position)
    with app.database.reading() as session:
        found = sessions.page(session.connection(), caller.id, limit=paging.limit + 1, after=after)

    def shown(those: Sequence[Any]) -> list[SessionAnswer]:
        answers = [SessionAnswer.model_validate(one) for one in those]
        return [one.model_copy(update={"current": one.id == caller.session_id}) for one in answers]

    return paging.page(of, found, lambda one: sessions.Position(one.created_at, one.id), shown)


@router.delete(
    "/users/me/sessions/{session_id}", status_code=204, responses=problems.responses(401, 403, 404, 422, 503)
)
def end_session(session_id: UUID, caller: Annotated[Caller, Depends(logged_in)], app: Running) -> None:
    """Ends one of one's logins, or this one: its tokens are no longer good."""
    _end(app, caller.id, session_id)


@router.delete("/users/me/sessions", status_code=204, responses=problems.responses(401, 403, 503))
def end_all_sessions(caller: Annotated[Caller, Depends(logged_in)], app: Running, actor: Acting) -> None:
    """Ends all of one's logins, this one too."""
    with app.database.transaction() as session:
        sessions.end_all(session.connection(), caller.id)
        audit_log.record(session.connection(), actor, "user.sessions_ended", f"user:{caller.id}")
