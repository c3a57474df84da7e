"""Whether this process lives, whether it can serve, and its numbers."""

from __future__ import annotations

import asyncio
import hmac
from typing import Literal

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from loguru import logger
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from orderkit import migrating
from orderkit.api import problems
from orderkit.api.dependencies import Running, Runtime, anyone
from orderkit.errors import ConfigurationError, Unauthenticated
from orderkit.observability import metrics
from orderkit.system.numbers import Numbers

READY_WITHIN_S = 2.0

router = APIRouter(tags=["health"])


class Live(BaseModel):
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """`checks` names what is needed and how it is: `ok`, or what is wrong."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, str]


@router.get("/health/live")
@router.get("/health/liveness", include_in_schema=False)
@anyone
async def live() -> Live:
    """The process runs. Asks nobody else, so that a database that is away restarts no API."""
    return Live()


@router.get("/health/ready", responses={503: {"model": Readiness, "description": "`checks` says what is wrong."}})
@router.get("/health/readiness", include_in_schema=False)
@anyone
async def ready(app: Running, response: Response) -> Readiness:
    """Requests can be served: the database answers and is migrated, and the process is not about to stop."""
    checks = {"database": await _database(app), "process": "stopping" if app.draining else "ok"}
    if all(state == "ok" for state in checks.values()):
        return Readiness(status="ok", checks=checks)
    response.status_code = 503
    return Readiness(status="unavailable", checks=checks)


async def _database(app: Runtime) -> str:
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            await run_in_threadpool(migrating.require_current, app.database)
    except TimeoutError:
        return f"does not answer within {READY_WITHIN_S:.0f} s"
    except ConfigurationError:
        return "is not migrated"
    except SQLAlchemyError as error:
        logger.warning("not ready: {}", type(error).__name__)
        return "does not answer"
    return "ok"


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems.responses(401)},
)
@anyone
async def scrape(app: Running, request: Request) -> Response:
    """Prometheus' text format. With ORDERKIT_METRICS_TOKEN set, asks for it as a bearer token."""
    wanted = app.settings.metrics_token
    if wanted is not None:
        sent = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(sent, f"Bearer {wanted.get_secret_value()}".encode()):
            raise Unauthenticated("the metrics need their own token; send it as Authorization: Bearer …")
    # Threads of their own: others may all wait for a database that does not answer, which is when these numbers are wanted.
    found = await to_thread.run_sync(metrics.exposition, "api", Numbers(app.system), limiter=app.scrapes)
    return Response(found, media_type=metrics.MEDIA_TYPE)
