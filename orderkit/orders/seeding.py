"""A believable past: orders over many days, with the rhythm of week and year, few products sold often and many seldom, customers
who come back, some payments declined and some money given back.

The same arguments make the same orders, the last of them yesterday's. Each order's key holds the arguments and its number, and
what is in it does not depend on the day it is made, so that a second run adds nothing, also tomorrow, one that was killed is
completed, and other arguments add another history beside the first. Orders are made and written in batches: memory does not
grow with their number. No events are sent, as there is nobody to tell.
"""

from __future__ import annotations

import gc
import math
import secrets
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, islice, pairwise
from random import Random
from uuid import NAMESPACE_URL, UUID, uuid5

from sqlalchemy import Connection, func, select

from orderkit.auth import enrolment, passwords
from orderkit.catalog import listing
from orderkit.catalog.listing import Listed
from orderkit.catalog.models import Product
from orderkit.clock import now
from orderkit.db import Database
from orderkit.errors import Conflict
from orderkit.ids import new_id
from orderkit.inventory import stock
from orderkit.money import MAX_AMOUNT
from orderkit.orders.loading import PastLoad
from orderkit.orders.past import AfterWriting, Brought, Outcome, PastOrder, PastRefund
from orderkit.orders.pricing import PricedLine

BATCH_ORDERS = 20_000
"""In one transaction, with their sums: the more, the fewer times a month's sums are added to. Five lie in memory, 60 MiB each."""
WRITERS = 3
"""Connections to PostgreSQL. It takes longer to write a batch than to make the next, and one waits for the sums of another."""
GARBAGE_OBJECTS = 1_000_000
USERS_AT_ONCE = 10_000
PRODUCTS_AT_MOST = 10_000
OPENING_STOCK = 1_000

_REFUNDS = uuid5(NAMESPACE_URL, "urn:orderkit:seeded-refund")
_products = Product.__table__  # type: ignore[attr-defined]

# Of a day, by hour in UTC: quiet nights, a rise towards noon, a second one in the evening.
_HOURS = tuple(accumulate((2, 1, 1, 1, 1, 2, 4, 8, 12, 14, 15, 16, 17, 15, 14, 13, 12, 13, 15, 18, 20, 17, 10, 5)))
_WEEKDAYS = (1.00, 0.95, 0.95, 1.05, 1.20, 1.35, 1.15)  # from Monday
_LINES = ((1, 2, 3, 4, 5, 6, 8), tuple(accumulate((34, 26, 17, 10, 6, 4, 3))))
_QUANTITIES = ((1, 2, 3, 4, 6, 12), tuple(accumulate((62, 20, 8, 5, 3, 2))))
DEAREST = MAX_AMOUNT // (max(_LINES[0]) * max(_QUANTITIES[0]))
"""The highest price, in minor units, of which the largest order can still be counted."""
_DECLINED, _REFUNDED_WHOLE, _REFUNDED_IN_PART = 0.02, 0.02, 0.015

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class History:
    """What to make: that many orders over so many days before today, of so many users; `seed` tells it from others."""

    orders: int = 10_000
    days: int = 365
    users: int = 2_000
    seed: int = 1

    @property
    def name(self) -> str:
        return f"seed:{self.seed}:{self.orders}:{self.days}:{self.users}"


@dataclass(frozen=True, slots=True)
class Shop:
    """Who buys and what is sold. `password` is that of the users made just now, None if there are none; it is kept nowhere."""

    users: list[UUID]
    users_created: int
    password: str | None
    products: list[Listed]
    products_created: int


@dataclass(frozen=True, slots=True)
class Seeded:
    orders_created: int
    refunds_created: int


_COUNTRIES = (("GB", 60), ("IE", 9), ("DE", 8), ("FR", 7), ("NL", 5), ("US", 5), ("ES", 3), ("AU", 2), ("JP", 1))
_COUNTRY_OF = tuple(code for code, share in _COUNTRIES for _ in range(share))


def country(user: int) -> str:
    """Where a seeded user, from 0, has everything sent: in these shares, mixed well, and no random number used up for it."""
    return _COUNTRY_OF[user * 37 % len(_COUNTRY_OF)]


def email(number: int) -> str:
    """The address of a seeded user, from 1."""
    return f"shopper{number}@example.com"


def open_shop(database: Database, history: History) -> Shop:
    """Makes the users that are missing, all with one random password, and products if there are none.

    The password is hashed once: hashing it for each of 2,000 users would take a minute.
    """
    password = secrets.token_urlsafe(12)
    hashed = passwords.hash_password(password)
    users: list[UUID] = []
    created = 0
    for start in range(1, history.users + 1, USERS_AT_ONCE):
        numbers = range(start, min(start + USERS_AT_ONCE, history.users + 1))
        with database.transaction() as session:
            people = {email(number): f"Shopper {number}" for number in numbers}
            enrolled = enrolment.enrol(session.connection(), people, password_hash=hashed)
        users += [enrolled.ids[email(number)] for number in numbers]
        created += enrolled.created
    with database.transaction() as session:
        made = _fill_catalog(session.connection(), history)
        products = _for_sale(session.connection())
    return Shop(users, created, password if created else None, products, made)


def write(
    database: Database,
    history: History,
    shop: Shop,
    *,
    progress: Progress = lambda _orders: None,
    after: AfterWriting | None = None,
) -> Seeded:
    """Writes those orders of the history that are not there yet, and calls `after` in each of its transactions."""
    load = PastLoad(database, reason="seeded", after=after)
    orders = refunds = 0
    with _garbage_left(), closing(_brought_in(database, load, past_orders(history, shop))) as batches:
        for outcomes in batches:
            for outcome in outcomes:
                if isinstance(outcome, Brought):  # else its product's price changed since an earlier run, and it stays
                    orders += outcome.created
                    refunds += outcome.refunds
            progress(len(outcomes))
    return Seeded(orders, refunds)


@contextmanager
def _garbage_left() -> Iterator[None]:
    """Has garbage collected once in some batches. It would be looked for every 700 objects, which are all in use: that takes a
    third of Python's time here."""
    before = gc.get_threshold()
    gc.set_threshold(GARBAGE_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _brought_in(database: Database, load: PastLoad, every: Iterator[PastOrder]) -> Generator[list[Outcome]]:
    """Brings orders in, batch by batch, and on PostgreSQL makes the next while the server is busy with those before.

    SQLite's driver gives way to other threads at every row, and would wait for them each time.
    """
    batches = iter(lambda: list(islice(every, BATCH_ORDERS)), [])
    if database.is_sqlite:
        yield from map(load.bring_in, batches)
        return
    under_way: deque[Future[list[Outcome]]] = deque()
    with ThreadPoolExecutor(WRITERS) as writers:
        for batch in batches:
            if len(under_way) == WRITERS:
                yield under_way.popleft().result()
            under_way.append(writers.submit(load.bring_in, batch))
        while under_way:
            yield under_way.popleft().result()


def past_orders(history: History, shop: Shop) -> Iterator[PastOrder]:
    """The orders of the history, by date."""
    today = now().replace(hour=0, minute=0, second=0, microsecond=0)
    maker = _Maker(history, shop, until=today)
    for day, (first, last) in enumerate(pairwise(_orders_before(history, today))):
        date = today - timedelta(days=history.days - day)
        for number, second in zip(range(first, last), _seconds(history, day, last - first), strict=True):
            yield maker.order(number, date + timedelta(seconds=second))


def _seconds(history: History, day: int, count: int) -> list[int]:
    """When the orders of a day were placed."""
    random = Random(f"{history.name}:{day}:hours")  # noqa: S311 - meant to be repeatable, here and below
    hours = random.choices(range(24), cum_weights=_HOURS, k=count)
    return sorted(hour * 3600 + random.randrange(3600) for hour in hours)


def _orders_before(history: History, today: datetime) -> list[int]:
    """How many orders were placed before each day, and at last before today."""
    total = 0.0
    so_far = [total]
    for day in range(history.days):
        date = today - timedelta(days=history.days - day)
        # Highest in early December, lowest in early June; and the shop grows by half over its history.
        season = 1 + 0.35 * math.cos(2 * math.pi * (date.timetuple().tm_yday - 340) / 365.25)
        growth = 1 + 0.5 * day / history.days
        noise = Random(f"{history.name}:{day}").uniform(0.85, 1.15)  # noqa: S311
        total += _WEEKDAYS[date.weekday()] * season * growth * noise
        so_far.append(total)
    return [round(history.orders * part / total) for part in so_far]


class _Maker:
    """Makes orders, to be asked for in turn: one stream of random numbers, of which every order takes its share."""

    def __init__(self, history: History, shop: Shop, *, until: datetime) -> None:
        self._name = history.name
        self._users = shop.users
        self._until = until
        self._random = Random(history.name)  # noqa: S311
        # Of its own, so that who buys stays the same, and with it the key, when the catalog does not.
        self._baskets = Random(f"{history.name}:baskets")  # noqa: S311
        self._products = list(shop.products)
        Random(history.seed).shuffle(self._products)  # noqa: S311
        # Zipf with a flattened head: of 120 products the first twelve make 45 % of the sales.
        self._popularity = list(accumulate(1 / (rank + 3) for rank in range(len(self._products))))

    def order(self, number: int, placed_at: datetime) -> PastOrder:
        random = self._random
        lines = self._lines(self._baskets)
        total = sum(line.line_total for line in lines)
        key = f"{self._name}:{number}"
        fate = random.random()
        wait = timedelta(days=14) * random.random()
        refunds: tuple[PastRefund, ...] = ()
        if fate < _REFUNDED_WHOLE + _REFUNDED_IN_PART:
            amount = total if fate < _REFUNDED_WHOLE else lines[0].line_total
            # Of an order from the last days sooner, and not never: whether there is a refund must not depend on today.
            at = placed_at + min(wait, (self._until - placed_at) * (wait / timedelta(days=14)))
            refunds = (PastRefund(uuid5(_REFUNDS, key), amount, at, "returned"),)
        # The square of a uniform number: a tenth of the users place a third of the orders.
        user = int(len(self._users) * random.random() ** 2)
        return PastOrder(
            order_id=new_id(),
            user_id=self._users[user],
            idempotency_key=key,
            lines=lines,
            currency=self._products[0].currency,
            total=total,
            placed_at=placed_at,
            method="imported",
            country=country(user),
            refunds=refunds,
            declined=fate > 1 - _DECLINED,
        )

    def _lines(self, random: Random) -> tuple[PricedLine, ...]:
        [count] = random.choices(_LINES[0], cum_weights=_LINES[1])
        chosen = dict.fromkeys(random.choices(range(len(self._products)), cum_weights=self._popularity, k=count))
        quantities = random.choices(_QUANTITIES[0], cum_weights=_QUANTITIES[1], k=len(chosen))
        return tuple(
            PricedLine(product.sku, product.name, quantity, product.unit_price, quantity * product.unit_price)
            for product, quantity in zip((self._products[index] for index in chosen), quantities, strict=True)
        )


def _for_sale(connection: Connection) -> list[Listed]:
    """Products with a price, by SKU, in the currency that most have. Raises Conflict if there are none.

    Those so dear that the largest order could not be counted are not seeded with.
    """
    priced = _products.c.unit_price.between(1, DEAREST)
    most = select(_products.c.currency).where(priced).group_by(_products.c.currency)
    currency = connection.execute(most.order_by(func.count().desc(), _products.c.currency).limit(1)).scalar()
    if currency is None:
        raise Conflict(
            "no product in the catalog has a price that can be counted; give one a price, so that there is something to sell"
        )
    columns = (_products.c.sku, _products.c.name, _products.c.unit_price, _products.c.currency)
    found = select(*columns).where(priced, _products.c.currency == currency).order_by(_products.c.sku)
    products = [Listed(*row) for row in connection.execute(found.limit(PRODUCTS_AT_MOST))]
    return sorted(products, key=lambda one: one.sku)  # as Python sorts, whatever the database's collation


def _fill_catalog(connection: Connection, history: History) -> int:
    """Lists products and opens their stock if the catalog is empty; how many."""
    if connection.execute(select(_products.c.sku).limit(1)).first() is not None:
        return 0
    products = list(invented_products(history.seed))
    listing.list_missing(connection, products)
    stock.receive(connection, {one.sku: OPENING_STOCK for one in products}, "opening stock", at=now())
    return len(products)


_VARIETIES = ("Amber", "Birch", "Cobalt", "Dune", "Ember", "Fern", "Garnet", "Hazel", "Indigo", "Juniper")
_GOODS = {  # name, and the price around which its varieties lie, in pence
    "tea": ("tea, 100 g", 650),
    "coffee": ("coffee beans, 250 g", 890),
    "mug": ("mug", 1100),
    "teapot": ("teapot", 2900),
    "tin": ("storage tin", 780),
    "soap": ("soap", 450),
    "candle": ("candle", 1250),
    "bag": ("tote bag", 1600),
    "notebook": ("notebook", 720),
    "pens": ("set of pens", 540),
    "blanket": ("wool blanket", 5900),
    "lamp": ("desk lamp", 4400),
}


def invented_products(seed: int) -> Iterator[Listed]:
    """What a shop sells that has nothing yet."""
    random = Random(seed)  # noqa: S311
    for good, (name, price) in _GOODS.items():
        for variety in _VARIETIES:
            around = round(price * random.uniform(0.8, 1.25) / 10) * 10 - 1
            yield Listed(f"{variety}-{good}".upper(), f"{variety} {name}", around, "GBP")
