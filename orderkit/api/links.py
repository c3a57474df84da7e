"""Confirming an e-mail address and resetting a password: for programs as JSON, for whoever opens a mail as pages."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse

from orderkit import db
from orderkit.api import link_pages, problems
from orderkit.api.accounts import NewPassword
from orderkit.api.dependencies import Running, Runtime, address, anyone, logged_in
from orderkit.api.json_body import Body, StrictRoute
from orderkit.auth import accounts, authority, links, mails, sessions
from orderkit.auth.audit_log import Actor
from orderkit.auth.callers import Caller
from orderkit.auth.links import MAX_TOKEN, Purpose
from orderkit.errors import Invalid, OrderkitError, Unavailable

Secret = Annotated[str, Field(min_length=1, max_length=MAX_TOKEN, json_schema_extra={"format": "password"})]


class VerifyIn(Body):
    token: Secret


class ForgotIn(Body):
    email: Annotated[str, Field(min_length=3, max_length=254, examples=["ada@example.com"])]


class ResetIn(Body):
    token: Secret
    password: NewPassword


router = APIRouter(tags=["accounts"], route_class=StrictRoute)


@router.post(
    "/users/me/verification",
    status_code=202,
    response_class=Response,
    responses=problems.responses(401, 403, 429, 503),
)
async def ask_for_verification(
    request: Request, caller: Annotated[Caller, Depends(logged_in)], app: Running
) -> Response:
    """Has a mail sent with a link that confirms one's address; at most three an hour, and none once it is confirmed."""
    await app.throttle.mail(address(request))
    await run_in_threadpool(_ask_for_oneself, app, caller.id)
    return Response(status_code=202)


@router.post("/email/verify", status_code=204, responses=problems.responses(400, 413, 415, 422, 503))
@anyone
async def verify_email(body: VerifyIn, request: Request, app: Running) -> None:
    """Confirms the address that the token was sent to. It works once, within three days."""
    await run_in_threadpool(links.verify_email, app.database, app.settings, body.token, _somebody(request))


@router.post(
    "/password/forgot",
    status_code=202,
    response_class=Response,
    responses=problems.responses(400, 413, 415, 422, 429, 503),
)
@anyone
async def forgot_password(body: ForgotIn, request: Request, app: Running) -> Response:
    """Has a mail sent with a link to choose a new password, if the address is somebody's. The answer does not tell."""
    email = accounts.normal_email(body.email)
    await app.throttle.mail(address(request))
    await run_in_threadpool(_ask, app, Purpose.RESET_PASSWORD, email)
    return Response(status_code=202)


@router.post("/password/reset", status_code=204, responses=problems.responses(400, 413, 415, 422, 503))
@anyone
async def reset_password(body: ResetIn, request: Request, app: Running) -> None:
    """Sets a new password for whom the token was sent to, and ends all their sessions. It works once, within 30 minutes."""
    await _reset(request, app, body.token, body.password)


def _ask(app: Runtime, purpose: Purpose, email: str) -> None:
    with app.database.transaction() as session:
        mails.ask(session.connection(), purpose, email)


def _ask_for_oneself(app: Runtime, user_id: UUID) -> None:
    with app.database.transaction() as session:
        # Locked, so that no mail is asked for once its user was deleted: nothing would erase the address in its row.
        user = authority.lock_user(session.connection(), user_id)
        if user is None:
            raise sessions.over()
        mails.ask(session.connection(), Purpose.VERIFY_EMAIL, user.email)


async def _reset(request: Request, app: Runtime, token: str, password: str) -> None:
    hashed = await app.hashing.run(links.new_hash, app.database, app.settings, token, password)
    actor = _somebody(request)
    account = await run_in_threadpool(links.reset_password, app.database, app.settings, token, hashed, actor)
    await app.throttle.forget_failures(account)


def _somebody(request: Request) -> Actor:
    return Actor(None, address(request))


# ── Pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class _PageRoute(StrictRoute):
    """A route whose errors are pages too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def shown(request: Request) -> Response:
            try:
                return await handler(request)
            except OrderkitError as error:
                return _failure(error)
            except RequestValidationError:
                return _failure(Invalid("the link is not whole; copy all of it from the mail"))
            except db.UNREACHABLE:
                return _failure(Unavailable("this does not work just now; try again in a moment"))

        return shown


def _failure(error: OrderkitError) -> HTMLResponse:
    answer = problems.answer_to(error)
    kept = {name: answer.headers[name] for name in ("Retry-After",) if name in answer.headers}
    is_over = any(pointer == "#/token" for pointer, _what in error.pointers)
    title = "This link does not work" if is_over else "That did not work"
    return link_pages.failure(title, answer.status_code, error.detail, kept)


pages = APIRouter(prefix="/links", include_in_schema=False, route_class=_PageRoute, default_response_class=HTMLResponse)
Token = Annotated[str, Query(max_length=MAX_TOKEN)]
FormToken = Annotated[str, Form(max_length=MAX_TOKEN)]


@pages.get("/style.css")
@anyone
async def style() -> Response:
    return Response(link_pages.STYLE, media_type="text/css", headers={"Cache-Control": "public, max-age=3600"})


@pages.get("/verify-email")
@anyone
async def verify_page(app: Running, token: Token = "") -> HTMLResponse:
    await run_in_threadpool(links.check, app.database, app.settings, Purpose.VERIFY_EMAIL, token)
    return link_pages.verify(token)


@pages.post("/verify-email")
@anyone
async def verified_page(request: Request, app: Running, token: FormToken = "") -> HTMLResponse:
    await run_in_threadpool(links.verify_email, app.database, app.settings, token, _somebody(request))
    return link_pages.message("Thank you", "Your e-mail address is confirmed. You can close this page.")


@pages.get("/reset-password")
@anyone
async def reset_page(app: Running, token: Token = "") -> HTMLResponse:
    await run_in_threadpool(links.check, app.database, app.settings, Purpose.RESET_PASSWORD, token)
    return link_pages.reset(token)


@pages.post("/reset-password")
@anyone
async def password_page(
    request: Request, app: Running, token: FormToken = "", password: Annotated[str, Form()] = ""
) -> HTMLResponse:
    try:
        await _reset(request, app, token, password)
    except Invalid as error:
        if any(pointer == "#/password" for pointer, _what in error.pointers):
            return link_pages.reset(token, error.detail)
        raise
    return link_pages.message(
        "Your password is changed", "Log in with the new one from now on. You were logged out everywhere."
    )


router.include_router(pages)
