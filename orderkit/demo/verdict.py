"""The verdict: three witnesses, the customers, the database and the provider, must tell the same story. Pure: no reading here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orderkit.demo.evidence import Facts, Ledger, Money
from orderkit.money import to_text

Figure = int | str | None


@dataclass(frozen=True, slots=True)
class Told:
    """What the customers know: what they were answered, and the pieces they hold.

    `taken` are the ids of orders that they were told of, `declined` those of them with a 402; `refused` are keys that ended
    with a 409. Orders that they saw `cancelled` and `delivered` at last, and what they saw `paid_back`, by currency.
    `requests` is how many they sent for all of it. Of so many `acts`, `as_foretold` ended as they must.
    """

    taken: frozenset[str]
    refused: frozenset[str]
    declined: frozenset[str]
    cancelled: frozenset[str]
    delivered: frozenset[str]
    paid_back: Mapping[str, int]
    asked: int
    requests: int
    pieces: int
    acts: int
    as_foretold: int


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must agree. A figure is None where a witness has nothing to say; `why` says what is wrong."""

    what: str
    customers: Figure
    database: Figure
    provider: Figure
    holds: bool
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        """`why` only where it does not hold."""
        return {name: value for name, value in asdict(self).items() if name != "why" or not self.holds}


def judge(told: Told, facts: Facts, ledger: Ledger) -> Sequence[Check]:
    """Every line of the verdict; the story holds when each does."""
    return [
        Check(
            "acts that ended as they must",
            f"{told.as_foretold} of {told.acts}",
            None,
            None,
            told.as_foretold == told.acts,
            "see the acts above",
        ),
        *_orders(told, facts),
        *_captured(facts, ledger),
        *_paid_back(told, facts, ledger),
        *_parcels(told, facts, ledger),
        *_stock(told, facts),
        *_nothing_left(facts),
    ]


def _orders(told: Told, facts: Facts) -> Iterable[Check]:
    kept = {order.id for order in facts.orders}
    keys = {order.key for order in facts.orders}
    answered = len(told.taken) + len(told.refused)
    yield Check(
        "orders asked for, answered",
        f"{answered:,} of {told.asked:,}",
        None,
        None,
        answered == told.asked,
        "somebody still waits, or was told of two orders",
    )
    yield Check(
        f"orders kept, of {told.requests:,} requests",
        len(told.taken),
        len(kept),
        None,
        told.taken == kept,
        _difference(told.taken, kept, "customers", "the database"),
    )
    yield Check(
        "refused, nothing kept",
        len(told.refused),
        len(told.refused - keys),
        None,
        not told.refused & keys,
        f"kept all the same: {_some(told.refused & keys)}",
    )
    failed = {order.id for order in facts.orders if order.status == "payment_failed"}
    yield Check(
        "payment declined",
        len(told.declined),
        len(failed),
        None,
        told.declined == failed,
        _difference(told.declined, failed, "customers", "the database"),
    )


def _captured(facts: Facts, ledger: Ledger) -> Iterable[Check]:
    paid = [order for order in facts.orders if order.status not in ("pending", "payment_failed")]
    yield Check(
        "paid, captured exactly once",
        None,
        len(facts.captures),
        len(ledger.captures),
        _same(facts.captures, ledger.captures) and len(paid) == len(facts.captures),
        f"{len(paid)} orders are paid; {_difference(facts.captures, ledger.captures, 'the database', 'the ledger')}",
    )
    here, there = _sums(facts.captures), _sums(ledger.captures)
    for currency in sorted(here | there):
        yield Check(
            f"captured, {currency}",
            None,
            to_text(here[currency], currency),
            to_text(there[currency], currency),
            here[currency] == there[currency],
            "the sums differ",
        )


def _paid_back(told: Told, facts: Facts, ledger: Ledger) -> Iterable[Check]:
    cancelled = {order.id for order in facts.orders if order.status == "cancelled"}
    owing = {order.id for order in facts.orders if order.status == "cancelled" and order.left}
    yield Check(
        "cancelled, all paid back",
        len(told.cancelled),
        len(cancelled - owing),
        None,
        told.cancelled == cancelled and not owing,
        f"{_difference(told.cancelled, cancelled, 'customers', 'the database')}; money is owed for: {_some(owing)}",
    )
    yield Check(
        "refunds, each paid once",
        None,
        len(facts.refunds),
        len(ledger.refunds),
        _same(facts.refunds, ledger.refunds),
        _difference(facts.refunds, ledger.refunds, "the database", "the ledger"),
    )
    here, there = _sums(facts.refunds), _sums(ledger.refunds)
    for currency in sorted(here | there | Counter(told.paid_back)):
        sums = told.paid_back.get(currency, 0), here[currency], there[currency]
        seen, written, paid = (to_text(one, currency) for one in sums)
        yield Check(f"paid back, {currency}", seen, written, paid, len(set(sums)) == 1, "the sums differ")


def _parcels(told: Told, facts: Facts, ledger: Ledger) -> Iterable[Check]:
    shipped = {order.id for order in facts.orders if order.status in ("shipped", "delivered")}
    delivered = {order.id for order in facts.orders if order.status == "delivered"}
    here, there = [one[:2] for one in facts.parcels], [one[:2] for one in ledger.parcels]
    yield Check(
        "shipped, booked exactly once",
        None,
        len(shipped),
        len(there),
        _same(here, there) and len(shipped) == len(here),
        _difference(here, there, "the database", "the ledger"),
    )
    arrived_here, arrived_there = ([one for one in these.parcels if one.delivered] for these in (facts, ledger))
    yield Check(
        "delivered, as the carrier says",
        len(told.delivered),
        len(delivered),
        len(arrived_there),
        told.delivered == delivered and len(delivered) == len(arrived_here) and _same(arrived_here, arrived_there),
        _difference(arrived_here, arrived_there, "the database", "the ledger"),
    )


def _stock(told: Told, facts: Facts) -> Iterable[Check]:
    gone = sum(one.received - one.left for one in facts.stock)
    wrong = [one.sku for one in facts.stock if one.left < 0 or one.left + one.held != one.received]
    yield Check(
        "pieces sold = received − left",
        told.pieces,
        gone,
        None,
        told.pieces == gone,
        "customers hold more or less than is gone",
    )
    yield Check(
        "products never oversold",
        None,
        f"{len(facts.stock) - len(wrong)} of {len(facts.stock)}",
        None,
        not wrong,
        f"left + held is not what was received, or left is negative: {_some(wrong)}",
    )


def _nothing_left(facts: Facts) -> Iterable[Check]:
    yield Check(
        "payments unresolved",
        None,
        facts.payments_unresolved,
        None,
        facts.payments_unresolved == 0,
        "nobody knows yet whether they were paid",
    )
    left = facts.under_way - facts.payments_unresolved
    yield Check("parcels, refunds, events due", None, left, None, left == 0, "still to be done")
    yield Check(
        f"dead letters open, of {facts.dead_letters}",
        None,
        facts.dead_letters_open,
        None,
        facts.dead_letters_open == 0,
        "somebody must retry or discard them",
    )


def _same(here: Sequence[Any], there: Sequence[Any]) -> bool:
    """As bags: an entry that is there twice is not the same as once."""
    return Counter(here) == Counter(there)


def _sums(entries: Iterable[Money]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for entry in entries:
        sums[entry.currency] += entry.amount
    return sums


def _difference(here: Iterable[Any], there: Iterable[Any], this: str, that: str) -> str:
    only_here, only_there = Counter(here) - Counter(there), Counter(there) - Counter(here)
    return f"only {this}: {_some(only_here.elements())}; only {that}: {_some(only_there.elements())}"


def _some(entries: Iterable[Any]) -> str:
    """At most three of them, by key."""
    names = [entry[0] if isinstance(entry, tuple) else str(entry) for entry in entries]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "none"
