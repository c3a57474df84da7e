"""Sending mail: one file for each in a folder, or by SMTP. What is sent is plain text, and nothing in it is a caller's.

Sending may happen twice where a process dies in between, so a mail's Message-ID is made of the id of what it is sent for.
"""

from __future__ import annotations

import os
import smtplib
import ssl
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from email import policy
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from socket import SHUT_RDWR
from threading import Timer
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit
from uuid import UUID

from orderkit import reasons
from orderkit.clock import now
from orderkit.errors import ConfigurationError
from orderkit.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

SMTP_TIMEOUT_S = 5.0
SMTP_WITHIN_S = 15.0
"""For each step of the conversation, of which there are about ten, and for all of them: a worker that stops waits for it."""

SUBMISSION_PORT = {"smtp": 587, "smtps": 465}
"""RFC 8314, where the URL names no port."""


class NotSent(Exception):
    """A mail was not taken. `for_good`: trying again is of no use. The text quotes neither the mail nor the server."""

    def __init__(self, reason: str, *, for_good: bool = False) -> None:
        super().__init__(reason)
        self.for_good = for_good


class Mailer(Protocol):
    """Where mails go."""

    def send(self, message: EmailMessage) -> None:
        """Hands one mail over; blocks meanwhile. Raises NotSent."""

    def greet(self) -> None:
        """Finds out whether a mail would be taken, without sending one; blocks meanwhile. Raises NotSent."""


def open_mailer(settings: Settings) -> Mailer:
    """The mailer that the settings name. Opens nothing yet. Raises ConfigurationError for a sender that is no address."""
    _sender(settings)
    if settings.mail_url is None:
        return Outbox(settings.home / "outbox")
    url = urlsplit(settings.mail_url.get_secret_value())
    return Smtp(
        str(url.hostname),
        url.port or SUBMISSION_PORT[url.scheme],
        tls_from_the_start=url.scheme == "smtps",
        username=unquote(url.username) if url.username else None,
        password=unquote(url.password or ""),
    )


def compose(settings: Settings, *, id: UUID, to: str, subject: str, text: str) -> EmailMessage:
    """A mail to one address. `text` is ASCII in lines of at most 990 characters, so that links stay whole as they are.

    Raises ValueError for an address or a subject that would add headers.
    """
    sender = _sender(settings)
    message = EmailMessage(policy=policy.SMTP)
    message["From"] = sender
    message["To"] = _recipient(to)
    message["Subject"] = subject
    message["Date"] = now()
    message["Message-ID"] = f"<{id}@{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answering machine is to answer
    message.set_content(text, cte="7bit")
    return message


def _recipient(text: str) -> Address:
    try:
        return Address(addr_spec=text)
    except (MessageError, IndexError):  # what its parser raises for some of what is no address
        raise ValueError("no addr_spec of RFC 5322") from None


def _sender(settings: Settings) -> Address:
    try:
        header = policy.SMTP.header_factory("From", settings.mail_from)
        [sender] = header.addresses
    except (ValueError, IndexError):
        raise _no_sender() from None
    if header.defects or not sender.username or not sender.domain or not settings.mail_from.isascii():
        raise _no_sender()
    assert isinstance(sender, Address)  # noqa: S101 - for types
    return sender


def _no_sender() -> ConfigurationError:
    return ConfigurationError("ORDERKIT_MAIL_FROM is not an address; try Shop <shop@example.com>")


@dataclass(frozen=True, slots=True)
class Outbox:
    """A folder in which each mail becomes a file, `<when>-<what for>.eml`, whole or not at all, that only its owner reads."""

    folder: Path

    def send(self, message: EmailMessage) -> None:
        try:
            self._write(bytes(message), f"{_stamp(now())}-{_local_part(message)}.eml")
        except OSError as error:
            raise NotSent(f"cannot write into the outbox ({error.strerror})") from None

    def greet(self) -> None:
        try:
            self._make_folder()
        except OSError as error:
            raise NotSent(f"cannot write into the outbox ({error.strerror})") from None

    def _make_folder(self) -> None:
        for folder in (self.folder.parent, self.folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)  # what is in it lets its reader into accounts, whoever made the folder

    def _write(self, content: bytes, name: str) -> None:
        self._make_folder()
        descriptor, new = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".new")  # readable by its owner only
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self.folder / name)
        except OSError:
            with suppress(OSError):
                os.unlink(new)
            raise


def _stamp(at: datetime) -> str:
    return at.strftime("%Y%m%dT%H%M%S.%fZ")


def _local_part(message: EmailMessage) -> str:
    return str(message["Message-ID"]).strip("<>").partition("@")[0].replace("/", "_")


@dataclass(frozen=True, slots=True)
class Smtp:
    """A mail server, asked anew for each mail. Only a server on this very machine is spoken to without TLS."""

    host: str
    port: int
    tls_from_the_start: bool
    username: str | None = field(default=None, repr=False)
    password: str = field(default="", repr=False)

    def send(self, message: EmailMessage) -> None:
        with _told(), self._session() as session:
            session.send_message(message)

    def greet(self) -> None:
        with _told(), self._session():
            pass

    @contextmanager
    def _session(self) -> Iterator[smtplib.SMTP]:
        session = self._connect()
        hanging_up = Timer(SMTP_WITHIN_S, _hang_up, [session])
        hanging_up.start()
        try:
            if not self.tls_from_the_start and not _is_this_machine(self.host):
                session.starttls(context=ssl.create_default_context())  # raises where the server has none
            if self.username is not None:
                session.login(self.username, self.password)
            yield session
            with suppress(smtplib.SMTPException, OSError):  # the mail is taken by now; a rude goodbye changes nothing
                session.quit()
        finally:
            hanging_up.cancel()
            session.close()

    def _connect(self) -> smtplib.SMTP:
        if self.tls_from_the_start:
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(self.host, self.port, timeout=SMTP_TIMEOUT_S, context=context)
        return smtplib.SMTP(self.host, self.port, timeout=SMTP_TIMEOUT_S)


@contextmanager
def _told() -> Iterator[None]:
    """Makes NotSent of whatever a mail server answers, or does not."""
    try:
        yield
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _text in error.recipients.values()]
        raise NotSent(f"the mail server refused the address ({codes[0]})", for_good=min(codes) >= 500) from None
    except smtplib.SMTPResponseException as error:  # its text may quote whom the server was told of
        raise NotSent(f"the mail server said no ({error.smtp_code}, {reasons.in_words(error)})") from None
    except (smtplib.SMTPException, OSError) as error:
        raise NotSent(f"the mail server does not answer as it should ({reasons.in_words(error)})") from None


def _hang_up(session: smtplib.SMTP) -> None:
    """Ends a conversation that takes too long from outside: whoever waits for the server gets an error."""
    if session.sock is not None:
        with suppress(OSError):
            session.sock.shutdown(SHUT_RDWR)


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
