"""`orderkit dead-letters retry --all`: after an outage of the carrier, all parcels that it made be given up, at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import typer

from orderkit.cli import order_list, printing
from orderkit.cli.acting import require_meant
from orderkit.cli.database import opened_database
from orderkit.cli.main import DOES_NOT_HOLD
from orderkit.cli.progress import progress
from orderkit.errors import Conflict, NotFound
from orderkit.fulfillment import dead_letters as letters

if TYPE_CHECKING:
    from orderkit.db import Database
    from orderkit.fulfillment.dead_letters import Letter

PAGE = 500
REASONS = 5
"""Of which a question says how many there are of each; the rest are one number."""


def retry_all(reason: str | None, since: str | None, limit: int, *, yes: bool, json_: bool) -> None:
    """Queues those anew that are open now and meet the filters, each in a transaction of its own, the oldest first.

    Raises Invalid where nobody can be asked and `yes` was not said, Abort for a no, Exit if some could not be retried.
    """
    start = order_list.instant(since, "--since")
    with opened_database() as database:
        found, more = _open(database, reason, start, limit)
        if found:
            which = f"{len(found):,}{' of more' if more else ''} ({_of_which(found)})"
            require_meant(yes, f"Try {which} again?", f"this would try {which} again")
        done, refused = _retried(database, found)
    if json_:
        told = [{"id": one.id, "order_id": one.order_id, "reason": why} for one, why in refused]
        printing.as_json({"retried": [asdict(one) for one in done], "refused": told, "more": more})
    else:
        typer.echo(
            f"{len(done):,} queued again; the worker books them now"
            if found
            else "none; no dead letter is open that fits"
        )
    for one, why in refused:
        typer.echo(f"dead letter {one.id} of order {one.order_id}: {why}", err=True)
    if more:
        typer.echo("there are more that fit: say the same again, or add --limit", err=True)
    if refused:
        raise typer.Exit(DOES_NOT_HOLD)


def _open(database: Database, reason: str | None, start: datetime | None, limit: int) -> tuple[list[Letter], bool]:
    """The oldest that fit, oldest first, and whether there are more."""
    fitting: list[Letter] = []
    after = None
    with database.reading() as session:
        while page := letters.page(session.connection(), limit=PAGE, after=after):
            recent = [one for one in page if start is None or one.created_at >= start]
            fitting += [one for one in recent if reason is None or reason in one.reason]
            after = page[-1].position
            if len(recent) < len(page):
                break
    fitting.reverse()
    return fitting[:limit], len(fitting) > limit


def _of_which(found: Sequence[Letter]) -> str:
    counted = Counter(one.reason for one in found).most_common()
    told = [f"{number:,} {reason}" for reason, number in counted[:REASONS]]
    if rest := sum(number for _, number in counted[REASONS:]):
        told.append(f"{rest:,} of other reasons")
    return ", ".join(told)


def _retried(database: Database, found: Sequence[Letter]) -> tuple[list[Letter], list[tuple[Letter, str]]]:
    """Those that are queued again, and those that cannot be, with why."""
    done: list[Letter] = []
    refused: list[tuple[Letter, str]] = []
    with progress("trying again", len(found)) as advance:
        for one in found:
            try:
                with database.transaction() as session:
                    done.append(letters.retry(session.connection(), one.id))
            except (Conflict, NotFound) as error:
                refused.append((one, error.detail))
            advance(1)
    return done, refused
