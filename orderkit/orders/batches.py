"""One transaction for many members, such that no member pays for another's fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError

from orderkit.db import Database, StaleRows, is_transient

In = TypeVar("In")
Out = TypeVar("Out")


def in_one_transaction(
    database: Database, members: Sequence[In], act: Callable[[Connection, Sequence[In], bool], Sequence[Out]]
) -> list[Out | Exception]:
    """Runs `act` on all members in one transaction and gives its outcomes.

    `act` takes the connection, the members, and whether this is a rerun after a COMMIT that may have happened.

    A deadlock or a lost connection reruns all of them once. A broken constraint reruns them one by one, so that only the
    guilty member fails; its outcome is the database's error.
    """
    rerun = False
    while True:
        try:
            with database.transaction() as session:
                return [*act(session.connection(), members, rerun)]
        except (IntegrityError, DataError, StaleRows) as error:
            if len(members) == 1:
                return [error]
            return [outcome for member in members for outcome in in_one_transaction(database, [member], act)]
        except Exception as error:
            if rerun or not is_transient(error):
                raise
            rerun = True


def alone(database: Database, act: Callable[[Connection], Out]) -> Out:
    """Runs `act` in a transaction of its own, likewise rerun once; what it gives. It must bear a COMMIT that did happen."""
    [outcome] = in_one_transaction(database, [act], lambda connection, members, _rerun: [members[0](connection)])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
