"""Mails as they are handed over: as files, and to real mail servers that live in a thread of the test."""

from __future__ import annotations

import os
import smtplib
import socket
import ssl
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session
from pydantic import SecretStr

from orderkit import mail
from orderkit.errors import ConfigurationError
from orderkit.ids import new_id
from orderkit.mail import NotSent, Smtp, compose, open_mailer
from orderkit.settings import Settings, load_settings

PASSWORD = "s3cret/with:signs@in it"
LINK = "https://shop.example/links/verify-email?token=" + "x" * 400


def configured(home: Path, **more: Any) -> Settings:
    return Settings(_env_file=None, home=home, mail_from="Shop <shop@shop.example>", **more)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return configured(tmp_path / "home")


def letter(settings: Settings, *, to: str = "ada@example.com", id: UUID | None = None) -> EmailMessage:
    return compose(settings, id=id or new_id(), to=to, subject="Good news", text=f"Hello,\n\n{LINK}\n")


# ── What a mail is ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_mail_is_plain_text_with_its_link_whole(settings: Settings) -> None:
    read = message_from_bytes(bytes(letter(settings)), policy=policy.default)
    assert read.get_content_type() == "text/plain"
    assert LINK in read.get_content().splitlines()
    assert LINK.encode() in bytes(letter(settings))
    assert (read["From"], read["To"], read["Subject"]) == ("Shop <shop@shop.example>", "ada@example.com", "Good news")
    assert read["Auto-Submitted"] == "auto-generated"
    assert read["Date"].datetime.tzinfo is not None


def test_a_message_id_is_made_of_what_the_mail_is_for(settings: Settings) -> None:
    one = new_id()
    assert letter(settings, id=one)["Message-ID"] == letter(settings, id=one)["Message-ID"] == f"<{one}@shop.example>"
    assert letter(settings)["Message-ID"] != letter(settings)["Message-ID"]


@pytest.mark.parametrize("line_end", ["\r\n", "\n", "\r"])
def test_nothing_adds_headers(settings: Settings, line_end: str) -> None:
    """OWASP ASVS 5.0, V1.3.11: what goes into a mail is kept from being headers of it."""
    injected = f"ada@example.com{line_end}Bcc: everyone@example.com"
    with pytest.raises(ValueError, match="CR or LF"):
        letter(settings, to=injected)
    with pytest.raises(ValueError, match="linefeed or carriage return"):
        compose(settings, id=new_id(), to="ada@example.com", subject=injected, text="")


@pytest.mark.parametrize(
    "several",
    [
        "ada@example.com, bob@example.com",
        "ada@example.com bob@example.com",
        "Ada <ada@example.com>",
        "",
        "@",
        "a@",
        "(",
        "[",
    ],
)
def test_one_address_is_one_address(settings: Settings, several: str) -> None:
    with pytest.raises(ValueError, match=r"addr_spec|[Ii]nvalid|expected"):
        letter(settings, to=several)


@pytest.mark.parametrize(
    "sender", ["nonsense", "a@b@c", "a@example.com, b@example.com", "Ä <a@example.com>", "a@example.com\r\nBcc: b@c.de"]
)
def test_a_sender_that_is_no_address_is_told_at_the_start(tmp_path: Path, sender: str) -> None:
    with pytest.raises(ConfigurationError, match="ORDERKIT_MAIL_FROM"):
        open_mailer(load_settings(_env_file=None, home=tmp_path, mail_from=sender))


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_mail_is_a_file_that_only_its_owner_reads(settings: Settings) -> None:
    mailer = open_mailer(settings)
    assert not settings.home.exists()
    sent = [letter(settings) for _ in range(3)]
    for one in sent:
        mailer.send(one)

    outbox = settings.home / "outbox"
    files = sorted(outbox.iterdir())
    assert [one.read_bytes() for one in files] == [bytes(one) for one in sent]
    assert {one.suffix for one in files} == {".eml"}
    assert {stat.S_IMODE(one.stat().st_mode) for one in files} == {0o600}
    assert stat.S_IMODE(outbox.stat().st_mode) == stat.S_IMODE(settings.home.stat().st_mode) == 0o700


def test_a_folder_that_others_could_read_is_closed_to_them(settings: Settings) -> None:
    outbox = settings.home / "outbox"
    outbox.mkdir(parents=True)
    outbox.chmod(0o755)
    open_mailer(settings).send(letter(settings))
    assert stat.S_IMODE(outbox.stat().st_mode) == 0o700


def test_a_mail_that_cannot_be_written_leaves_nothing_behind(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    mailer = open_mailer(settings)
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(NotSent, match="No space left") as failed:
        mailer.send(letter(settings))
    assert not failed.value.for_good
    assert list((settings.home / "outbox").iterdir()) == []


# ── SMTP ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Inbox:
    """What a mail server took, whom it was told to refuse, and who logged in."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, list[str], EmailMessage]] = []
        self.encrypted: list[bool] = []
        self.logins: list[tuple[str, str]] = []
        self.refuse: dict[str, str] = {}

    async def handle_RCPT(self, _server: Any, _session: Session, envelope: Envelope, to: str, _options: Any) -> str:
        if to in self.refuse:
            return self.refuse[to]
        envelope.rcpt_tos.append(to)
        return "250 fine"

    async def handle_DATA(self, _server: Any, session: Session, envelope: Envelope) -> str:
        content = envelope.original_content or b""
        read = message_from_bytes(content, policy=policy.default)
        assert isinstance(read, EmailMessage)
        self.taken.append((str(envelope.mail_from), list(envelope.rcpt_tos), read))
        self.encrypted.append(session.ssl is not None)
        return "250 taken"

    def authenticate(self, _server: Any, _session: Session, _envelope: Envelope, _how: str, given: Any) -> AuthResult:
        assert isinstance(given, LoginPassword)
        self.logins.append((given.login.decode(), given.password.decode()))
        return AuthResult(success=self.logins[-1] == ("shop@x", PASSWORD), handled=False)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


Start = Callable[..., int]


@pytest.fixture
def server(inbox: Inbox) -> Iterator[Start]:
    """Starts a mail server with these options on the loopback and gives its port; stops it in the end."""
    started: list[Controller] = []

    def start(**options: Any) -> int:
        one = Controller(inbox, hostname="127.0.0.1", port=free_port(), ready_timeout=20, **options)
        one.start()
        started.append(one)
        return int(one.port)

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def certified(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ssl.SSLContext:
    """The context of a server that is rightly called localhost; this process trusts whoever certified that."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mail server counts as one on another machine."""
    monkeypatch.setattr(mail, "_is_this_machine", lambda _host: False)


def through(settings: Settings, url: str) -> Settings:
    return configured(settings.home, mail_url=SecretStr(url))


def test_a_server_on_this_machine_gets_mails_as_they_are(settings: Settings, server: Start, inbox: Inbox) -> None:
    sent = letter(settings)
    open_mailer(through(settings, f"smtp://127.0.0.1:{server()}")).send(sent)

    [(sender, recipients, taken)] = inbox.taken
    assert (sender, recipients) == ("shop@shop.example", ["ada@example.com"])
    assert taken["Message-ID"] == sent["Message-ID"]
    assert LINK in taken.get_content().splitlines()
    assert inbox.encrypted == [False]


@pytest.mark.usefixtures("elsewhere")
def test_a_server_elsewhere_is_spoken_to_in_tls_before_any_password(
    settings: Settings, server: Start, inbox: Inbox, certified: ssl.SSLContext
) -> None:
    """OWASP ASVS 5.0, V12.3.1: connections to other systems are encrypted, without falling back."""
    port = server(tls_context=certified, require_starttls=True, authenticator=inbox.authenticate, auth_required=True)
    url = f"smtp://shop%40x:s3cret%2Fwith%3Asigns%40in%20it@localhost:{port}"
    open_mailer(through(settings, url)).send(letter(settings))

    assert inbox.encrypted == [True]
    assert inbox.logins == [("shop@x", PASSWORD)]


def test_smtps_is_tls_from_the_first_byte(
    settings: Settings, server: Start, inbox: Inbox, certified: ssl.SSLContext
) -> None:
    open_mailer(through(settings, f"smtps://localhost:{server(ssl_context=certified)}")).send(letter(settings))
    assert len(inbox.taken) == 1


@pytest.mark.usefixtures("elsewhere")
def test_a_server_elsewhere_without_tls_gets_neither_mail_nor_password(
    settings: Settings, server: Start, inbox: Inbox
) -> None:
    """OWASP ASVS 5.0, V12.3.1. Whoever sits in between may say that there is no TLS."""
    port = server(authenticator=inbox.authenticate, auth_require_tls=False)
    with pytest.raises(NotSent, match="cannot do what is asked"):
        open_mailer(through(settings, f"smtp://shop%40x:pw@localhost:{port}")).send(letter(settings))
    assert (inbox.taken, inbox.logins) == ([], [])


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
@pytest.mark.usefixtures("elsewhere")
def test_a_server_that_cannot_prove_who_it_is_gets_nothing(
    settings: Settings,
    server: Start,
    inbox: Inbox,
    certified: ssl.SSLContext,
    scheme: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """OWASP ASVS 5.0, V12.3.2: certificates are checked."""
    port = server(**{"tls_context" if scheme == "smtp" else "ssl_context": certified})
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(NotSent, match="certificate is not trusted"):
        open_mailer(through(settings, f"{scheme}://localhost:{port}")).send(letter(settings))
    assert inbox.taken == []


def test_no_error_tells_the_password_or_the_address(settings: Settings, server: Start, inbox: Inbox) -> None:
    """OWASP ASVS 5.0, V16.2.5: what reaches a log holds no secrets."""
    port = server(authenticator=inbox.authenticate, auth_require_tls=False)
    mailer = open_mailer(through(settings, f"smtp://ada:wrong-and-secret@127.0.0.1:{port}"))
    inbox.refuse["ada@example.com"] = "550 no ada@example.com here"
    with pytest.raises(NotSent, match=r"^the mail server said no \(535, user or password is wrong\)$") as failed:
        mailer.send(letter(settings))
    assert not failed.value.for_good
    assert failed.value.__cause__ is None
    assert "wrong-and-secret" not in repr(mailer)

    nameless = open_mailer(through(settings, f"smtp://127.0.0.1:{port}"))
    with pytest.raises(NotSent, match=r"^the mail server refused the address \(550\)$"):
        nameless.send(letter(settings))


@pytest.mark.parametrize(("answer", "for_good"), [("550 nobody", True), ("450 busy", False)])
def test_an_address_is_refused_for_good_or_for_now(
    settings: Settings, server: Start, inbox: Inbox, answer: str, for_good: bool
) -> None:
    inbox.refuse["ada@example.com"] = answer
    with pytest.raises(NotSent) as failed:
        open_mailer(through(settings, f"smtp://127.0.0.1:{server()}")).send(letter(settings))
    assert failed.value.for_good is for_good


def test_a_server_that_is_not_there_is_a_failure_for_now(settings: Settings) -> None:
    with pytest.raises(NotSent, match="connection refused") as failed:
        open_mailer(through(settings, f"smtp://127.0.0.1:{free_port()}")).send(letter(settings))
    assert not failed.value.for_good


@contextmanager
def speaking(say: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that takes one connection and does `say` with it; its port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                say(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(listening.getsockname()[1])
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_a_silent_server_does_not_hold_us(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "SMTP_TIMEOUT_S", 0.2)

    def hear(connection: socket.socket) -> None:
        connection.recv(1)

    began = time.monotonic()
    with speaking(hear) as port, pytest.raises(NotSent):
        open_mailer(through(settings, f"smtp://127.0.0.1:{port}")).send(letter(settings))
    assert 0.2 <= time.monotonic() - began < 3


def test_a_server_that_never_ends_its_sentence_does_not_hold_us(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ramble(connection: socket.socket) -> None:
        connection.sendall(b"220 here\r\n")
        while True:
            connection.sendall(b"250-and another thing\r\n")
            threading.Event().wait(0.02)

    monkeypatch.setattr(mail, "SMTP_WITHIN_S", 0.3)
    with speaking(ramble) as port, pytest.raises(NotSent):
        open_mailer(through(settings, f"smtp://127.0.0.1:{port}")).send(letter(settings))


def test_a_server_that_hangs_up_after_taking_a_mail_has_taken_it(
    settings: Settings, server: Start, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rude(_session: smtplib.SMTP) -> None:
        raise TimeoutError

    monkeypatch.setattr(smtplib.SMTP, "quit", rude)
    open_mailer(through(settings, f"smtp://127.0.0.1:{server()}")).send(letter(settings))
    assert len(inbox.taken) == 1


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("smtp://mail.example", "mail.example", 587, False),
        ("smtps://mail.example", "mail.example", 465, True),
        ("smtp://mail.example:2525", "mail.example", 2525, False),
        ("smtp://[::1]:25", "::1", 25, False),
    ],
)
def test_the_url_says_where_and_how(settings: Settings, url: str, host: str, port: int, tls: bool) -> None:
    mailer = open_mailer(through(settings, url))
    assert isinstance(mailer, Smtp)
    assert (mailer.host, mailer.port, mailer.tls_from_the_start) == (host, port, tls)


@pytest.mark.parametrize(
    ("host", "here"),
    [("localhost", True), ("127.0.0.1", True), ("::1", True), ("mail.example", False), ("10.0.0.1", False)],
)
def test_only_this_machine_goes_without_tls(host: str, here: bool) -> None:
    assert mail._is_this_machine(host) is here
