"""Mails about accounts: asked for alike for everybody, sent to whom they concern, and not lost to a mail server's moods."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.message import EmailMessage
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from loguru import logger
from sqlalchemy import event, text
from sqlmodel import col, select

from orderkit import clock
from orderkit.auth import links, mails
from orderkit.auth.links import Purpose
from orderkit.auth.mails import AT_ONCE, ATTEMPTS, LEASE, PER_ADDRESS, WITHIN, Mails
from orderkit.auth.models import AccountMail, User
from orderkit.breaker import Breaker
from orderkit.db import Database
from orderkit.mail import NotSent
from orderkit.settings import Settings
from tests.factories import make_user

ADA = "ada@example.com"
BOTH = pytest.mark.parametrize("purpose", list(Purpose), ids=[one.value for one in Purpose])


class Letterbox:
    """A mailer that keeps what it is given, or fails as it is told, in turn."""

    def __init__(self) -> None:
        self.taken: list[EmailMessage] = []
        self.failures: list[NotSent] = []
        self.hold: Callable[[], object] = lambda: None

    def greet(self) -> None:
        """It is always there."""

    def send(self, message: EmailMessage) -> None:
        self.hold()
        if self.failures:
            raise self.failures.pop(0)
        self.taken.append(message)


class Office:
    """Where mails are asked for and sent, without a worker."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings
        self.box = Letterbox()
        self.breaker = Breaker("mail", failures=3, open_for=60)
        self.mails = self.another()

    def another(self) -> Mails:
        return Mails(self.database, self.settings, self.box, self.breaker)

    def ask(self, purpose: Purpose = Purpose.RESET_PASSWORD, email: str = ADA) -> UUID | None:
        """The id of the row, if one was added."""
        before = {row.id for row in self.rows()}
        with self.database.transaction() as session:
            mails.ask(session.connection(), purpose, email)
        return next((row.id for row in self.rows() if row.id not in before), None)

    def asked(self, purpose: Purpose = Purpose.RESET_PASSWORD, email: str = ADA) -> UUID:
        added = self.ask(purpose, email)
        assert added is not None
        return added

    def send(self, *ids: UUID) -> None:
        async def all_at_once() -> None:
            await asyncio.gather(*(self.mails.send(one) for one in ids))

        asyncio.run(all_at_once())

    def rows(self) -> list[AccountMail]:
        with self.database.reading() as session:
            return list(session.exec(select(AccountMail).order_by(col(AccountMail.id))))

    def row(self, mail_id: UUID) -> AccountMail:
        with self.database.reading() as session:
            return session.get_one(AccountMail, mail_id)


@pytest.fixture
def office(database: Database, settings: Settings) -> Iterator[Office]:
    office = Office(database, settings)
    yield office
    office.mails.close()


@pytest.fixture
def ada(database: Database) -> User:
    return make_user(database, email=ADA, name="Visit http://evil.example now")


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """What is logged, from now on."""
    records: list[Any] = []
    sink = logger.add(lambda message: records.append(message.record), level="DEBUG")
    yield records
    logger.remove(sink)


# ── Asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@BOTH
def test_a_mail_is_asked_for_whether_anybody_has_the_address_or_not(
    office: Office, ada: User, purpose: Purpose
) -> None:
    """OWASP ASVS 5.0, V6.3.8: not even the work that is done tells whether an address is known."""
    statements: list[str] = []
    event.listen(office.database.engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    done = []
    for email in (ada.email, "nobody@example.com"):
        statements.clear()
        with office.database.transaction() as session:
            mails.ask(session.connection(), purpose, email)
        done.append(statements[:])
    assert done[0] == done[1]
    assert not any("users" in statement for statement in done[0])
    known, unknown = office.rows()
    assert known.model_dump(exclude={"id", "email", "run_at", "created_at"}) == unknown.model_dump(
        exclude={"id", "email", "run_at", "created_at"}
    )


@BOTH
def test_an_address_gets_three_of_a_kind_an_hour(office: Office, purpose: Purpose) -> None:
    """OWASP ASVS 5.0, V6.3.1 and V2.4.1: nobody fills a stranger's mailbox from here."""
    [other] = set(Purpose) - {purpose}
    asked = [office.ask(purpose) for _ in range(PER_ADDRESS + 2)]
    assert [one is not None for one in asked] == [True] * 3 + [False] * 2
    assert office.ask(other) is not None
    assert office.ask(purpose, "bob@example.com") is not None
    with clock.moved(WITHIN - timedelta(seconds=5)):
        assert office.ask(purpose) is None
    with clock.moved(WITHIN + timedelta(seconds=5)):
        assert office.ask(purpose) is not None


def test_mails_that_were_sent_count_as_those_that_were_not(office: Office, ada: User) -> None:
    for _ in range(PER_ADDRESS):
        office.send(office.asked())
    assert office.ask() is None


def test_three_an_hour_holds_for_many_who_ask_at_once(office: Office) -> None:
    begin = threading.Barrier(8)

    def ask(_: int) -> None:
        begin.wait()
        with office.database.transaction() as session:
            mails.ask(session.connection(), Purpose.RESET_PASSWORD, ADA)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(8)))
    assert len(office.rows()) == PER_ADDRESS


# ── Sending ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def link_in(message: EmailMessage) -> str:
    [link] = [line for line in message.get_content().splitlines() if "://" in line]
    return str(link)


@BOTH
def test_the_mail_has_a_link_that_works(office: Office, ada: User, purpose: Purpose) -> None:
    one = office.asked(purpose)
    office.send(one)

    [message] = office.box.taken
    assert message["To"] == ADA
    link = urlsplit(link_in(message))
    pages = {Purpose.VERIFY_EMAIL: "/links/verify-email", Purpose.RESET_PASSWORD: "/links/reset-password"}
    assert f"{link.scheme}://{link.netloc}" == office.settings.public_url
    assert link.path == pages[purpose]
    [token] = parse_qs(link.query)["token"]
    links.check(office.database, office.settings, purpose, token)
    row = office.row(one)
    assert row.done_at is not None
    assert row.attempts == 1


@BOTH
def test_nothing_in_the_mail_is_of_its_users_making(office: Office, ada: User, purpose: Purpose) -> None:
    """Anybody can register a stranger's address under a name that is an advertisement."""
    office.send(office.asked(purpose))
    [message] = office.box.taken
    assert "evil" not in message.as_string()
    assert ada.name not in message.as_string()


def test_a_public_url_may_lie_deeper_and_end_in_a_slash(office: Office, ada: User, settings: Settings) -> None:
    office.settings = settings.model_copy(update={"public_url": "https://example.com/shop/"})
    office.mails = office.another()
    office.send(office.asked())
    assert link_in(office.box.taken[0]).startswith("https://example.com/shop/links/reset-password?token=")


def test_no_row_and_no_log_has_the_link(office: Office, ada: User, logged: list[Any]) -> None:
    """OWASP ASVS 5.0, V14.2.1 and V16.2.5: neither who reads the tables nor who reads the logs gets in."""
    one = office.asked()
    office.box.failures = [NotSent("busy")]
    office.send(one)
    with clock.moved(timedelta(hours=1)):
        office.send(one)
    token = link_in(office.box.taken[0]).partition("token=")[2]
    assert token not in repr(office.rows())
    assert len(logged) == 2
    for record in logged:
        assert token not in repr(record)
        assert ADA not in record["message"] + repr(record["extra"])


@pytest.mark.parametrize(
    ("purpose", "state"),
    [
        (Purpose.VERIFY_EMAIL, None),
        (Purpose.RESET_PASSWORD, None),
        (Purpose.VERIFY_EMAIL, "verified_at"),
        (Purpose.VERIFY_EMAIL, "banned_at"),
        (Purpose.RESET_PASSWORD, "banned_at"),
        (Purpose.VERIFY_EMAIL, "deleted_at"),
        (Purpose.RESET_PASSWORD, "deleted_at"),
    ],
)
def test_a_mail_that_nobody_is_to_get_is_done_without_being_sent(
    office: Office, purpose: Purpose, state: str | None
) -> None:
    if state is not None:
        of_user: dict[str, Any] = {state: clock.now()}
        make_user(office.database, email=ADA, **of_user)
    one = office.asked(purpose)
    office.send(one)
    assert office.box.taken == []
    assert office.row(one).done_at is not None


def test_whoever_is_verified_can_still_reset_their_password(office: Office) -> None:
    make_user(office.database, email=ADA, verified_at=clock.now())
    office.send(office.asked(Purpose.RESET_PASSWORD))
    assert len(office.box.taken) == 1


def test_a_mail_is_sent_once_however_often_it_is_asked_for(office: Office, ada: User) -> None:
    one = office.asked()
    for _ in range(2):
        office.send(one, one, ada.id)
    assert len(office.box.taken) == 1


def test_two_workers_do_not_send_one_mail_at_once(office: Office, ada: User) -> None:
    one = office.asked()
    begin = threading.Barrier(2)

    def work(_: int) -> None:
        worker = office.another()
        begin.wait()
        asyncio.run(worker.send(one))
        worker.close()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(work, range(2)))
    assert len(office.box.taken) == 1


def test_no_transaction_is_open_while_a_mail_is_sent(office: Office, ada: User) -> None:
    used: list[int] = []
    office.box.hold = lambda: used.append(office.database.engine.pool.checkedout())  # type: ignore[attr-defined]
    office.send(office.asked())
    assert used == [0]


def test_a_worker_that_dies_after_sending_sends_the_same_mail_again(office: Office, ada: User) -> None:
    """At least once: a mail that comes twice is known by its Message-ID (RFC 5322, section 3.6.4)."""
    one = office.asked()

    class Died(Exception):
        pass

    def die(*_: object, **__: object) -> str:
        raise Died

    with pytest.MonkeyPatch.context() as dying:
        dying.setattr(mails, "finish", die)
        with pytest.raises(Died):
            office.send(one)
    office.send(one)
    assert len(office.box.taken) == 1
    assert office.row(one).done_at is None

    with clock.moved(LEASE):
        office.send(one)
    first, second = office.box.taken
    assert first["Message-ID"] == second["Message-ID"] == f"<{one}@localhost>"
    assert office.row(one).done_at is not None


def test_a_mail_that_kills_its_workers_is_given_up(office: Office, ada: User, logged: list[Any]) -> None:
    one = office.asked()
    for number in range(ATTEMPTS):
        with clock.moved(number * LEASE), office.database.transaction() as session:
            assert mails.claim(session.connection(), one) is not None
    with clock.moved(ATTEMPTS * LEASE):
        office.send(one)
    assert office.box.taken == []
    assert office.row(one).done_at is not None
    assert [record["level"].name for record in logged] == ["ERROR"]


def test_who_comes_back_late_changes_nothing(office: Office, ada: User) -> None:
    one = office.asked()
    with office.database.transaction() as session:
        late = mails.claim(session.connection(), one)
    assert late is not None
    with clock.moved(LEASE), office.database.transaction() as session:
        assert mails.claim(session.connection(), one) is not None
    before = office.row(one)
    for outcome in (None, NotSent("busy"), NotSent("no", for_good=True)):
        with office.database.transaction() as session:
            assert mails.finish(session.connection(), late, outcome) == "stale"
    with office.database.transaction() as session:
        mails.postpone(session.connection(), late, clock.now())
    assert office.row(one) == before


# ── Failing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_failure_is_tried_again_later_and_later(office: Office, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _least, most: most)
    one = office.asked()
    waits, elapsed = [], timedelta(0)
    for _ in range(ATTEMPTS - 1):
        office.box.failures = [NotSent("busy")]
        office.breaker.succeeded()
        with clock.moved(elapsed):
            before = clock.now()
            office.send(one)
            wait = office.row(one).run_at - before
        assert office.row(one).done_at is None
        waits.append(round(wait.total_seconds()))
        elapsed += wait + timedelta(seconds=1)
    assert waits == [15, 30, 60, 120, 240, 480, 900]
    with clock.moved(elapsed):
        office.send(one)
    assert len(office.box.taken) == 1


def test_after_eight_attempts_it_is_given_up_and_somebody_is_told(office: Office, ada: User, logged: list[Any]) -> None:
    one = office.asked()
    for number in range(ATTEMPTS):
        office.box.failures = [NotSent("the mail server said no")]
        office.breaker.succeeded()
        with clock.moved(number * timedelta(hours=1)):
            office.send(one)
    assert office.row(one).done_at is not None
    assert [record["level"].name for record in logged] == ["WARNING"] * 7 + ["ERROR"]
    assert logged[-1]["message"] == "mail given up: the mail server said no"
    said = {"provider": "mail", "operation": "reset_password", "attempt": 8, "outcome": "given up"}
    assert said.items() <= logged[-1]["extra"].items()


def test_an_address_that_is_refused_for_good_is_not_tried_again_and_calls_nobody(
    office: Office, ada: User, logged: list[Any]
) -> None:
    """Anybody can register an address that is nobody's; if that were an error, they could call whoever is on duty."""
    one = office.asked()
    office.box.failures = [NotSent("no such mailbox", for_good=True)]
    office.send(one)
    assert office.row(one).done_at is not None
    assert office.breaker.state == "closed"
    assert [(record["level"].name, record["message"]) for record in logged] == [
        ("WARNING", "mail given up: no such mailbox")
    ]


def test_an_address_that_no_mail_can_have_is_given_up(office: Office, logged: list[Any]) -> None:
    make_user(office.database, email="from an import")
    one = office.asked(email="from an import")
    office.send(one)
    assert office.row(one).done_at is not None
    assert [(record["level"].name, record["message"]) for record in logged] == [
        ("WARNING", "mail given up: cannot be written: no mail can have this address")
    ]


def test_a_server_that_fails_is_left_alone_and_costs_no_attempt(office: Office, ada: User) -> None:
    for _ in range(3):
        office.breaker.failed()
    one = office.asked()
    office.send(one)
    row = office.row(one)
    assert (row.attempts, row.done_at, office.box.taken) == (0, None, [])
    assert timedelta(seconds=50) < row.run_at - clock.now() <= timedelta(seconds=60)
    office.breaker.succeeded()
    with clock.moved(timedelta(minutes=1)):
        office.send(one)
    assert len(office.box.taken) == 1


def test_a_server_that_hangs_holds_few_threads(office: Office) -> None:
    addresses = [make_user(office.database).email for _ in range(AT_ONCE + 3)]
    ids = [office.asked(email=one) for one in addresses]
    sending, going_on = threading.Semaphore(0), threading.Event()

    def hang() -> None:
        sending.release()
        going_on.wait(10)

    office.box.hold = hang

    async def work() -> None:
        first = [asyncio.create_task(office.mails.send(one)) for one in ids[:AT_ONCE]]
        for _ in range(AT_ONCE):
            await asyncio.to_thread(sending.acquire)
        for one in ids[AT_ONCE:]:
            await asyncio.wait_for(office.mails.send(one), 5)
        assert [office.row(one).attempts for one in ids] == [1] * AT_ONCE + [0] * 3
        going_on.set()
        await asyncio.gather(*first)
        await office.mails.send(ids[-1])

    asyncio.run(work())
    assert len(office.box.taken) == AT_ONCE + 1


# ── Forgetting ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_done_is_forgotten_and_what_is_not_is_kept(office: Office, ada: User) -> None:
    """OWASP ASVS 5.0, V14.2.7: what is no longer needed is deleted. Rows hold addresses, of strangers too."""
    done = [office.asked(email=f"{number}@example.com") for number in range(3)]
    office.send(*done)
    waiting = office.asked()
    before = clock.now() + timedelta(seconds=1)
    with office.database.transaction() as session:
        assert mails.forget(session.connection(), before=clock.now() - timedelta(hours=1)) == 0
        assert mails.forget(session.connection(), before=before, limit=2) == 2
        assert mails.forget(session.connection(), before=before, limit=2) == 1
    assert [row.id for row in office.rows()] == [waiting]


@pytest.mark.parametrize("what", ["cap", "forgetting"])
def test_no_question_to_the_mails_reads_them_all(office: Office, what: str) -> None:
    table = AccountMail.__table__  # type: ignore[attr-defined]
    query = {
        "cap": select(table.c.id).where(table.c.email == "a", table.c.kind == "b", table.c.created_at > clock.now()),
        "forgetting": select(table.c.id).where(table.c.done_at < clock.now()).order_by(table.c.done_at).limit(5),
    }[what]
    with office.database.reading() as session:
        connection = session.connection()
        compiled = query.compile(connection, compile_kwargs={"literal_binds": True})
        if office.database.is_sqlite:
            plan = connection.execute(text(f"EXPLAIN QUERY PLAN {compiled}")).all()
        else:
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            connection.execute(text("SET LOCAL enable_bitmapscan = off"))
            plan = connection.execute(text(f"EXPLAIN {compiled}")).all()
    assert {"cap": "ix_account_mails_email", "forgetting": "ix_account_mails_done"}[what] in str(plan)
