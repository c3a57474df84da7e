"""What went wrong, in one line that says what to do next, and the exit code. Imported when something did."""

from __future__ import annotations

import typer
from sqlalchemy.exc import DBAPIError

from orderkit.cli.main import DOES_NOT_HOLD, WRONG_USE
from orderkit.db import UNREACHABLE
from orderkit.errors import ConfigurationError, Invalid, OrderkitError


def explain(error: Exception) -> tuple[str, int]:
    """The line for stderr, and the exit code: 2 for a wrong setting or wrong use, else 1."""
    if isinstance(error, typer.Abort):
        return "error: given up; nothing was done", DOES_NOT_HOLD
    if isinstance(error, typer.TyperException):
        return _usage(error), error.exit_code
    if isinstance(error, OrderkitError):
        wrong_use = isinstance(error, ConfigurationError | Invalid)
        return f"error: {_told_once(error)}", WRONG_USE if wrong_use else DOES_NOT_HOLD
    if isinstance(error, UnicodeEncodeError) and _is_no_text(error):
        return "error: what was typed has bytes that are no text in UTF-8", WRONG_USE
    if isinstance(error, DBAPIError) and lacks_tables(error):
        return "error: the database is not migrated; run: orderkit migrate", DOES_NOT_HOLD
    if isinstance(error, UNREACHABLE):
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[:1]
        return f"error: the database does not answer ({''.join(reason)}); check ORDERKIT_DATABASE_URL", DOES_NOT_HOLD
    return f"error: {type(error).__name__}: {_first_line(error)}; orderkit --debug … shows the trace", DOES_NOT_HOLD


def _told_once(error: OrderkitError) -> str:
    """The detail, where to look if it says so, and of what is wrong with each part only what it does not say itself."""
    told = error.detail
    if (location := error.headers.get("Location")) is not None:
        told += f": {location}"
    for _where, what in error.pointers:
        if what not in told:
            told += f"; {what}"
    return told


def _is_no_text(error: UnicodeEncodeError) -> bool:
    """Whether it is about a byte of the command line that Python could not decode, and keeps as half of a character."""
    return any("\udc80" <= character <= "\udcff" for character in error.object[error.start : error.end])


def _usage(error: typer.TyperException) -> str:
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if context is None or not message:  # a group that was given no command has shown its help
        return message
    return f"error: {message.rstrip('.')} (see {context.command_path} --help)"


def lacks_tables(error: DBAPIError) -> bool:
    """Whether it is for want of a table or a column."""
    # 42P01 undefined_table, 42703 undefined_column
    return getattr(error.orig, "sqlstate", None) in ("42P01", "42703") or "no such" in str(error.orig)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no more is known"])[0]
