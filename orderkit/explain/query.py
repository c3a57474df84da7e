"""What a query of the catalog is, and the bench on which the product's own functions make it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from sqlalchemy import Connection, select, text
from sqlmodel import Session

from orderkit.clock import now
from orderkit.orders import snapshot
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.settings import Settings

if TYPE_CHECKING:
    from orderkit.db import Database

NOBODY = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Query:
    """A query that is shipped: its name, which is given at its site, what for, and the index or indexes it must use.

    `act` calls the function of the product that asks it; the first statement of that name is the query. `ordered`: rows
    come in the order of the index, and nothing is to be sorted. `elsewhere` has the indexes of an engine that needs others;
    `or_else`, those that would do as well as the first.
    """

    name: str
    purpose: str
    index: str | tuple[str, ...]
    act: Callable[[Bench], object]
    ordered: bool = False
    elsewhere: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    or_else: tuple[str, ...] = ()

    def indexes(self, engine: str) -> tuple[str, ...]:
        """What it must use on `engine`, "sqlite" or "postgresql"."""
        usual = (self.index,) if isinstance(self.index, str) else self.index
        return self.elsewhere.get(engine, usual)


class _Same:
    """A database of one connection: what the product does in transactions of its own happens in that one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.is_sqlite = connection.dialect.name == "sqlite"

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with Session(self._connection) as session:
            yield session

    reading = snapshot = transaction


class Bench:
    """A connection, and rows of the database to ask about: such as there are, else an id that nothing has."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self.connection = connection
        self.settings = settings
        self.at: datetime = now()
        self.is_sqlite = connection.dialect.name == "sqlite"

    @cached_property
    def database(self) -> Database:
        return cast("Database", _Same(self.connection))

    @cached_property
    def session(self) -> Session:
        return Session(self.connection)

    @cached_property
    def order(self) -> OrderSnapshot:
        """The newest order, without its lines."""
        newest = text("SELECT id FROM orders ORDER BY created_at DESC LIMIT 1")
        found = self.connection.execute(newest).scalar()
        orders = snapshot.load(self.connection, [UUID(str(found))]) if found else {}
        for order in orders.values():
            order.items = None
            return order
        ours = (NOBODY, NOBODY, "none", "pending", "GBP", 100, None, None, 1, self.at, self.at)
        return OrderSnapshot(*ours, NOBODY, "created", "pm_card_visa", None, 0, 0)

    @cached_property
    def sku(self) -> str:
        """One that is in stock, if any is."""
        to_sell = text("SELECT sku FROM products WHERE stock > 0 LIMIT 1")
        any_at_all = text("SELECT sku FROM products LIMIT 1")
        found = (self.connection.execute(one).scalar() for one in (to_sell, any_at_all))
        return str(next(filter(None, found), "none"))

    @cached_property
    def in_stock(self) -> bool:
        """Whether that one is."""
        held = text("SELECT stock > 0 FROM products WHERE sku = :sku")
        return bool(self.connection.execute(held, {"sku": self.sku}).scalar())

    def id_of(self, table: Any) -> UUID:
        """The id of some row."""
        found = self.connection.execute(select(table.__table__.c.id).limit(1)).scalar()
        return found or NOBODY
