"""The ways in which `loadtests.idioms` sends its statements, each made ready to be done again and again on one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from random import Random
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from loadtests import stack
from loadtests.idiom_rows import FINGERPRINT, LINES, Wanted, read_by_core, read_by_orm, write_by_core, write_by_orm
from loadtests.stack import Stack
from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.orders.placement import Placement, PlaceOrder
from orderkit.orders.pricing import Line
from orderkit.orders.snapshot import OrderSnapshot

PRODUCTS = 1000
CUSTOMERS = 20
PAGE = 20
LIST = 16
WRITE, READ = "write", "read"
DRIVERS = {"postgresql": ("psycopg", "asyncpg"), "sqlite": ("aiosqlite",)}
"""The asynchronous ones."""

Act = Callable[[], Awaitable[int]]
"""Does its work once, for as many orders or pages as it says."""


@dataclass
class Shop:
    """What is asked of the stack, by chance but the same in every run, and how many pages were not whole."""

    running: Stack
    clients: int

    def __post_init__(self) -> None:
        self.sqlite = self.running.engine.programs is None
        self.short_pages = 0
        self._chance = Random(7)
        # SQLite has one writer at a time, and waits for another by sleeping: so they take turns here, whichever way they write.
        self.turn: AbstractAsyncContextManager[Any] = asyncio.Lock() if self.sqlite else nullcontext()

    def order(self, user_id: UUID | None = None) -> Wanted:
        skus = sorted(self._chance.sample(range(1, PRODUCTS + 1), LINES))
        return Wanted(new_id(), user_id or self.user(), tuple(map(stack.sku, skus)))

    def user(self) -> UUID:
        return UUID(int=self._chance.randint(1, CUSTOMERS))

    def see(self, lines: int) -> None:
        self.short_pages += lines != PAGE * LINES

    def url(self, driver: str) -> str:
        url = make_url(self.running.engine.url)
        dialect = "sqlite" if self.sqlite else "postgresql"
        return url.set(drivername=f"{dialect}+{driver}").render_as_string(hide_password=False)

    def pooled(self) -> dict[str, Any]:
        return {"pool_size": self.clients, "max_overflow": 0}


def ways(shop: Shop, until_done: AsyncExitStack) -> dict[tuple[str, str], Act]:
    """Every way there is here, by what it does and its name. Asked for on a running loop."""
    acts = _in_threads(shop, until_done)
    for driver in DRIVERS["sqlite" if shop.sqlite else "postgresql"]:
        if find_spec(driver) and find_spec("greenlet"):
            acts |= _on_the_loop(shop, driver, until_done)
        else:
            print(f"not measured: {driver} on the event loop; pip install {driver} greenlet", flush=True)
    return acts | _in_lists(shop, until_done)


def _in_threads(shop: Shop, until_done: AsyncExitStack) -> dict[tuple[str, str], Act]:
    pool = until_done.enter_context(ThreadPoolExecutor(shop.clients))
    engine = create_engine(shop.url("pysqlite" if shop.sqlite else "psycopg"), **shop.pooled())
    until_done.callback(engine.dispose)
    if shop.sqlite:
        _keep_what_is_committed(engine)
    writing = engine.execution_options(begin="BEGIN IMMEDIATE")
    loop = asyncio.get_running_loop()

    def core_write(one: Wanted) -> None:
        with writing.begin() as connection:
            write_by_core(connection, one)

    def orm_write(one: Wanted) -> None:
        with Session(writing, expire_on_commit=False) as session, session.begin():
            write_by_orm(session, one)

    def core_read(user_id: UUID) -> int:
        with engine.connect() as connection:
            return read_by_core(connection, user_id, PAGE)

    def orm_read(user_id: UUID) -> int:
        with Session(engine) as session:
            return read_by_orm(session, user_id, PAGE)

    def written(write: Callable[[Wanted], None]) -> Act:
        async def act() -> int:
            async with shop.turn:
                await loop.run_in_executor(pool, write, shop.order())
            return 1

        return act

    def seen(read: Callable[[UUID], int]) -> Act:
        async def act() -> int:
            shop.see(await loop.run_in_executor(pool, read, shop.user()))
            return 1

        return act

    return {
        (WRITE, "ORM in threads"): written(orm_write),
        (WRITE, "Core in threads"): written(core_write),
        (READ, "ORM in threads"): seen(orm_read),
        (READ, "Core in threads"): seen(core_read),
    }


def _on_the_loop(shop: Shop, driver: str, until_done: AsyncExitStack) -> dict[tuple[str, str], Act]:
    """By `run_sync`, one switch of greenlets for all of an order: `await` at each statement would be one for each."""
    engine: AsyncEngine = create_async_engine(shop.url(driver), **shop.pooled())
    until_done.push_async_callback(engine.dispose)
    if shop.sqlite:
        _keep_what_is_committed(engine.sync_engine)
    writing = engine.execution_options(begin="BEGIN IMMEDIATE")

    async def core_write() -> int:
        async with shop.turn, writing.begin() as connection:
            await connection.run_sync(write_by_core, shop.order())
        return 1

    async def orm_write() -> int:
        async with shop.turn, AsyncSession(writing, expire_on_commit=False) as session, session.begin():
            await session.run_sync(write_by_orm, shop.order())
        return 1

    async def core_read() -> int:
        async with engine.connect() as connection:
            shop.see(await connection.run_sync(read_by_core, shop.user(), PAGE))
        return 1

    async def orm_read() -> int:
        async with AsyncSession(engine) as session:
            shop.see(await session.run_sync(read_by_orm, shop.user(), PAGE))
        return 1

    return {
        (WRITE, f"ORM on the loop, {driver}"): orm_write,
        (WRITE, f"Core on the loop, {driver}"): core_write,
        (READ, f"ORM on the loop, {driver}"): orm_read,
        (READ, f"Core on the loop, {driver}"): core_read,
    }


def _in_lists(shop: Shop, until_done: AsyncExitStack) -> dict[tuple[str, str], Act]:
    """One list of LIST orders after the other in one thread, as the gatherer has them placed."""
    thread = until_done.enter_context(ThreadPoolExecutor(1))
    placement = until_done.enter_context(_placement(shop))
    loop, one_list = asyncio.get_running_loop(), asyncio.Lock()

    async def act() -> int:
        async with one_list, shop.turn:
            wanted = [shop.order() for _ in range(LIST)]
            return await loop.run_in_executor(thread, _placed, placement, wanted)

    return {(WRITE, f"lists of {LIST}, orderkit"): act}


def fill_pages(shop: Shop) -> int:
    """Places so many orders that every customer has a page of them; how many."""
    with _placement(shop) as placement:
        customers = [UUID(int=number) for number in range(1, CUSTOMERS + 1)]
        return sum(_placed(placement, [shop.order(one) for one in customers]) for _ in range(PAGE))


@contextmanager
def _placement(shop: Shop) -> Iterator[Placement]:
    """orderkit's own."""
    database = Database(shop.running.settings, by_key=True)
    try:
        yield Placement(database, shop.running.settings)
    finally:
        database.dispose()


def _placed(placement: Placement, wanted: Sequence[Wanted]) -> int:
    """Places a list; how many orders. Raises RuntimeError if one was refused."""
    asked = [
        PlaceOrder(
            one.order_id,
            one.user_id,
            one.order_id.hex,
            FINGERPRINT,
            tuple(Line(sku, 1) for sku in one.skus),
            "pm_card_visa",
        )
        for one in wanted
    ]
    refused = [outcome for outcome in placement.place(asked) if not isinstance(outcome, OrderSnapshot)]
    if refused:
        raise RuntimeError(f"an order was not placed: {refused[0]!r}")
    return len(asked)


def _keep_what_is_committed(engine: Engine) -> None:
    """What orderkit sets on SQLite: as durable, and one who writes says so when they begin."""

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-65536"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))
