"""What all tests share: engines, migrated databases, seeds, and a working directory and environment of their own."""

from __future__ import annotations

import logging
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import configuration
from hypothesis import settings as hypothesis_settings
from loguru import logger
from passlib.hash import argon2
from psycopg import sql
from sqlmodel import Session

from orderkit.auth import passwords
from orderkit.db import Database
from orderkit.migrating import migrate
from orderkit.observability import context, logs
from orderkit.print_pack.evidence import stamped, write
from orderkit.schema import metadata
from orderkit.settings import PREFIX, Settings
from tests import covered
from tests.engines import ENGINES
from tests.factories import GRANTS
from tests.processes import Processes
from tests.servers import Servers
from tests.statements import share

ROOT = Path(__file__).resolve().parents[1]
INTEGRATION = {"engine_name", "postgresql_url", "redis_url", "servers", "processes"}
"""Whoever uses one of these fixtures is an integration test; others are unit tests, unless they say what they are."""

# ── the run ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, help="Seed of everything random; a failing test prints the one it had.")
    parser.addoption("--evidence", type=Path, help="With --cov: write there, as JSON, what the run showed.")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Last, when what the workers covered is together."""
    if config.option.evidence is not None and config.pluginmanager.hasplugin("_cov"):
        reports = [
            one for each in terminalreporter.stats.values() for one in each if isinstance(one, pytest.TestReport)
        ]
        seconds = time.monotonic() - config.stash[_STARTED]
        floor = config.option.cov_fail_under or 0
        found = covered.data(covered.counted(reports), seconds, floor, covered.measured(ROOT / ".coverage"))
        write(stamped("coverage", found, covered.COMMAND), config.rootpath / config.option.evidence)


MEMORY = Path("/dev/shm")
IN_MEMORY_BYTES = 2 * 1024**3
"""What a run keeps in files at once is a tenth of that; a container may have no more than 64 MB there."""


def _keep_files_in_memory() -> None:
    """Puts the files of tests and of processes that they start where no commit of SQLite waits for a disk.

    Linux only, and not where TMPDIR says something else.
    """
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK | os.X_OK):
        return
    if shutil.disk_usage(MEMORY).free >= IN_MEMORY_BYTES:
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None  # asks for TMPDIR again


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    of_controller: dict[str, Any] = getattr(config, "workerinput", {})
    if not of_controller:
        _keep_files_in_memory()
        directory = Path(tempfile.mkdtemp(prefix="orderkit-tests-"))
        config.stash[_SERVERS] = Servers(directory, os.getpid())
        config.stash[_STARTED] = time.monotonic()
        config.stash[_SEED] = (
            config.option.seed if config.option.seed is not None else random.SystemRandom().getrandbits(32)
        )
    else:
        config.stash[_SERVERS] = Servers(Path(of_controller["servers"]), of_controller["controller"])
        config.stash[_SEED] = of_controller["seed"]
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(config.stash[_SEED])
    configuration.set_hypothesis_home_dir(ROOT / ".hypothesis")
    # No deadline for one example: two engines, two workers and two cores make any honest one fail now and then.
    hypothesis_settings.register_profile("orderkit", deadline=None, max_examples=50)
    hypothesis_settings.register_profile("long", deadline=None, max_examples=1000)  # --hypothesis-profile long
    hypothesis_settings.load_profile("orderkit")
    share()


_SERVERS = pytest.StashKey[Servers]()
_SEED = pytest.StashKey[int]()
_STARTED = pytest.StashKey[float]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    servers = node.config.stash[_SERVERS]
    node.workerinput |= {"servers": str(servers.directory), "controller": os.getpid(), "seed": node.config.stash[_SEED]}


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.stash[_SERVERS].stop()


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.stash[_SEED]} (repeat with --seed)"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections.append(("seed", f"repeat with --seed {item.config.stash[_SEED]}"))
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not any(item.get_closest_marker(name) for name in ("unit", "integration")):
            uses: set[str] = set(getattr(item, "fixturenames", ()))
            item.add_marker("integration" if uses & INTEGRATION else "unit")


MEASURED = ("auth", "catalog", "fulfillment", "idempotency", "inventory", "money", "orders", "payments", "worker")
"""Folders of tests that count for the floor on coverage: those of the domains, and of the worker, which relays events."""


def _measure(item: pytest.Item) -> None:
    """Counts the lines that are run by the domains' own tests: counting makes a test take almost twice as long.

    What only the API's or a journey's tests happen to run has no test where it should have one, and does not count. Nor do
    the few tests marked `unmeasured`, which run lines of plainer tests by the thousand: a third of all time spent counting.
    Of a test that runs on both engines the run on the first one counts: the other runs the same lines of a domain.
    """
    controller: Any = getattr(item.config.pluginmanager.getplugin("_cov"), "cov_controller", None)
    if controller is None:
        return
    within = any(item.path.is_relative_to(ROOT / "tests" / one) for one in MEASURED)
    within = within and item.get_closest_marker("unmeasured") is None and not _is_second(item)
    if controller.started and not within:
        controller.pause()
    elif within and not controller.started:
        controller.resume()


def _is_second(item: pytest.Item) -> bool:
    """Whether the test runs on both engines, and this is not the run on the first."""
    first, callspec = ENGINES[0], getattr(item, "callspec", None)
    if callspec is None or callspec.params.get("engine_name", first) == first:
        return False
    chosen = [mark.args[1] for mark in item.iter_markers("parametrize") if mark.args[0] == "engine_name"]
    return first in (chosen[0] if chosen else ENGINES)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Each test runs in an empty directory without ORDERKIT_* variables, so that neither a `.env` nor a shell matters."""
    where, environment = Path.cwd(), dict(os.environ)
    for name in environment:
        if name.upper().startswith(PREFIX):
            del os.environ[name]
    directory = tempfile.mkdtemp(prefix="orderkit-cwd-")
    os.chdir(directory)
    random.seed(f"{item.config.stash[_SEED]} {item.nodeid}")
    _measure(item)
    try:
        return (yield)
    finally:
        os.chdir(where)
        os.environ.clear()
        os.environ.update(environment)
        shutil.rmtree(directory, ignore_errors=True)


# ── logs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """Whatever a test does to logging ends with it: our own lines, loguru's, and the loggers of libraries.

    The last, because a library may set up logging for itself and switch off every logger that there is by then.
    """
    root, output = logging.getLogger(), logs._output
    handlers, level = root.handlers[:], root.level
    before = {one: (one.level, one.disabled, one.propagate, one.handlers[:], one.filters[:]) for one in _loggers()}
    yield
    context._request_id.set("")
    context._traceparent.set("")
    context._facts.set(None)
    if logs._output is not output:
        logs._output = output
        logger.remove()
        logger.add(_to_stderr, level="WARNING")  # as commands do, whose stderr some tests look at
    root.handlers[:] = handlers
    root.setLevel(level)
    for one in _loggers():
        was = before.get(one, (logging.NOTSET, False, True, [], []))
        level, one.disabled, one.propagate, one.handlers[:], one.filters[:] = was
        if one.level != level:
            one.setLevel(level)


def _to_stderr(line: str) -> None:
    sys.stderr.write(line)  # by name: each test has a stderr of its own


def _loggers() -> list[logging.Logger]:
    return [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]


# ── passwords ────────────────────────────────────────────────────────────────────────────────────────────────────────

_QUICK = argon2.using(type="ID", memory_cost=64, time_cost=1, parallelism=1)


@pytest.fixture(autouse=True)
def _quick_hashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes hashes of passwords in this process a hundred times cheaper than the 25 ms that they take on purpose.

    Not for tests marked `slow_hashes`, which are about that, nor in processes that a test starts.
    """
    if request.node.get_closest_marker("slow_hashes") is None:
        monkeypatch.setattr(passwords, "_argon2id", _QUICK)
        monkeypatch.setattr(passwords, "_NOBODYS", _quick_nobodys())


@cache
def _quick_nobodys() -> str:
    return str(_QUICK.hash("nobody's"))


# ── servers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Servers:
    return pytestconfig.stash[_SERVERS]


@pytest.fixture(scope="session")
def worker_number(worker_id: str) -> int:
    """0 for the first xdist worker, or without xdist."""
    return int(worker_id.removeprefix("gw")) if worker_id.startswith("gw") else 0


@pytest.fixture
def redis_url(servers: Servers, worker_number: int) -> str:
    """An empty database, this worker's own, on the run's Redis."""
    import redis

    url = servers.redis(worker_number)
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture(scope="session")
def sqlite_template(servers: Servers) -> Path:
    """A migrated SQLite file to copy, made once a run."""
    file = servers.directory / "template.db"
    with servers.alone("sqlite-template"):
        if not file.exists():
            new = file.with_suffix(".new")
            _migrate(f"sqlite:///{new}")
            new.rename(file)
    return file


@pytest.fixture(scope="session")
def postgresql_worker_url(servers: Servers, worker_number: int) -> Iterator[str]:
    """This worker's migrated database, a copy of the run's template."""
    url = servers.postgresql("template")
    name = f"worker_{worker_number}"
    with servers.alone("postgresql-template"), psycopg.connect(servers.postgresql(), autocommit=True) as admin:
        found = admin.execute("SELECT 1 FROM pg_database WHERE datname = 'template'").fetchone()
        if found is None:
            admin.execute("CREATE DATABASE template")
            _migrate(url)
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template").format(sql.Identifier(name)))
    yield servers.postgresql(name)
    if tidier := _tidiers.pop(servers.postgresql(name), None):
        tidier.close()


def _migrate(url: str) -> None:
    database = Database(_settings(url))
    migrate(database)
    database.dispose()


def _settings(url: str, **more: Any) -> Settings:
    return Settings(_env_file=None, database_url=url, **more)


_dirty: set[str] = set()
"""PostgreSQL databases that a test may have committed to since they were last emptied."""


def _emptied(url: str) -> str:
    if url in _dirty:
        # Children first. Rows as few as a test's are gone in 6 ms; TRUNCATE makes new files and takes 14 ms.
        # Roles are given with the schema; what a test changed about them is put right.
        deletes = "; ".join(
            f'DELETE FROM "{table.name}"' for table in reversed(metadata.sorted_tables) if table.name != "roles"
        )
        grants = ", ".join(f"('{role}', '{one}')" for role, those in GRANTS.items() for one in those)
        deletes += f"; INSERT INTO role_permissions (role, permission) VALUES {grants}"
        with _tidier(url) as connection:
            # A test that failed may have left a process or a thread behind that holds a lock.
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connection.execute(deletes.encode())
        _dirty.discard(url)
    return url


_tidiers: dict[str, psycopg.Connection] = {}
"""One connection that lasts for each database: what a new one has to learn of 26 tables first takes 8 ms."""


@contextmanager
def _tidier(url: str) -> Iterator[psycopg.Connection]:
    connection = _tidiers.get(url)
    if connection is None or not _alive(connection):
        connection = _tidiers[url] = psycopg.connect(url, options="-c lock_timeout=5000", autocommit=True)
    with connection.transaction():
        yield connection


def _alive(connection: psycopg.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


# ── databases ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=ENGINES)
def engine_name(request: pytest.FixtureRequest) -> str:
    """The test runs once for each engine."""
    name: str = request.param
    return name


@pytest.fixture
def postgresql_url(postgresql_worker_url: str) -> str:
    """A migrated and empty PostgreSQL database that the test may commit to."""
    url = _emptied(postgresql_worker_url)
    _dirty.add(url)
    return url


@pytest.fixture
def database_url(engine_name: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated and empty database of this engine that the test may commit to."""
    if engine_name == "postgresql":
        url: str = request.getfixturevalue("postgresql_url")
        return url
    file = tmp_path / "orderkit.db"
    shutil.copyfile(request.getfixturevalue("sqlite_template"), file)
    return f"sqlite:///{file}"


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings for `database_url`, impatient ones: nothing waits for seconds that a test would have to sit through."""
    return _settings(
        database_url,
        home=tmp_path / "home",
        gateway_timeout=0.5,
        carrier_timeout=0.5,
        retry_base=0.01,
        retry_cap=0.05,
        breaker_open_for=0.2,
    )


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """The migrated and empty database, to commit to."""
    database = Database(settings)
    yield database
    database.dispose()


@pytest.fixture
def rolled_back(engine_name: str, request: pytest.FixtureRequest) -> Iterator[Session]:
    """A session on a migrated and empty database whose transaction is rolled back in the end; for tests that need no commit.

    `session.commit()` within is a savepoint's.
    """
    database: Database = request.getfixturevalue(f"_lasting_{engine_name}")
    if engine_name == "postgresql" and (url := request.getfixturevalue("postgresql_worker_url")) in _dirty:
        database.dispose()  # before others than the tidier are thrown out
        _emptied(url)
    with database.engine.connect() as connection, connection.begin() as transaction:
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            yield session
        transaction.rollback()


@pytest.fixture(scope="session")
def _lasting_sqlite(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    file = tmp_path_factory.mktemp("sqlite") / "rolled_back.db"
    shutil.copyfile(sqlite_template, file)
    database = Database(_settings(f"sqlite:///{file}"))
    yield database
    database.dispose()


@pytest.fixture(scope="session")
def _lasting_postgresql(postgresql_worker_url: str) -> Iterator[Database]:
    database = Database(_settings(postgresql_worker_url))
    yield database
    database.dispose()


@pytest.fixture
def empty_database_url(
    engine_name: str, request: pytest.FixtureRequest, tmp_path: Path, worker_number: int
) -> Iterator[str]:
    """A database of this engine without tables, for tests that migrate."""
    if engine_name == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    servers: Servers = request.getfixturevalue("servers")
    name = sql.Identifier(f"empty_{worker_number}")
    with psycopg.connect(servers.postgresql(), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(name))
        try:
            yield servers.postgresql(f"empty_{worker_number}")
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


# ── randomness ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def rng(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> random.Random:
    """Random numbers of this test's own; the same again with the same `--seed`."""
    return random.Random(f"{pytestconfig.stash[_SEED]} {request.node.nodeid}")


# ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def processes(settings: Settings, database: Database, tmp_path: Path) -> Iterator[Processes]:
    """Processes of orderkit on the test's database, with the test's settings; killed at the end."""
    given = settings.model_dump(exclude_unset=True)
    env = {f"{PREFIX}{name.upper()}": str(value) for name, value in given.items()}
    found = Processes(tmp_path, env | {"ORDERKIT_SECRET_KEY": "only-for-tests-" + "0123456789abcdef" * 2})
    yield found
    found.kill_all()
