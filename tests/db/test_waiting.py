"""Nobody waits for ever: not for a server that has fallen silent, not behind others who wait for a lock in vain."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orderkit import db, silence
from orderkit.db import UNREACHABLE, Database, is_away
from orderkit.settings import Settings
from orderkit.system import reader
from tests.db.silent import Between, between
from tests.engines import on_postgresql, on_sqlite

TIMEOUT_S = 0.6


@pytest.fixture
def through(postgresql_url: str) -> Iterator[tuple[Between, str]]:
    with between(postgresql_url) as found:
        yield found


@pytest.fixture
def far(through: tuple[Between, str], settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database whose server can fall silent."""
    monkeypatch.setattr(silence, "KNOCKING_S", 0.2)
    database = Database(settings.model_copy(update={"database_url": through[1], "db_timeout": TIMEOUT_S}))
    yield database
    database.dispose()


def ask(database: Database, sql: str = "SELECT 1") -> float:
    """Seconds until the answer, or until there was none any more to wait for."""
    began = time.monotonic()
    with suppress(*UNREACHABLE), database.transaction() as session:
        session.execute(text(sql))
    return time.monotonic() - began


@on_postgresql
def test_a_server_that_falls_silent_is_given_up_and_heard_again(far: Database, through: tuple[Between, str]) -> None:
    server, _ = through
    ask(far)
    server.silent()
    with pytest.raises(OperationalError, match="said nothing") as raised, far.transaction() as session:
        session.execute(text("SELECT 1"))
    assert is_away(raised.value)
    assert raised.value.connection_invalidated
    server.speak()
    with far.transaction() as session:
        assert session.execute(text("SELECT 2")).scalar_one() == 2


@on_postgresql
def test_a_silent_server_is_waited_for_no_longer_by_who_had_a_rest(
    far: Database, through: tuple[Between, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(far)
    monkeypatch.setattr(db, "TRUSTED_S", 0.0)  # a connection that lay idle is asked whether it lives
    through[0].silent()
    began = time.monotonic()
    with pytest.raises(UNREACHABLE), far.transaction() as session:
        session.execute(text("SELECT 1"))
    assert time.monotonic() - began < 8  # of which connecting anew takes 2 s at least, the driver's own minimum


@on_postgresql
def test_the_state_of_the_system_is_looked_at_again_as_soon_as_a_silent_server_speaks(
    through: tuple[Between, str], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reading that hangs ends, because its connection is given up; else there would never be another."""
    monkeypatch.setattr(silence, "KNOCKING_S", 0.1)
    monkeypatch.setattr(reader, "WITHIN_S", 1.0)
    monkeypatch.setattr(reader, "EVERY_S", 0.0)
    server, url = through
    with closing(reader.Reader(settings.model_copy(update={"database_url": url, "db_timeout": 0.5}))) as looking:
        assert looking.state() is not None
        server.silent()
        assert looking.state() is None
        server.speak()
        until = time.monotonic() + 10
        while looking.state() is None:
            assert time.monotonic() < until


@on_postgresql
def test_a_server_that_takes_its_time_is_not_taken_for_a_silent_one(far: Database) -> None:
    with far.transaction() as session:
        session.execute(text("SET LOCAL statement_timeout = 0"))
        assert session.execute(text(f"SELECT 5, pg_sleep({3 * TIMEOUT_S})")).first() is not None
        session.execute(text("SELECT 1"))


@on_postgresql
def test_the_wait_for_one_row_says_nothing_of_the_database(settings: Settings, database: Database) -> None:
    impatient = Database(settings.model_copy(update={"db_timeout": 0.2}))
    with database.transaction() as session:
        session.execute(text("LOCK TABLE products"))
        with pytest.raises(OperationalError) as raised, impatient.reading() as blocked:
            blocked.execute(text("SELECT 1 FROM products"))
    impatient.dispose()
    assert not is_away(raised.value)
    assert is_away(PoolTimeout())


@contextmanager
def written_by_another(settings: Settings) -> Iterator[None]:
    """Another process's transaction on the SQLite file."""
    connection = sqlite3.connect(settings.resolved_database_url.removeprefix("sqlite:///"), isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()


@on_sqlite
@pytest.mark.parametrize(
    "sql", ["SELECT", "SELECT sum(a) FROM (SELECT 1 AS a UNION ALL SELECT 9223372036854775807)", "BEGIN"]
)
def test_a_statement_that_fails_says_nothing_of_the_file(database: Database, sql: str) -> None:
    with pytest.raises(OperationalError) as raised, database.transaction() as session:
        session.execute(text(sql))
    assert not is_away(raised.value)


@on_sqlite
def test_a_file_that_cannot_be_used_is_away(settings: Settings, tmp_path: Path) -> None:
    def failure(of: Database, sql: str = "SELECT 1") -> BaseException:
        with pytest.raises(OperationalError) as raised, of.transaction() as session:
            session.execute(text(sql))
        of.dispose()
        return raised.value

    with written_by_another(settings):
        assert is_away(failure(Database(settings.model_copy(update={"db_timeout": 0.1}))))
    full = Database(settings)
    with full.reading() as session:
        session.execute(text("PRAGMA max_page_count = 1"))  # it may hold no more pages than there are
    assert is_away(failure(full, "CREATE TABLE filler AS SELECT zeroblob(1000000)"))
    gone = Database(settings, url=f"sqlite:///{tmp_path}/gone/orderkit.db")
    (tmp_path / "gone/orderkit.db").unlink()
    (tmp_path / "gone").rmdir()
    assert is_away(failure(gone))


@on_sqlite
def test_a_begin_that_fails_of_itself_is_no_wait_in_vain(settings: Settings) -> None:
    database = Database(settings)
    with database._writers.turn(), database.engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        with pytest.raises(OperationalError, match="within a transaction"):
            database._writers.begin(connection, "BEGIN IMMEDIATE")
    assert not database._writers.in_vain
    database.dispose()


@on_sqlite
def test_all_who_wait_for_another_processs_lock_are_told_within_the_timeout(settings: Settings) -> None:
    database = Database(settings.model_copy(update={"db_timeout": TIMEOUT_S}))
    with written_by_another(settings), ThreadPoolExecutor(20) as threads:
        waits = []
        for _ in range(20):
            waits.append(threads.submit(ask, database))
            time.sleep(0.02)
        assert max(wait.result() for wait in waits) < TIMEOUT_S + 0.5
        assert ask(database) < TIMEOUT_S / 2  # who comes later only looks whether it is gone
        assert max(threads.map(ask, [database] * 20)) < TIMEOUT_S + 0.5  # and many at once do so in turn, but no longer
    assert ask(database) < TIMEOUT_S / 2
    with database.transaction() as session:  # and then everybody waits as long as ever
        assert session.execute(text("PRAGMA busy_timeout")).scalar_one() == TIMEOUT_S * 1000
    assert not database._writers.in_vain
    database.dispose()


@on_sqlite
def test_a_wait_in_vain_makes_nobody_impatient_with_who_has_the_turn(settings: Settings) -> None:
    database = Database(settings.model_copy(update={"db_timeout": 2.0}))
    with_turn = threading.Event()
    with written_by_another(settings):
        assert ask(database) > 1.5

    def write_slowly() -> None:
        with database.transaction():  # it begins only with a statement: what is known is still the wait in vain
            with_turn.set()
            time.sleep(0.6)

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write_slowly)
        with_turn.wait(5)
        with database.transaction() as session:
            assert session.execute(text("SELECT 1")).scalar_one() == 1
        writing.result(5)
    database.dispose()


@on_sqlite
def test_whoever_waits_for_a_turn_waits_for_the_lock_no_longer_than_is_left(settings: Settings) -> None:
    database = Database(settings.model_copy(update={"db_timeout": 1.0}))
    first_has_it, another_takes_it = threading.Event(), threading.Event()

    def hold() -> None:
        with database.transaction():
            first_has_it.set()
            time.sleep(0.6)

    with ThreadPoolExecutor(2) as threads:
        holding = threads.submit(hold)
        first_has_it.wait(5)
        waiting = threads.submit(ask, database)
        time.sleep(0.3)
        another = sqlite3.connect(database.url.database or "", isolation_level=None, timeout=5)
        another.execute("BEGIN IMMEDIATE")  # as soon as the first lets go, or right after the second
        another_takes_it.set()
        holding.result(5)
        assert waiting.result(5) < 1.5
        another.close()
    database.dispose()
