"""What a report is asked for, read strictly and in one way, whoever asks: over HTTP or on the command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TypeVar

from orderkit import money
from orderkit.analytics import periods
from orderkit.analytics.periods import Bound, Range
from orderkit.errors import Invalid

DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """A range in a zone, the name of the zone, and the one currency that is wanted, if it is one."""

    range: Range
    tz: str
    currency: str | None

    def told(self) -> dict[str, str | None]:
        """The same as texts."""
        return {"from": told(self.range.start), "to": told(self.range.end), "tz": self.tz, "currency": self.currency}


def asked(
    start: str | None = None,
    end: str | None = None,
    tz: str = "UTC",
    currency: str | None = None,
    *,
    names: tuple[str, str] = ("from", "to"),
) -> Asked:
    """What these texts ask for; `names` is what the bounds are called. Raises Invalid that tells all that is wrong."""
    wrong: list[tuple[str, str]] = []

    def read(name: str, text: str | None, what: Callable[[str], T]) -> T | None:
        try:
            return None if text is None else what(text)
        except ValueError as error:
            wrong.append((f"#/query/{name}", str(error)))
            return None

    first, last = read(names[0], start, bound), read(names[1], end, bound)
    zone, currency = read("tz", tz, periods.zone), read("currency", currency, _currency)
    wanted = Range(first, last, zone or UTC)
    if not wrong and wanted.is_reversed:
        wrong.append((f"#/query/{names[1]}", f"is before {names[0]}"))
    if wrong:
        told = "; ".join(f"{where.rsplit('/', 1)[-1]} {what}" for where, what in wrong)
        raise Invalid(f"there is no such report: {told}", pointers=wrong)
    return Asked(wanted, tz, currency)


def before(asked: Asked, *, names: tuple[str, str] = ("from", "to")) -> Asked:
    """The same for the period before. Raises Invalid where there is none, as before a range that never began."""
    try:
        return Asked(asked.range.previous(), asked.tz, asked.currency)
    except ValueError as error:
        missing = names[0] if asked.range.start is None else names[1]
        wrong = [(f"#/query/{missing}", "is needed to compare"), ("#/query/compare", str(error))]
        raise Invalid(
            f"there is no period to compare with: {error}",
            pointers=wrong if None in (asked.range.start, asked.range.end) else wrong[1:],
        ) from None


def bound(text: str) -> date | datetime:
    """A day, `2026-03-01`, or an instant with its zone. Raises ValueError."""
    try:
        if DAY.fullmatch(text):
            return date.fromisoformat(text)
        if INSTANT.fullmatch(text):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is no day that there is") from None
    raise ValueError("is no day, as 2026-03-01, and no time of RFC 3339 with its zone, as 2026-03-01T06:00:00Z")


def told(one: Bound) -> str | None:
    """A bound as it is written."""
    if isinstance(one, datetime):
        return one.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return None if one is None else one.isoformat()


def _currency(code: str) -> str:
    if not money.is_currency(code):
        raise ValueError("is no currency of ISO 4217 that one can pay with, such as GBP")
    return code
