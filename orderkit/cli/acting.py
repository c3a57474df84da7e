"""Who the audit log says it was, when something is changed from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orderkit.auth.audit_log import Actor


def acting() -> Actor:
    """Nobody's account: the command line, and the user there whose process it is, whatever the environment says."""
    import os
    import pwd

    from orderkit.auth.audit_log import Actor

    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:  # a container may run as a number that has no name
        name = f"user {number}"
    return Actor(None, f"command line ({name})")
