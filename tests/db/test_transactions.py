"""One way to write, one way to read, and what each engine is told to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlmodel import Session, select

from orderkit.auth.models import User
from orderkit.catalog.models import Product
from orderkit.db import UNREACHABLE, Database, is_transient
from orderkit.errors import ConfigurationError
from orderkit.settings import Settings
from tests.engines import on_postgresql
from tests.factories import make_product, make_user
from tests.threads import at_once


def names(database: Database) -> list[str]:
    with database.reading() as session:
        return sorted(session.exec(select(User.name)))


def user(name: str) -> User:
    return User(email=f"{name}@example.com", name=name)


@pytest.fixture
def open_database(settings: Settings) -> Iterator[Callable[..., Database]]:
    """Opens further engines on the test's database, as another process would."""
    opened: list[Database] = []

    def open_(**more: float) -> Database:
        opened.append(Database(settings.model_copy(update=more)))
        return opened[-1]

    yield open_
    for database in opened:
        database.dispose()


def test_what_a_transaction_wrote_is_kept_when_it_ends(database: Database) -> None:
    with database.transaction() as session:
        session.add(user("kept"))
    assert names(database) == ["kept"]


def test_what_a_transaction_wrote_is_gone_when_it_raises(database: Database) -> None:
    def act() -> None:
        with database.transaction() as session:
            session.add(user("gone"))
            session.flush()
            raise LookupError

    with pytest.raises(LookupError):
        act()
    assert names(database) == []
    with database.transaction() as session:  # and the lock with it
        session.add(user("next"))
    assert names(database) == ["next"]


def test_what_is_written_while_reading_is_not_kept(database: Database) -> None:
    with database.reading() as session:
        session.add(user("stray"))
        session.flush()
    assert names(database) == []


def test_rows_are_usable_after_their_transaction(database: Database) -> None:
    with database.transaction() as session:
        session.add(one := user("later"))
    assert (one.name, one.role) == ("later", "customer")


def test_reading_does_not_wait_for_a_transaction_that_is_open(
    database: Database, open_database: Callable[..., Database]
) -> None:
    make_user(database, name="before")
    other = open_database(db_timeout=0.5)
    with database.transaction() as session:
        session.add(user("under way"))
        session.flush()
        for reader in (database, other):
            started = time.monotonic()
            assert names(reader) == ["before"]
            assert time.monotonic() - started < 0.4
    assert names(other) == ["before", "under way"]


def test_a_transaction_is_not_held_up_by_a_reader_that_dawdles(
    database: Database, open_database: Callable[..., Database]
) -> None:
    other = open_database(db_timeout=0.5)
    with database.reading() as session:
        session.exec(select(User)).all()
        make_user(other, name="meanwhile")
    assert names(database) == ["meanwhile"]


@pytest.mark.parametrize("same_process", [True, False])
def test_read_then_write_never_loses_an_update(
    database: Database, open_database: Callable[..., Database], same_process: bool
) -> None:
    sku = make_product(database, stock=0).sku

    def count_up(mine: Database) -> None:
        for _ in range(25):
            with mine.transaction() as session:
                product = session.get_one(Product, sku, with_for_update=True)
                product.stock += 1

    at_once(partial(count_up, database), partial(count_up, database if same_process else open_database()))
    with database.reading() as session:
        assert session.get_one(Product, sku).stock == 50


def test_a_wait_for_a_lock_has_a_bound(database: Database, open_database: Callable[..., Database]) -> None:
    sku = make_product(database).sku
    other = open_database(db_timeout=0.3)
    with database.transaction() as session:
        session.get_one(Product, sku, with_for_update=True)
        started = time.monotonic()
        with pytest.raises(OperationalError) as raised, other.transaction() as blocked:
            blocked.get_one(Product, sku, with_for_update=True)
        assert 0.2 < time.monotonic() - started < 2
    assert isinstance(raised.value, UNREACHABLE)
    assert not is_transient(raised.value)


def test_a_wait_for_a_connection_has_a_bound(open_database: Callable[..., Database]) -> None:
    database = open_database(db_timeout=0.2, db_pool_size=2)
    with ExitStack() as open_ones:
        for _ in range(2):  # and none beyond them
            open_ones.enter_context(database.reading()).execute(text("SELECT 1"))
        started = time.monotonic()
        with pytest.raises(PoolTimeout), database.reading() as session:
            session.execute(text("SELECT 1"))
        assert 0.15 < time.monotonic() - started < 1


@on_postgresql
def test_a_lost_connection_is_transient_and_the_next_one_works(
    database: Database, open_database: Callable[..., Database]
) -> None:
    def act() -> None:
        with database.transaction() as session:
            pid = session.execute(text("SELECT pg_backend_pid()")).scalar()
            with open_database().transaction() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
            session.execute(text("SELECT 1"))

    with pytest.raises(DBAPIError) as raised:
        act()
    assert is_transient(raised.value)
    assert names(database) == []


@on_postgresql
def test_a_deadlock_is_transient(database: Database) -> None:
    first, second = make_product(database).sku, make_product(database).sku
    barrier = threading.Barrier(2)

    def lock(*skus: str) -> None:
        with database.transaction() as session:
            session.get_one(Product, skus[0], with_for_update=True)
            barrier.wait(10)
            session.get_one(Product, skus[1], with_for_update=True)

    with pytest.raises(DBAPIError, match="deadlock detected") as raised:
        at_once(partial(lock, first, second), partial(lock, second, first))
    assert is_transient(raised.value)


def test_an_ordinary_error_is_not_transient(database: Database) -> None:
    make_user(database, email="a@example.com")
    with pytest.raises(IntegrityError) as raised:
        make_user(database, email="a@example.com")
    assert not is_transient(raised.value)
    assert not is_transient(ValueError())


PRAGMAS: dict[str, object] = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
POSTGRESQL: dict[str, object] = {
    "timezone": "UTC",
    "lock_timeout": "3s",
    "statement_timeout": "3s",
    "idle_in_transaction_session_timeout": "6s",
    "jit": "off",
    "transaction_isolation": "read committed",
}
PLANNED_EACH_TIME: dict[str, object] = {
    "plan_cache_mode": "force_custom_plan",
    "enable_seqscan": "on",
    "enable_hashjoin": "on",
    "enable_mergejoin": "on",
}
PLANNED_ONCE: dict[str, object] = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


def test_each_connection_is_set_up_so_that_nothing_acknowledged_is_lost(open_database: Callable[..., Database]) -> None:
    database = open_database(db_timeout=3.0)
    ways = [database.transaction, database.reading, database.changing_schema, database.reading]
    for way in ways:
        with way() as session:
            if database.is_sqlite:
                expected: dict[str, object] = PRAGMAS | {"foreign_keys": 0 if way == database.changing_schema else 1}
                found = {name: session.execute(text(f"PRAGMA {name}")).scalar() for name in PRAGMAS}
            else:
                expected = POSTGRESQL | PLANNED_EACH_TIME
                found = shown(session, expected)
            assert found == expected


@on_postgresql
def test_connections_for_rows_by_key_plan_once_and_only_by_index(settings: Settings) -> None:
    database = Database(settings, by_key=True)
    expected = {name: POSTGRESQL[name] for name in ("timezone", "jit", "transaction_isolation")} | PLANNED_ONCE
    try:
        for way in (database.transaction, database.reading):
            with way() as session:
                assert shown(session, expected) == expected
    finally:
        database.dispose()


def shown(session: Session, names: Iterable[str]) -> dict[str, object]:
    return {name: session.execute(text(f"SHOW {name}")).scalar() for name in names}


@pytest.mark.unit
def test_the_folder_of_a_sqlite_file_is_made(tmp_path: Path) -> None:
    database = Database(Settings(database_url=f"sqlite:///{tmp_path}/a/b/orderkit.db"))
    assert (tmp_path / "a" / "b").is_dir()
    database.dispose()


@pytest.mark.unit
def test_a_folder_that_cannot_be_made_says_which_setting_to_change(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="set ORDERKIT_HOME or ORDERKIT_DATABASE_URL"):
        Database(Settings(database_url=f"sqlite:///{tmp_path}/file/orderkit.db"))
