"""The API: what is opened at start, which routes there are, and what is closed at the end. Wiring only."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html, get_swagger_ui_oauth2_redirect_html
from fastapi.staticfiles import StaticFiles
from loguru import logger
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, JSONResponse

from orderkit import __version__, http_client
from orderkit.analytics.source import Source
from orderkit.api import (
    accounts,
    api_keys,
    audit_log,
    dead_letters,
    document,
    health,
    links,
    order_changes,
    orders,
    problems,
    products,
    refunds,
    reports,
    roles,
    system,
    tokens,
    users,
    webhooks,
)
from orderkit.api.dependencies import Runtime, anyone
from orderkit.api.edge import Edge
from orderkit.auth import signing_keys
from orderkit.auth.passwords import HashingThreads
from orderkit.auth.tokens import Tokens
from orderkit.breaker import Breaker
from orderkit.db import Database
from orderkit.observability import metrics
from orderkit.orders.checkout import Checkout
from orderkit.payments.gateways import open_gateway
from orderkit.settings import Settings
from orderkit.system.reader import Reader
from orderkit.throttle import Throttle

DESCRIPTION = """An order goes in, is paid once, is fulfilled in the background.

**Conventions.** Money is integer minor units with a `currency` (ISO 4217); times are RFC 3339 in UTC; ids are UUIDs.
Lists answer `items` and `next_cursor`, and take `limit` (20, at most 100) and `cursor`. A JSON body is
`application/json` of at most 64 KB, and members that are not known are refused.

**Repeating.** What must not be made twice takes an `Idempotency-Key`: a new value for each new thing. Whatever failed
on the way, repeat the request with the same key.

**Errors.** Every answer of 400 or more is `application/problem+json` with a stable `code`, explained under
`/problems/{code}`. Each operation lists its own. Any may also answer 500 `internal_error` or, where something is not
set up, `configuration`; what is no such request at all is answered 400 `request_malformed`, 405
`method_not_allowed`, 417 `expectation_failed`, 431 `head_too_large`, 501 `transfer_coding_unknown` or 505
`http_version_unknown`.

**Who is asking.** `Authorization: Bearer …`, with an access token of `POST /token` or, where it says so, an API key."""

# Orders first: routes are tried in turn, and it is orders that come by the thousand.
ROUTERS = (
    orders.router,
    refunds.router,
    order_changes.router,
    products.router,
    tokens.router,
    accounts.router,
    api_keys.router,
    users.router,
    links.router,
    dead_letters.router,
    reports.router,
    webhooks.router,
    roles.router,
    audit_log.router,
    system.router,
    health.router,
    problems.router,
)

_STATIC = Path(fastapi_offline.__file__).parent / "static"


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document.complete(self, super().openapi())
        return super().openapi()


def create_app(settings: Settings) -> FastAPI:
    """The application. Nothing is opened until its lifespan starts."""
    app = _Api(
        title="orderkit",
        version=__version__,
        summary="An order backend that never loses, doubles, overcharges or oversells an order.",
        description=DESCRIPTION,
        license_info={"name": "MIT", "identifier": "MIT"},
        generate_unique_id_function=document.name_of,
        lifespan=_lifespan,
        openapi_url=None,  # FastAPI's own is no route of it, so that requests for it had no label but `none`
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.settings = settings
    app.add_middleware(Edge, direct=[one for one in orders.router.routes if isinstance(one, orders.Direct)])
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    _serve_docs(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    database = Database(settings)
    # SQLite plans nothing twice, and has one writer for all.
    ordering = database if database.is_sqlite else Database(settings, by_key=True)
    hashing = HashingThreads()
    async with http_client.open_session(settings.gateway_timeout) as http:
        gateway = open_gateway(settings, http)
        breaker = Breaker("gateway", settings.breaker_failures, settings.breaker_open_for)
        checkout = Checkout(ordering, settings, gateway, breaker)
        issuing = Tokens(settings, lambda: signing_keys.load(database, settings.signing_key))
        throttle, reading = Throttle(settings), Source(settings, database)
        system = Reader(settings)
        app.state.runtime = Runtime(
            settings, database, gateway, checkout, issuing, hashing, throttle, reading, breaker, system
        )
        metrics.begin("api")
        for code in problems.KINDS:  # an alert on the first error needs the 0 before it
            metrics.problems.labels(code)
        with suppress(SQLAlchemyError):  # it is asked again each second
            await issuing.reload()
        reloading = asyncio.create_task(issuing.keep_current())
        gc.freeze()  # what was loaded stays; a collector that does not look through it halves the slowest requests
        if settings.links_lead_nowhere:  # said and not refused: nobody may use mails here
            logger.warning(
                "links in mails lead to {}; set ORDERKIT_PUBLIC_URL to what users reach", settings.public_url
            )
        logger.info("ready for requests")
        try:
            yield
        finally:
            app.state.runtime.draining = True
            gc.unfreeze()
            reloading.cancel()
            await asyncio.wait([reloading])  # a thread of it may still have a connection
            await throttle.close()
            await run_in_threadpool(checkout.close)
            await run_in_threadpool(hashing.close)
            await run_in_threadpool(reading.close)
            await run_in_threadpool(system.close)
            await run_in_threadpool(ordering.dispose)
            await run_in_threadpool(database.dispose)


def _serve_docs(app: FastAPI) -> None:
    """Swagger UI and ReDoc from files of the installation: they work where there is no internet."""
    app.mount("/static/docs", StaticFiles(directory=_STATIC), name="docs-static")

    @app.get("/openapi.json", include_in_schema=False)
    @anyone
    async def openapi() -> JSONResponse:
        return JSONResponse(app.openapi())

    @app.get("/docs", include_in_schema=False)
    @anyone
    async def swagger() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="orderkit API",
            oauth2_redirect_url="/docs/oauth2-redirect",
            swagger_js_url="/static/docs/swagger-ui-bundle.js",
            swagger_css_url="/static/docs/swagger-ui.css",
            swagger_favicon_url="/static/docs/favicon.png",
        )

    @app.get("/docs/oauth2-redirect", include_in_schema=False)
    @anyone
    async def swagger_redirect() -> HTMLResponse:
        return get_swagger_ui_oauth2_redirect_html()

    @app.get("/redoc", include_in_schema=False)
    @anyone
    async def redoc() -> HTMLResponse:
        return get_redoc_html(
            openapi_url="/openapi.json",
            title="orderkit API",
            redoc_js_url="/static/docs/redoc.standalone.js",
            redoc_favicon_url="/static/docs/favicon.png",
            with_google_fonts=False,
        )
