"""Why something that orderkit waits for does not answer, in words for people: libraries only have classes of errors for that.

Words of our own, and never those of an error, which may quote an address, a password or a row. The class is kept beside them, for
whoever looks into a library.
"""

from __future__ import annotations

import errno
import socket
import sqlite3
import ssl

OF_SYSTEM = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.ECONNABORTED: "connection reset",
    errno.EPIPE: "connection closed",
    errno.EHOSTUNREACH: "no way to its machine",
    errno.ENETUNREACH: "no way to its network",
    errno.ETIMEDOUT: "timed out",
    errno.ENOENT: "its file or socket is not there",
    errno.EACCES: "no right to use it",
    errno.EMFILE: "this process has too many files open",
    errno.ENFILE: "this machine has too many files open",
    errno.ENOSPC: "its disk is full",
    errno.EADDRNOTAVAIL: "this machine has no port left to connect from",
}
OF_SQLITE = {
    sqlite3.SQLITE_BUSY: "locked: another process is writing to its file",
    sqlite3.SQLITE_LOCKED: "locked: another connection is writing to its file",
    sqlite3.SQLITE_CANTOPEN: "its file cannot be opened",
    sqlite3.SQLITE_IOERR: "its file cannot be read or written",
    sqlite3.SQLITE_FULL: "its disk is full",
    sqlite3.SQLITE_READONLY: "its file may not be written to",
    sqlite3.SQLITE_CORRUPT: "its file is damaged",
    sqlite3.SQLITE_NOTADB: "its file is no database",
}
OF_STATE = {
    "57014": "a statement ran out of its time",
    "55P03": "locked: another transaction keeps what is wanted",
    "40P01": "two transactions waited for each other",
    "25006": "it only reads, as a standby does",
    "25P03": "a transaction was left open too long",
    "53100": "its disk is full",
    "53200": "it is out of memory",
    "53300": "all its connections are taken",
    "57P01": "it is stopping",
    "57P02": "it is recovering from a crash",
    "57P03": "it is starting or stopping",
    "28P01": "user or password is wrong",
    "28000": "it does not let this user in",
    "3D000": "it has no database of that name",
}
"""By SQLSTATE (PostgreSQL, Appendix A)."""
OF_CLASS = {
    "FileGone": "its file was moved, deleted or replaced",
    "NoTurn": "locked: others in this process were writing to its file all the time",
    "ServerDisconnectedError": "connection closed without an answer",
    "ClientPayloadError": "the answer broke off",
    "BadHttpMessage": "the answer is not HTTP",
    "BadStatusLine": "the answer is not HTTP",
    "ClientResponseError": "the answer is not HTTP",
    "HTTPException": "the answer is not HTTP",
    "InvalidURL": "its URL cannot be read",
    "AuthenticationError": "user or password is wrong",
    "BusyLoadingError": "it is still starting",
    "SMTPAuthenticationError": "user or password is wrong",
    "SMTPServerDisconnected": "connection closed",
    "SMTPNotSupportedError": "it cannot do what is asked of it",
    "SMTPResponseException": "it said no",
}
"""By the name of the class or of one of its bases: the libraries themselves take long to import."""
OF_TEXT = {
    "said nothing": "it says nothing any more",
    "timeout expired": "timed out",
    "refused": "connection refused",
    "No such file": "its socket is not there",
    "password authentication failed": "user or password is wrong",
    "no password supplied": "user or password is wrong",
    "connection slots": "all its connections are taken",
    "too many clients": "all its connections are taken",
    "starting up": "it is starting",
    "shutting down": "it is stopping",
    "resolve host": "its name is not known",
    "translate host name": "its name is not known",
    "closed the connection": "connection closed",
    "closed by server": "connection closed",
    "closed unexpectedly": "connection closed",
    "connection is lost": "connection closed",
    "connection is closed": "connection closed",
    "unable to open database": "its file cannot be opened",
    "database is locked": "locked: another process is writing to its file",
}
"""What PostgreSQL's own library only tells in a text, which is not passed on."""

DEEPEST = 5
"""Errors within errors that are looked at."""


def in_words(error: BaseException) -> str:
    """The reason for `error`, in a few words without a full stop; for one that nobody foresaw, its class."""
    one: BaseException | None = cause(error)
    kind: str | None = None
    for _ in range(DEEPEST):  # a library's own error around the system's
        if one is None:
            break
        if told := _known(one):
            return told
        kind = kind or _by_kind(one)
        one = one.__cause__ or one.__context__
    return kind or f"an unexpected {name(error)}"


def name(error: BaseException) -> str:
    """The class of `error`, of the driver's if SQLAlchemy raised it for the driver's."""
    return type(cause(error)).__name__


def facts(error: BaseException) -> dict[str, str]:
    """What a line of the log says about it beside its message."""
    return {"reason": in_words(error), "failure": name(error)}


def cause(error: BaseException) -> BaseException:
    """The driver's error, where SQLAlchemy raised `error` for it; else `error`."""
    original = getattr(error, "orig", None)
    return original if isinstance(original, BaseException) else error


def _known(error: BaseException) -> str | None:
    if type(error).__name__ in OF_CLASS:
        return OF_CLASS[type(error).__name__]
    if isinstance(error, sqlite3.Error) and (told := OF_SQLITE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)):
        return told
    if told := OF_STATE.get(getattr(error, "sqlstate", None) or ""):
        return told
    for one in type(error).__mro__:
        if told := OF_CLASS.get(one.__name__):
            return told
    return _of_system(error) or next((told for said, told in OF_TEXT.items() if said in str(error)), None)


def _of_system(error: BaseException) -> str | None:
    if isinstance(error, socket.gaierror) or isinstance(getattr(error, "os_error", None), socket.gaierror):
        return "its name is not known"
    if isinstance(error, ssl.SSLCertVerificationError) or hasattr(error, "certificate_error"):
        return "its certificate is not trusted"
    if isinstance(error, ssl.SSLError):
        return "TLS could not be agreed on"
    return OF_SYSTEM.get(error.errno or 0) if isinstance(error, OSError) else None


def _by_kind(error: BaseException) -> str | None:
    """Each library has classes of its own for these, and SQLAlchemy's timeout is that of a wait for a connection."""
    names = "".join(one.__name__ for one in type(error).__mro__)
    if "Timeout" in names:
        return "no connection was free in time" if type(error).__module__.startswith("sqlalchemy") else "timed out"
    return "the connection broke off" if "ConnectionError" in names else None
