"""Everything that one worker process has open: the database, one event loop for all calls to others, the breakers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from uuid import UUID

import aiohttp
from anyio.from_thread import BlockingPortal, start_blocking_portal
from loguru import logger

from orderkit import db, reasons
from orderkit.auth.mails import Mails
from orderkit.breaker import Breaker
from orderkit.db import Database
from orderkit.fulfillment.carriers import open_carrier
from orderkit.fulfillment.dispatch import Dispatch
from orderkit.http_client import open_session
from orderkit.mail import open_mailer
from orderkit.observability import metrics
from orderkit.orders.resolution import Resolution
from orderkit.payments.gateways import open_gateway
from orderkit.settings import Settings

MAIL_FAILURES = 5
MAIL_LEFT_ALONE_S = 15.0
"""Mails can wait longer than parcels, and each that meets a silent server holds a thread for 5 s."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """Shared by all threads of the process; the acts run on the one event loop behind `portal`."""

    database: Database
    portal: BlockingPortal
    dispatch: Dispatch
    resolution: Resolution
    mails: Mails
    gateway_breaker: Breaker
    carrier_breaker: Breaker
    mail_breaker: Breaker

    under_way: set[Future[None]] = field(default_factory=set)

    def act(self, act: Callable[[UUID], Awaitable[None]], row_id: str) -> None:
        """Does `act` for a row and waits for its end. A database that does not answer is logged: the row stays due."""
        started, outcome = time.perf_counter(), "failed"
        doing = self.portal.start_task_soon(act, UUID(row_id))
        self.under_way.add(doing)
        try:
            doing.result()
            outcome = "done"
        except db.UNREACHABLE as error:
            outcome = "postponed"
            logger.bind(row_id=row_id, **reasons.facts(error)).warning(
                "{} left for later, the database does not answer: {}", act.__name__, reasons.in_words(error)
            )
        except CancelledError:
            outcome = "abandoned"
            logger.bind(row_id=row_id).warning("{} given up in the middle", act.__name__)
        finally:
            self.under_way.discard(doing)
            metrics.tasks.labels(act.__name__, outcome).inc()
            metrics.task_seconds.labels(act.__name__).observe(time.perf_counter() - started)

    def abandon(self) -> None:
        """Cancels the acts under way; their rows are due again when their leases end."""
        for doing in tuple(self.under_way):
            doing.cancel()


@contextmanager
def open_runtime(settings: Settings) -> Iterator[Runtime]:
    """Opens it all; at the end waits for the acts under way, unless they were abandoned, and closes it."""
    gateway_breaker = Breaker("gateway", settings.breaker_failures, settings.breaker_open_for)
    carrier_breaker = Breaker("carrier", settings.breaker_failures, settings.breaker_open_for)
    mail_breaker = Breaker("mail", MAIL_FAILURES, MAIL_LEFT_ALONE_S)
    mailer = open_mailer(settings)
    database = Database(settings)
    try:
        with (
            closing(Mails(database, settings, mailer, mail_breaker)) as mails,
            start_blocking_portal("asyncio", name="providers") as portal,
            portal.wrap_async_context_manager(_http(settings)) as http,
        ):
            portal.call(_work_in_threads, settings.db_pool_size - 1)
            dispatch = Dispatch(database, settings, open_carrier(settings, http), carrier_breaker)
            resolution = Resolution(database, settings, open_gateway(settings, http), gateway_breaker)
            yield Runtime(database, portal, dispatch, resolution, mails, gateway_breaker, carrier_breaker, mail_breaker)
    finally:
        database.dispose()


async def _work_in_threads(number: int) -> None:
    """Transactions get as many threads as there are connections, less the loop's: none waits for a connection in vain."""
    threads = ThreadPoolExecutor(max_workers=number, thread_name_prefix="database")
    asyncio.get_running_loop().set_default_executor(threads)


@asynccontextmanager
async def _http(settings: Settings) -> AsyncIterator[aiohttp.ClientSession]:
    session = open_session(max(settings.gateway_timeout, settings.carrier_timeout))
    try:
        yield session
    finally:
        await session.close()
