"""What is played: the products, the acts, and who wants what. All of it is settled, by seed, before anything starts."""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

VISA = "pm_card_visa"
SAME_KEY_AT_ONCE = 8
BUYERS_OF_THE_LAST = 4
SENT_BACK = 1
"""Pieces that come back of the three of the order that is refunded in part."""
CUSTOMERS = 3


@dataclass(frozen=True, slots=True)
class Ware:
    """A product as it is at the start: `unit_price` in minor units of `currency`, `stock` in pieces."""

    sku: str
    name: str
    unit_price: int
    currency: str
    stock: int


LAST_PIECE = Ware("GLOBE-001", "Globe", 12500, "EUR", 1)
REPRICED = Ware("KETTLE-001", "Kettle", 3999, "GBP", 50)
NEW_PRICE = 4499
PLENTY = 100_000
TEA = Ware("TEA-001", "Darjeeling, 100 g", 899, "GBP", PLENTY)
CUP = Ware("CUP-001", "Tea cup", 1250, "GBP", PLENTY)
COMMON = (
    TEA,
    CUP,
    Ware("ATLAS-001", "Pocket atlas", 1990, "EUR", PLENTY),
    Ware("LAMP-001", "Desk lamp", 6490, "EUR", PLENTY),
    Ware("BRUSH-001", "Calligraphy brush", 2200, "JPY", PLENTY),
)
CATALOG = (*COMMON, REPRICED, LAST_PIECE)


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that happens to orders, and how they must end: `refused` of them keep nothing, the others are in state `ends`.

    `title` has 21 characters at most, for a narrow table. `orders` is how many keys the act takes. Each wants `pieces` of
    `ware`, or a basket of anything.
    """

    name: str
    title: str
    method: str = VISA
    postal_code: str = "N1 7AA"
    ends: str = "shipped"
    orders: int = 1
    refused: int = 0
    ware: Ware | None = None
    pieces: int = 1


ORDINARY = Act("ordinary", "pays by card")

# The longest first: what waits for a provider or a carrier may wait while the others come and go.
SPECIAL = (
    Act("silent_before", "timeout before charge", method="pm_card_timeout_before_charge"),
    Act("silent_after", "timeout after charge", method="pm_card_timeout_after_charge"),
    Act("dead_letter", "carrier never works", postal_code="FAIL-ALWAYS"),
    Act("same_key", f"same key, {SAME_KEY_AT_ONCE} at once"),
    Act("hang_up", "hangs up, asks again", method="pm_card_slow"),
    Act(
        "last_piece",
        f"last piece, {BUYERS_OF_THE_LAST} buyers",
        orders=BUYERS_OF_THE_LAST,
        refused=BUYERS_OF_THE_LAST - 1,
        ware=LAST_PIECE,
    ),
    Act("cancelled", "customer cancels", postal_code="SLOW", ends="cancelled", ware=CUP, pieces=2),
    Act("part_back", "staff refunds a part", ware=TEA, pieces=3),
    Act("delivered", "carrier delivers", ends="delivered"),
    Act("repriced", "price just changed", ware=REPRICED),
    Act("declined", "card declined", method="pm_card_declined", ends="payment_failed"),
    Act("no_funds", "insufficient funds", method="pm_card_insufficient_funds", ends="payment_failed"),
    Act("provider_errs", "provider fails twice", method="pm_card_error_then_ok"),
    Act("provider_slow", "provider takes 2 s", method="pm_card_slow"),
    Act("async", "asks not to wait"),
    Act("carrier_errs", "carrier fails twice", postal_code="FAIL-2"),
)
SPECIAL_ORDERS = sum(act.orders for act in SPECIAL)
MIN_ORDERS = SPECIAL_ORDERS + 1
MAX_ORDERS = 2000


@dataclass(frozen=True, slots=True)
class Wish:
    """An order that a customer wants: one key, however often it is sent. `body` is what is POSTed."""

    act: Act
    key: str
    customer: int
    body: dict[str, Any]

    @property
    def pieces(self) -> int:
        return sum(int(item["quantity"]) for item in self.body["items"])


def write(orders: int, seed: int) -> Sequence[tuple[Act, Sequence[Wish]]]:
    """The acts with their wishes, `orders` in all, ordinary ones first; the same seed wants the same things.

    Keys are new each time. Raises ValueError for fewer orders than the acts need.
    """
    if not MIN_ORDERS <= orders <= MAX_ORDERS:
        raise ValueError(f"the demo plays {MIN_ORDERS:,} to {MAX_ORDERS:,} orders")
    dice = random.Random(seed)  # noqa: S311 - chooses tea cups
    run = secrets.token_hex(4)
    ordinary = [_wish(ORDINARY, f"{run}-{n}", n, _basket(dice)) for n in range(orders - SPECIAL_ORDERS)]
    acts: list[tuple[Act, Sequence[Wish]]] = [(ORDINARY, ordinary)]
    for act in SPECIAL:
        acts.append((act, [_wish(act, f"{run}-{act.name}-{n}", n, _items(act, dice)) for n in range(act.orders)]))
    return acts


def _wish(act: Act, key: str, number: int, items: list[dict[str, Any]]) -> Wish:
    address = {
        "name": "Demo customer",
        "line1": "1 Demo Street",
        "city": "London",
        "postal_code": act.postal_code,
        "country": "GB",
    }
    body = {"items": items, "payment_method": act.method, "shipping_address": address}
    return Wish(act, key, number % CUSTOMERS, body)


def _items(act: Act, dice: random.Random) -> list[dict[str, Any]]:
    return _basket(dice) if act.ware is None else [{"sku": act.ware.sku, "quantity": act.pieces}]


def _basket(dice: random.Random) -> list[dict[str, Any]]:
    """One or two products of one currency."""
    first = dice.choice(COMMON)
    others = [ware for ware in COMMON if ware.currency == first.currency and ware is not first]
    wares = [first, *(dice.sample(others, 1) if others and dice.random() < 0.5 else [])]
    return [{"sku": ware.sku, "quantity": dice.randint(1, 3)} for ware in wares]
