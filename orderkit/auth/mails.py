"""Mails about accounts: asked for as a row, whoever's the address is, and sent by the worker, who finds out.

A request does the same work for an address that is known and one that is not. The link is made when the mail is sent, so
none is ever stored. A mail may go out twice, where a worker dies between sending and noting it, and then has the same
Message-ID. Rows hold addresses and are forgotten a day after they are done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from loguru import logger
from sqlalchemy import Connection, delete, func, insert, select, update

from orderkit import mail, retry
from orderkit.auth import links
from orderkit.auth.links import Purpose
from orderkit.auth.models import AccountMail, User
from orderkit.batches import alone
from orderkit.breaker import Breaker
from orderkit.clock import now
from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.mail import Mailer, NotSent
from orderkit.observability import tracing
from orderkit.settings import Settings

PER_ADDRESS = 3
WITHIN = timedelta(hours=1)
"""So many of a kind for one address: enough for whoever lost one, too few to fill a stranger's mailbox."""

LEASE = timedelta(minutes=1)
"""A conversation with a mail server takes 20 s at most, and is over before another worker begins the same."""

ATTEMPTS = 8
RETRY_BASE_S = 15.0
RETRY_CAP_S = 900.0
"""Given up after half an hour or so: a mail server that asks to be tried again later means minutes, not seconds."""

AT_ONCE = 4
"""Calls to the mail server. One that hangs is not to hold every thread of a worker, which has payments to look after."""

KEPT = timedelta(days=1)

_mails = AccountMail.__table__  # type: ignore[attr-defined]
_users = User.__table__  # type: ignore[attr-defined]

Out = TypeVar("Out")


def ask(connection: Connection, purpose: Purpose, email: str) -> None:
    """Notes that a mail is to go to `email`, in its normal spelling, if anybody has it. Beyond the limit, notes nothing.

    Works within the caller's transaction, and keeps others who ask for the same address waiting until its end.
    """
    at = now()
    if (
        connection.dialect.name == "postgresql"
    ):  # else two who count at once would both find room; SQLite has one writer
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"{purpose} {email}", 0))))
    of_late = select(_mails.c.id).where(
        _mails.c.email == email, _mails.c.kind == purpose.value, _mails.c.created_at > at - WITHIN
    )
    if len(connection.execute(of_late.limit(PER_ADDRESS).execution_options(query="mails.of_late")).all()) < PER_ADDRESS:
        connection.execute(
            insert(_mails).values(id=new_id(), kind=purpose.value, email=email, run_at=at, attempts=0, created_at=at)
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """A mail that is the caller's until `until`, and the row of the user it is for. `attempt` counts from 1."""

    id: UUID
    purpose: Purpose
    user: Any
    attempt: int
    until: datetime


def claim(connection: Connection, mail_id: UUID) -> Claim | None:
    """A mail that is due, kept from others for a lease; None when there is nothing to send.

    That is so too when the address is nobody's by now, verified already, or of somebody who is banned or deleted, or when
    no worker that took the mail came back: such a mail is done.
    """
    at = now()
    due = _mails.c.id == mail_id, _mails.c.done_at.is_(None), _mails.c.run_at <= at
    leased = {"run_at": at + LEASE, "woken_at": None, "attempts": _mails.c.attempts + 1}
    taken = update(_mails).where(*due).values(leased).returning(_mails)
    row = connection.execute(taken.execution_options(query="mails.claim")).one_or_none()
    if row is None:
        return None
    purpose = Purpose(row.kind)
    user = connection.execute(select(_users).where(_users.c.email == row.email)).one_or_none()
    if row.attempts > ATTEMPTS:
        logger.bind(mail_id=str(mail_id), kind=row.kind).error("a mail was given up: no worker that took it came back")
    elif _wanted(purpose, user):
        return Claim(row.id, purpose, user, row.attempts, row.run_at)
    _set(connection, mail_id, row.run_at, done_at=at)
    return None


def _wanted(purpose: Purpose, user: Any) -> bool:
    if user is None or user.banned_at is not None or user.deleted_at is not None:
        return False
    return purpose is Purpose.RESET_PASSWORD or user.verified_at is None


def finish(connection: Connection, claim: Claim, failure: NotSent | None) -> str:
    """Notes what came of a claim, unless another has the mail by now: it was sent, is tried again later, or given up."""
    at = now()
    if failure is None:
        outcome = "sent"
    elif failure.for_good or claim.attempt >= ATTEMPTS:
        outcome = "given up"
    else:
        later = retry.delay(claim.attempt, base=RETRY_BASE_S, cap=RETRY_CAP_S)
        return "put off" if _set(connection, claim.id, claim.until, run_at=at + later) else "stale"
    return outcome if _set(connection, claim.id, claim.until, done_at=at) else "stale"


def postpone(connection: Connection, claim: Claim, until: datetime) -> None:
    """Gives an unused claim back, due again at `until`: nothing was tried, so no attempt is counted."""
    _set(connection, claim.id, claim.until, run_at=until, attempts=claim.attempt - 1)


def _set(connection: Connection, mail_id: UUID, leased_until: datetime, **values: Any) -> bool:
    mine = _mails.c.id == mail_id, _mails.c.done_at.is_(None), _mails.c.run_at == leased_until
    return connection.execute(update(_mails).where(*mine).values(values)).rowcount == 1


def forget(connection: Connection, *, before: datetime, limit: int = 1000) -> int:
    """Deletes at most `limit` mails that were done before then."""
    old = select(_mails.c.id).where(_mails.c.done_at < before).order_by(_mails.c.done_at).limit(limit)
    these = delete(_mails).where(_mails.c.id.in_(old))
    return connection.execute(these.execution_options(query="mails.forget")).rowcount


class Mails:
    """Sends what is due. Belongs to one event loop."""

    def __init__(self, database: Database, settings: Settings, mailer: Mailer, breaker: Breaker) -> None:
        self._database = database
        self._settings = settings
        self._mailer = mailer
        self._breaker = breaker
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="mail")
        self._under_way = 0

    async def send(self, mail_id: UUID) -> None:
        """Sends a mail that is due; while the breaker is open, puts it off. While AT_ONCE are sent, leaves it for later."""
        if self._under_way >= AT_ONCE:
            return
        self._under_way += 1
        try:
            await self._send(mail_id)
        finally:
            self._under_way -= 1

    async def _send(self, mail_id: UUID) -> None:
        found = await self._transact(partial(claim, mail_id=mail_id))
        if found is None:
            return
        with tracing.span("mail.send", None, mail_id=found.id):
            await self._write(found)

    async def _write(self, found: Claim) -> None:
        try:
            message = written(self._settings, found)
        except ValueError:  # an address from an import, say, that no mail can have
            await self._end(found, NotSent("cannot be written: no mail can have this address", for_good=True))
            return
        if wait_s := self._breaker.acquire():
            until = now() + timedelta(seconds=wait_s)
            await self._transact(partial(postpone, claim=found, until=until))
            return
        started = time.monotonic()
        failure = await self._deliver(message)
        await self._end(found, failure, ms=round((time.monotonic() - started) * 1000))

    async def _end(self, found: Claim, failure: NotSent | None, *, ms: int = 0) -> None:
        outcome = await self._transact(partial(finish, claim=found, failure=failure))
        told = logger.bind(
            provider="mail", operation=found.purpose.value, attempt=found.attempt, outcome=outcome, ms=ms
        )
        if failure is None:
            told.info("mail {}", outcome)
        else:
            # What is refused for good is one address, which anybody can register: nothing here is out of order.
            alarming = outcome == "given up" and not failure.for_good
            told.log("ERROR" if alarming else "WARNING", "mail {}: {}", outcome, failure)

    async def _deliver(self, message: EmailMessage) -> NotSent | None:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, self._mailer.send, message)
        except NotSent as failure:
            # A no to one address is an answer: the server is well.
            (self._breaker.succeeded if failure.for_good else self._breaker.failed)()
            return failure
        self._breaker.succeeded()
        return None

    async def _transact(self, act: Callable[[Connection], Out]) -> Out:
        return await asyncio.to_thread(alone, self._database, act)

    def close(self) -> None:
        """Waits for what is under way."""
        self._threads.shutdown(wait=True, cancel_futures=True)


def written(settings: Settings, claim: Claim) -> EmailMessage:
    """The mail of a claim, with a link that is good from now on. Nothing in it is of its user's making: anybody can
    register with a name that is an advertisement, and the address of somebody else."""
    subject, path, text = _TEXTS[claim.purpose]
    token = links.make(settings, claim.purpose, claim.user)
    link = f"{settings.public_url.rstrip('/')}{path}?{urlencode({'token': token})}"
    return mail.compose(settings, id=claim.id, to=claim.user.email, subject=subject, text=text.format(link=link))


VERIFY_PATH = "/links/verify-email"
RESET_PATH = "/links/reset-password"

_TEXTS = {
    Purpose.VERIFY_EMAIL: (
        "Please confirm your e-mail address",
        VERIFY_PATH,
        """Hello,

somebody, most likely you, gave this address for an account. Please confirm
that it is yours:

{link}

The link works once, within three days.

If that was not you, do nothing: the address stays unconfirmed.
""",
    ),
    Purpose.RESET_PASSWORD: (
        "Choose a new password",
        RESET_PATH,
        """Hello,

somebody, most likely you, said that the password of your account was
forgotten. You can choose a new one here:

{link}

The link works once, within 30 minutes. Whoever is logged in to the account
is logged out by it.

If that was not you, do nothing: your password stays as it is, and nobody but
you was sent this link.
""",
    ),
}
