"""One transaction for many members, such that no member pays for another's fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from orderkit.db import Database, is_transient
from orderkit.rows import StaleRows

In = TypeVar("In")
Out = TypeVar("Out")
Act = Callable[[Connection, Sequence[In], bool], Sequence[Out]]


def in_one_transaction(database: Database, members: Sequence[In], act: Act[In, Out]) -> list[Out | Exception]:
    """Runs `act` on all members in one transaction and gives its outcomes.

    `act` takes the connection, the members, and whether this is a rerun after a COMMIT that may have happened.

    A deadlock or a lost connection reruns all of them once. A broken constraint reruns them one by one, so that only the
    guilty member fails; its outcome is the database's error.
    """
    try:
        return _run(database, members, act, rerun=False)
    except (IntegrityError, DataError, StaleRows) as error:
        return _one_by_one(database, members, act, error, rerun=False)
    except DBAPIError as error:
        if not is_transient(error):
            raise
    try:
        return _run(database, members, act, rerun=True)
    except (IntegrityError, DataError, StaleRows) as error:
        return _one_by_one(database, members, act, error, rerun=True)


def _run(database: Database, members: Sequence[In], act: Act[In, Out], *, rerun: bool) -> list[Out | Exception]:
    with database.transaction() as session:
        return [*act(session.connection(), members, rerun)]


def _one_by_one(
    database: Database, members: Sequence[In], act: Act[In, Out], error: Exception, *, rerun: bool
) -> list[Out | Exception]:
    if len(members) == 1:
        return [error]
    outcomes: list[Out | Exception] = []
    for member in members:
        try:
            outcomes += _run(database, [member], act, rerun=rerun)
        except (SQLAlchemyError, StaleRows) as failed:  # the database may be gone by now; those before are committed
            outcomes.append(failed)
    return outcomes


def alone(database: Database, act: Callable[[Connection], Out]) -> Out:
    """Runs `act` in a transaction of its own, likewise rerun once; what it gives. It must bear a COMMIT that did happen."""
    [outcome] = in_one_transaction(database, [act], lambda connection, members, _rerun: [members[0](connection)])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
