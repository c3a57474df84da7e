"""Reports as they are answered, over HTTP and on the command line alike: members of JSON, and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from orderkit.analytics import asking
from orderkit.analytics.asking import Asked
from orderkit.analytics.reports import ranking, sales, spending, statuses
from orderkit.analytics.reports.ranking import Place
from orderkit.analytics.reports.sales import By
from orderkit.analytics.source import Read, Source
from orderkit.analytics.tallies import Tally

Measure = Literal["net", "revenue", "quantity", "orders"]

SUMS = ("currency", "orders", "gross", "refunded", "net", "average")
MOST = 10_000
"""Rows that the command line asks for at most; over HTTP a page is what pages are."""

HEADERS = {
    "Report-Source": "source",
    "Report-As-Of": "as_of",
    "Report-Lag-Seconds": "lag_seconds",
    "Report-Warning": "warning",
}
"""What tells over HTTP which member of what a report says of itself."""

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet would take a cell for a formula by, the wide forms too (OWASP, CSV Injection)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A report: its rows, all with the same columns, and what is told beside them. Amounts are in minor units."""

    columns: Sequence[str]
    items: Sequence[Mapping[str, Any]]
    beside: Mapping[str, Any]
    measure: Measure
    """The column that the report is about, which bars are drawn of."""
    last: Place | None = None
    """Where to go on after these rows; None if there are no more, or all are here."""

    def members(self, next_cursor: str | None = None) -> dict[str, Any]:
        return {"items": self.items, "next_cursor": next_cursor, **self.beside}


def by_time_or_country(source: Source, asked: Asked, by: By, *, before: Asked | None = None) -> Answer:
    """What was sold by day, month or country; with totals and, if asked for, those of the period before."""
    read = source.read(lambda books: sales.report(books, asked, by, before=before))
    name = "date" if by == "day" else by
    beside: dict[str, Any] = {"totals": _by_currency(read.value.totals)}
    if read.value.before is not None:
        beside["previous"] = {
            "from": asking.told(read.value.before.asked.range.start),
            "to": asking.told(read.value.before.asked.range.end),
            "totals": _by_currency(read.value.before.totals),
        }
    items = [{name: _label(one.of, by)} | _sums(one.currency, one.tally) for one in read.value.items]
    return Answer((name, *SUMS), items, beside | _told(asked, read), "net")


def by_user(source: Source, asked: Asked, *, limit: int, after: Place | None = None) -> Answer:
    """What each user brought, by net, highest first."""
    read = source.read(lambda books: ranking.users(books, asked, limit=limit + 1, after=after))
    shown = read.value[:limit]
    items = [{"user_id": one.user_id, "email": one.email} | _sums(one.currency, one.tally) for one in shown]
    last = shown[-1].place if len(read.value) > limit else None
    return Answer(("user_id", "email", *SUMS), items, _told(asked, read), "net", last)


def by_product(source: Source, asked: Asked, by: ranking.By, *, limit: int, after: Place | None = None) -> Answer:
    """What was sold of each product, by pieces or by revenue, highest first."""
    read = source.read(lambda books: ranking.products(books, asked, by, limit=limit + 1, after=after))
    shown = read.value[:limit]
    last = shown[-1].place(by) if len(read.value) > limit else None
    return Answer(ranking.Seller._fields, [one._asdict() for one in shown], _told(asked, read), by, last)


def by_status(source: Source, asked: Asked) -> Answer:
    """How many orders of the range are in which status now."""
    read = source.read(lambda books: statuses.report(books, asked))
    return Answer(statuses.Item._fields, [one._asdict() for one in read.value], _told(asked, read), "orders")


def of_user(source: Source, asked: Asked, user_id: UUID) -> Answer:
    """What one user spent, in each currency. Raises NotFound, never because a replica has not heard of that user yet."""
    source.decide(lambda connection: spending.require(connection, user_id))
    read = source.read(lambda books: spending.report(books, asked, user_id))
    return Answer(SUMS, _by_currency(read.value), {"user_id": user_id} | _told(asked, read), "net")


def headers(answer: Answer) -> dict[str, str]:
    """Where it is from, for whom the rows alone do not say so: headers of HTTP. What is not known has none."""
    told = {name: answer.beside.get(member) for name, member in HEADERS.items()}
    return {name: str(value) for name, value in told.items() if value is not None}


def provenance(answer: Answer) -> str:
    """The same in a line, of a report that is from a replica or has a warning; else ""."""
    told = []
    if answer.beside["source"] == "replica":
        lag = answer.beside["lag_seconds"]
        told.append("from the replica" + ("" if lag is None else f", {lag:g} s behind"))
    if warning := answer.beside.get("warning"):
        told.append(f"warning: {warning}")
    return "; ".join(told)


def as_csv(answer: Answer) -> str:
    """RFC 4180, with a heading. A text that a spreadsheet would run as a formula gets an apostrophe before it."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(answer.columns)
    writer.writerows([_cell(one[name]) for name in answer.columns] for one in answer.items)
    return file.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return "" if value is None else value


def _label(of: date | str | None, by: By) -> Any:
    return f"{of:%Y-%m}" if by == "month" and isinstance(of, date) else of


def _by_currency(totals: Mapping[str, Tally]) -> list[dict[str, Any]]:
    return [_sums(currency, tally) for currency, tally in totals.items()]


def _sums(currency: str, tally: Tally) -> dict[str, Any]:
    return {
        "currency": currency,
        "orders": tally.orders,
        "gross": tally.gross,
        "refunded": tally.refunded,
        "net": tally.net,
        "average": tally.average,
    }


def _told(asked: Asked, read: Read[Any]) -> dict[str, Any]:
    """What every report says of itself."""
    at: datetime | None = read.as_of
    return {
        "from": asking.told(asked.range.start),
        "to": asking.told(asked.range.end),
        "tz": asked.tz,
        "as_of": asking.told(at),
        "source": read.source,
        "lag_seconds": read.lag_seconds,
        **({} if read.warning is None else {"warning": read.warning}),
    }
