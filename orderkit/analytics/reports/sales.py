"""What was sold: by day, by month, by country of delivery, and all in all; and the same of the period before.

An order counts when it was placed, once its money came or it was imported; a refund when it was asked for, once it
succeeded. So `refunded` of a day is what was given back on it, of whichever orders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import chain
from typing import Literal, NamedTuple, get_args

from orderkit.analytics import tallies
from orderkit.analytics.asking import Asked
from orderkit.analytics.tallies import Books, Tallies, Tally

By = Literal["day", "month", "country"]
BYS: Sequence[str] = get_args(By)


class Item(NamedTuple):
    """Sums of a day, of a month by its first day, or of a country, None where none is known; in one currency."""

    of: date | str | None
    currency: str
    tally: Tally


@dataclass(frozen=True, slots=True)
class Before:
    """The period before, and its sums by currency."""

    asked: Asked
    totals: Mapping[str, Tally]


@dataclass(frozen=True, slots=True)
class Sales:
    """Items in order of time, or of countries; those of one day or country in order of their currencies."""

    by: By
    items: Sequence[Item]
    totals: Mapping[str, Tally]
    before: Before | None = None


def report(books: Books, asked: Asked, by: By = "day", *, before: Asked | None = None) -> Sales:
    """What was sold in the range; with `before`, also what was sold then."""
    found = _by_country(books, asked) if by == "country" else _by_time(books, asked, by)
    items = [
        Item(group.key or None if by == "country" else group.label, group.currency, found[group]) for group in found
    ]
    items.sort(key=lambda one: (one.of is None, str(one.of), one.currency))
    return Sales(by, items, tallies.total(found), None if before is None else Before(before, total(books, before)))


def total(books: Books, asked: Asked) -> dict[str, Tally]:
    """All that was sold in the range, by currency."""
    within = books.extent("total")
    spans = asked.range.spans(within) if within else []
    return tallies.total(books.tallies("total", spans, asked.currency))


def _by_time(books: Books, asked: Asked, by: Literal["day", "month"]) -> Tallies:
    pieces = (asked.range.pieces(within, by) for within in books.stretches("total"))
    return books.tallies("total", list(chain.from_iterable(pieces)), asked.currency)


def _by_country(books: Books, asked: Asked) -> Tallies:
    within = books.extent("country")
    return books.tallies("country", asked.range.spans(within) if within else [], asked.currency)
