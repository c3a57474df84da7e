"""Whether this process lives, whether it can serve, and its numbers."""

from __future__ import annotations

import asyncio
from typing import Literal

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from loguru import logger
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from orderkit import migrating, reasons
from orderkit.api import problems
from orderkit.api.dependencies import Running, Runtime, anyone
from orderkit.db import Database, FileGone, is_locked
from orderkit.errors import ConfigurationError, Unauthenticated, Unavailable
from orderkit.observability import metrics
from orderkit.system.numbers import Numbers
from orderkit.system.queue_store import require_store

READY_WITHIN_S = 2.0
FAILING = 5
"""So many calls in a row that the provider did not answer are no accident; the breaker opens only after more."""
NEWS_S = 60.0
"""What failed longer ago says nothing of now. Where nobody orders, nobody learns that the provider is back."""

router = APIRouter(tags=["health"])


class Live(BaseModel):
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """`checks` names what is needed and how it is: `ok`, or what is wrong.

    `degraded` is ready: without the payment provider orders are taken, and paid as soon as it answers.
    """

    status: Literal["ok", "degraded", "unavailable"]
    checks: dict[str, str] = Field(
        examples=[{"database": "ok", "schema": "ok", "queue": "ok", "process": "ok", "provider": "ok"}]
    )


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
    """Requests can be served: the database answers and is migrated, so does the task queue, and the process is not about to stop.

    Of the payment provider it is told how its last calls went; it is not called for this.
    """
    (database, schema), queue = await asyncio.gather(_database(app), _queue(app))
    needed = {
        "database": database,
        "schema": schema,
        "queue": queue,
        "process": "stopping" if app.draining else "ok",
    }
    checks = needed | {"provider": _provider(app)}
    if any(state != "ok" for state in needed.values()):
        response.status_code = 503
        return Readiness(status="unavailable", checks=checks)
    return Readiness(status="ok" if checks["provider"] == "ok" else "degraded", checks=checks)


async def _database(app: Runtime) -> tuple[str, str]:
    """How the database is, and its schema."""
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            await run_in_threadpool(_require_usable, app.database)
    except TimeoutError:
        return f"does not answer within {READY_WITHIN_S:.0f} s", "not known"
    except ConfigurationError:
        return "ok", "is not migrated"
    except (SQLAlchemyError, FileGone) as error:
        reason = reasons.in_words(error)
        logger.bind(**reasons.facts(error)).warning("not ready: the database: {}", reason)
        if is_locked(error):
            return reason, "ok"
        return reason if isinstance(reasons.cause(error), FileGone) else "does not answer", "not known"
    return "ok", "ok"


def _require_usable(database: Database) -> None:
    """Raises what there is against working on it, which need not be seen by reading."""
    database.require_file()
    migrating.require_current(database)
    database.require_writable()


async def _queue(app: Runtime) -> str:
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            await run_in_threadpool(require_store, app.settings, READY_WITHIN_S)
    except TimeoutError:
        return f"does not answer within {READY_WITHIN_S:.0f} s"
    except Unavailable as error:
        logger.warning("not ready: {}", error.detail)
        return "does not answer"
    return "ok"


def _provider(app: Runtime) -> str:
    """What this process has learnt of the payment provider by its calls; each process learns for itself."""
    if app.breaker.open_for_seconds():
        return "does not answer; left alone for now, and payments are settled later"
    if (failures := app.breaker.failing(NEWS_S)) >= FAILING:
        return f"did not answer its last {failures} calls"
    return "ok"


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems.responses(401)},
)
@anyone
async def scrape(app: Running, request: Request) -> Response:
    """Prometheus' text format. With ORDERKIT_METRICS_TOKEN set, asks for it as a bearer token."""
    sent = request.headers.get("authorization", "").encode("latin-1")  # the bytes that came
    if not metrics.may_scrape(sent, app.settings.metrics_token):
        raise Unauthenticated("the metrics need their own token; send it as Authorization: Bearer …")
    # Threads of their own: others may all wait for a database that does not answer, which is when these numbers are wanted.
    found = await to_thread.run_sync(metrics.exposition, "api", Numbers(app.system), limiter=app.scrapes)
    return Response(found, media_type=metrics.MEDIA_TYPE)
