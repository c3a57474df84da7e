"""What a report is asked for, read strictly and in one way, whoever asks: over HTTP or on the command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NamedTuple, TypeVar

from orderkit import money
from orderkit.analytics import periods
from orderkit.analytics.periods import Bound, Range
from orderkit.errors import Invalid

DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)

T = TypeVar("T")

MOST_TOLD = 40
"""Characters of what was asked that an answer says again."""


class Names(NamedTuple):
    """What whoever asks calls each part, and asking for the period before."""

    start: str = "from"
    end: str = "to"
    tz: str = "tz"
    currency: str = "currency"
    compare: str = "compare=previous"


QUERY = Names()
"""As a URL has them."""


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
    names: Names = QUERY,
) -> Asked:
    """What these texts ask for. Raises Invalid that tells all that is wrong, each by its name and what was said."""
    wrong: list[tuple[str, str]] = []
    told: list[str] = []

    def refuse(name: str, text: str, why: str) -> None:
        wrong.append((f"#/query/{name}", why))
        told.append(f"{name} {text}: {why}" if text.isprintable() and 0 < len(text) <= MOST_TOLD else f"{name}: {why}")

    def read(name: str, text: str | None, what: Callable[[str], T]) -> T | None:
        try:
            return None if text is None else what(text)
        except ValueError as error:
            refuse(name, text or "", str(error))
            return None

    first, last = read(names.start, start, bound), read(names.end, end, bound)
    zone, currency = read(names.tz, tz, periods.zone), read(names.currency, currency, _currency)
    wanted = Range(first, last, zone or UTC)
    if not wrong and wanted.is_reversed:
        refuse(names.end, end or "", f"it is before {names.start} {start}")
    if wrong:
        raise Invalid("; ".join(told), pointers=wrong)
    return Asked(wanted, tz, currency)


def before(asked: Asked, *, names: Names = QUERY) -> Asked:
    """The same for the period before. Raises Invalid where there is none, as before a range that never began."""
    bounds = ((names.start, asked.range.start), (names.end, asked.range.end))
    missing = [name for name, one in bounds if one is None]
    if missing:
        why = f"{names.compare} needs {names.start} and {names.end}"
        raise Invalid(why, pointers=[(f"#/query/{name}", why) for name in missing])
    try:
        return Asked(asked.range.previous(), asked.tz, asked.currency)
    except ValueError as error:
        raise Invalid(
            f"there is no period to compare with: {error}", pointers=[("#/query/compare", str(error))]
        ) from None


def bound(text: str) -> date | datetime:
    """A day, `2026-03-01`, or an instant with its zone. Raises ValueError."""
    try:
        if DAY.fullmatch(text):
            return date.fromisoformat(text)
        if INSTANT.fullmatch(text):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("there is no such day" if DAY.fullmatch(text) else "there is no such time") from None
    raise ValueError("neither a day, as 2026-03-01, nor a time with its zone, as 2026-03-01T06:00:00Z (RFC 3339)")


def told(one: Bound) -> str | None:
    """A bound as it is written."""
    if isinstance(one, datetime):
        return one.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return None if one is None else one.isoformat()


def _currency(code: str) -> str:
    if not money.is_currency(code):
        raise ValueError("no currency of ISO 4217 that one can pay with, such as GBP")
    return code
