"""What one user spent, in each currency."""

from __future__ import annotations

from collections import defaultdict
from uuid import UUID

from sqlalchemy import Connection, select, text

from orderkit.analytics import tallies
from orderkit.analytics.asking import Asked
from orderkit.analytics.tallies import SUM_TYPES, Books, Tally, sums
from orderkit.auth.models import User
from orderkit.errors import NotFound

_users = User.__table__  # type: ignore[attr-defined]


def require(connection: Connection, user_id: UUID) -> None:
    """Raises NotFound for a user who never was; one who is deleted is still somebody who bought."""
    known = select(_users.c.id).where(_users.c.id == user_id).execution_options(query="reports.user")
    if connection.execute(known).first() is None:
        raise NotFound(f"there is no user {user_id}")


def report(books: Books, asked: Asked, user_id: UUID) -> dict[str, Tally]:
    """Sums by currency; nothing of somebody who is unknown, as one is who has come since this snapshot."""
    connection = books.connection
    found: dict[str, Tally] = defaultdict(Tally)
    within = books.extent("user")
    laid = tallies.lay_out("user", asked.range.spans(within)) if within else []
    runs = [(0, *run) for one in laid for run in one.cover.runs]
    if runs:
        statement = _OF_USER[connection.dialect.name].execution_options(query="reports.spending")
        for currency, *counted in connection.execute(statement, {"key": str(user_id)} | tallies.sent(connection, runs)):
            found[currency].add(Tally(*counted))
    for _label, fact in books.beyond("user", laid, user_id):
        for key, tally in tallies.shares(fact, "user"):
            if key == str(user_id):
                found[fact.currency].add(tally)
    return {
        currency: found[currency]
        for currency in sorted(found)
        if found[currency] and asked.currency in (None, currency)
    }


_OF_USER = {
    "postgresql": text(f"""
        SELECT r.currency, {sums("postgresql", "r")}
        FROM unnest(CAST(:grains AS text[]), CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]))
            AS s (grain, start, until)
        CROSS JOIN LATERAL (
            SELECT r.* FROM rollups AS r
            WHERE r.kind = 'user' AND r.key = :key
              AND r.grain = s.grain AND r.bucket >= s.start AND r.bucket < s.until
            OFFSET 0
        ) AS r
        GROUP BY r.currency
    """).columns(**SUM_TYPES),  # noqa: S608 - names only
    "sqlite": text(f"""
        SELECT r.currency, {sums("sqlite", "r")}
        FROM json_each(:segments) AS s
        CROSS JOIN rollups AS r
        WHERE r.kind = 'user' AND r.key = :key AND r.grain = json_extract(s.value, '$[1]')
          AND r.bucket >= json_extract(s.value, '$[2]') AND r.bucket < json_extract(s.value, '$[3]')
        GROUP BY r.currency
    """).columns(**SUM_TYPES),  # noqa: S608 - names only
}
