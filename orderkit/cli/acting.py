"""Who the audit log says it was, when something is changed from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orderkit.auth.audit_log import Actor


def acting() -> Actor:
    """Nobody's account: the command line, and the user there whose process it is, whatever the environment says."""
    from orderkit.auth.audit_log import Actor

    return Actor(None, f"command line ({_user()})")


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
