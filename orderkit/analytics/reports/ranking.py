"""Who brought most and what sold most. The database sorts and cuts, so that a page costs the same to send however many
users there are; what the rollups do not have yet is sent along to be sorted with the rest."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any, Literal, NamedTuple, get_args
from uuid import UUID

from sqlalchemy import Connection, select, text

from orderkit.analytics import tallies
from orderkit.analytics.asking import Asked
from orderkit.analytics.rollups import COLUMNS
from orderkit.analytics.tallies import SUM_TYPES, Books, Group, Tallies, Tally, sum_of, sums
from orderkit.auth.models import User
from orderkit.catalog.models import Product
from orderkit.db import BigSum
from orderkit.rows import any_of

By = Literal["net", "quantity", "revenue"]

_users = User.__table__  # type: ignore[attr-defined]
_products = Product.__table__  # type: ignore[attr-defined]


class Place(NamedTuple):
    """Where a page ended: the sum that it is sorted by, the highest first, then currency, then user or SKU."""

    amount: int
    currency: str
    key: str


class Buyer(NamedTuple):
    """What a user brought in one currency; `email` is None of one who is deleted."""

    user_id: UUID
    email: str | None
    currency: str
    tally: Tally

    @property
    def place(self) -> Place:
        return Place(self.tally.net, self.currency, str(self.user_id))


class Seller(NamedTuple):
    """What was sold of a product in one currency: `quantity` pieces for `revenue`, whatever of it was refunded later."""

    sku: str
    name: str
    quantity: int
    revenue: int
    currency: str

    def place(self, by: By) -> Place:
        return Place(self.quantity if by == "quantity" else self.revenue, self.currency, self.sku)


def users(books: Books, asked: Asked, *, limit: int, after: Place | None = None) -> list[Buyer]:
    """At most `limit` users after `after` by net, highest first; amounts of two currencies compare as numbers."""
    ranked = _ranked(books, "user", asked, "net", limit, after)
    ids = [UUID(group.key) for group, _tally in ranked]
    known = select(_users.c.id, _users.c.email).where(
        any_of(books.connection, _users.c.id, ids), _users.c.deleted_at.is_(None)
    )
    rows = books.connection.execute(known.execution_options(query="reports.emails")) if ids else ()
    emails: dict[UUID, str] = {row.id: row.email for row in rows}
    return [
        Buyer(user_id, emails.get(user_id), group.currency, tally)
        for user_id, (group, tally) in zip(ids, ranked, strict=True)
    ]


def products(books: Books, asked: Asked, by: By, *, limit: int, after: Place | None = None) -> list[Seller]:
    """At most `limit` products after `after` by pieces or by revenue, highest first."""
    ranked = _ranked(books, "product", asked, by, limit, after)
    skus = [group.key for group, _tally in ranked]
    known = select(_products.c.sku, _products.c.name).where(any_of(books.connection, _products.c.sku, skus))
    rows = books.connection.execute(known.execution_options(query="reports.names")) if skus else ()
    names: dict[str, str] = {row.sku: row.name for row in rows}
    return [Seller(group.key, names[group.key], tally.pieces, tally.gross, group.currency) for group, tally in ranked]


def _ranked(
    books: Books, kind: Literal["user", "product"], asked: Asked, by: By, limit: int, after: Place | None
) -> list[tuple[Group, Tally]]:
    within = books.extent(kind)
    if within is None:
        return []
    laid = tallies.lay_out(kind, asked.range.spans(within))
    runs = [(0, *run) for one in laid for run in one.cover.runs]
    fresh: Tallies = defaultdict(Tally)
    for _label, fact in books.beyond(kind, laid):
        for key, tally in tallies.shares(fact, kind):
            fresh[Group(None, key, fact.currency)].add(tally)
    connection = books.connection
    given: dict[str, Any] = {"kind": kind, "currency": asked.currency, "limit": limit}
    given |= tallies.sent(connection, runs) | _sent(connection, fresh)
    given |= {"amount": None, "after_currency": None, "after_key": None}
    if after is not None:
        given |= {"amount": after.amount, "after_currency": after.currency, "after_key": after.key}
    statement = _RANKED[connection.dialect.name, by].execution_options(query=_NAMES[kind])
    return [
        (Group(None, key, currency), Tally(*counted))
        for key, currency, _amount, *counted in connection.execute(statement, given)
    ]


_NAMES = {"user": "reports.users_by_net", "product": "reports.products_by_sales"}


def _sent(connection: Connection, fresh: Tallies) -> dict[str, str]:
    rows = [[group.key, group.currency, *(getattr(tally, name) for name in COLUMNS)] for group, tally in fresh.items()]
    return {"fresh": json.dumps(rows)}


def _statement(dialect: str, by: By) -> Any:
    exact = ' COLLATE "C"' if dialect == "postgresql" else ""
    gross, refunded, pieces = (sum_of(dialect, f"p.{name}") for name in ("gross", "refunded", "pieces"))
    amount = {"net": f"{gross} - {refunded}", "quantity": pieces, "revenue": gross}[by]
    anything = " OR ".join(f"{sum_of(dialect, f'p.{name}')} <> 0" for name in COLUMNS)
    return text(f"""
        WITH parts AS (
            {_FROM_ROLLUPS[dialect]}
            UNION ALL
            {_FROM_FRESH[dialect]}
        )
        SELECT p.key, p.currency, {amount} AS amount, {sums(dialect, "p")}
        FROM parts AS p
        WHERE CAST(:currency AS text) IS NULL OR p.currency = :currency
        GROUP BY p.key, p.currency
        HAVING ({anything}) AND (CAST(:amount AS numeric) IS NULL OR {amount} < CAST(:amount AS numeric) OR
            ({amount} = CAST(:amount AS numeric)
                AND (p.currency{exact}, p.key{exact}) > (CAST(:after_currency AS text), CAST(:after_key AS text))))
        ORDER BY {amount} DESC, p.currency{exact}, p.key{exact}
        LIMIT :limit
    """).columns(amount=BigSum(), **SUM_TYPES)  # noqa: S608 - names only


# The rows of users and products may be many, and are walked run by run: OFFSET 0 keeps PostgreSQL from another plan.
_FROM_ROLLUPS = {
    "postgresql": f"""
            SELECT r.key, r.currency, {", ".join(f"r.{name}" for name in COLUMNS)}
            FROM unnest(CAST(:grains AS text[]), CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]))
                AS s (grain, start, until)
            CROSS JOIN LATERAL (
                SELECT r.* FROM rollups AS r
                WHERE r.kind = :kind AND r.grain = s.grain AND r.bucket >= s.start AND r.bucket < s.until
                OFFSET 0
            ) AS r""",  # noqa: S608 - names only
    "sqlite": f"""
            SELECT r.key, r.currency, {", ".join(f"r.{name}" for name in COLUMNS)}
            FROM json_each(:segments) AS s
            CROSS JOIN rollups AS r
            WHERE r.kind = :kind AND r.grain = json_extract(s.value, '$[1]')
              AND r.bucket >= json_extract(s.value, '$[2]') AND r.bucket < json_extract(s.value, '$[3]')""",  # noqa: S608 - names only
}
_FROM_FRESH = {
    "postgresql": "SELECT e ->> 0, e ->> 1, "  # noqa: S608 - numbers only
    + ", ".join(f"CAST(e ->> {number} AS numeric)" for number in range(2, 2 + len(COLUMNS)))
    + " FROM json_array_elements(CAST(:fresh AS json)) AS e",
    "sqlite": "SELECT "  # noqa: S608 - numbers only
    + ", ".join(f"json_extract(e.value, '$[{number}]')" for number in range(2 + len(COLUMNS)))
    + " FROM json_each(:fresh) AS e",
}
_RANKED = {(dialect, by): _statement(dialect, by) for dialect in _FROM_ROLLUPS for by in get_args(By)}
