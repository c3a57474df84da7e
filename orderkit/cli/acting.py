"""Changing things from the command line: whether it is meant, and who the audit log says it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orderkit.auth.audit_log import Actor


def acting() -> Actor:
    """Nobody's account: the command line, and the user there whose process it is, whatever the environment says."""
    from orderkit.auth.audit_log import COMMAND_LINE, Actor

    return Actor(None, f"{COMMAND_LINE} ({_user()})")


def confirm_in_terminal(yes: bool, question: str) -> None:
    """Asks `question` unless `--yes` was given or nobody can answer. Raises Abort for a no."""
    import sys

    import typer

    if not yes and sys.stdin.isatty():
        typer.confirm(question, abort=True, err=True)


def require_meant(yes: bool, question: str, otherwise: str) -> None:
    """Asks `question` unless `--yes` was given. Raises Invalid where nobody can answer, and Abort for a no.

    `otherwise` says why it is asked, as in "this cannot be undone".
    """
    import sys

    from orderkit.errors import Invalid

    if not yes and not sys.stdin.isatty():
        raise Invalid(f"{otherwise}; if it is meant, add --yes")
    confirm_in_terminal(yes, question)


def check_reason(reason: str) -> str:
    """`reason`, if it can be one, as over HTTP. Raises Invalid."""
    from orderkit import names
    from orderkit.errors import Invalid

    try:
        return names.check_reason(reason)
    except ValueError as error:
        told = "a reason is one line of 1 to 200 characters, and never a card number"
        raise Invalid(f"{told}; this one {error}") from None


def _user() -> str:
    import os

    try:
        import pwd
    except ImportError:  # Windows, where this asks the system and no variable
        try:
            return os.getlogin()
        except OSError:
            return "unknown"
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # a container may run as a number that has no name
        return f"user {number}"
