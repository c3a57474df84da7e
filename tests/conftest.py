"""What every test may ask for: settings and a migrated, empty database on either engine, a Redis, random data by seed."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from orderkit import migrating, schema
from orderkit.db import Database
from orderkit.settings import PREFIX, Settings
from tests import servers

ENGINES = ("sqlite", "postgresql")

QUICK = {"retry_base": 0.02, "retry_cap": 0.1, "gateway_timeout": 0.5, "carrier_timeout": 0.5}
"""Settings under which what takes seconds in a shop takes moments in a test."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="Seed of the random data; printed in the header.")


def pytest_configure(config: pytest.Config) -> None:
    given: dict[str, Any] = getattr(config, "workerinput", {})
    config._servers = Path(given.get("servers") or tempfile.mkdtemp(prefix="orderkit-tests-"))  # type: ignore[attr-defined]
    if "seed" in given:
        config.option.seed = given["seed"]
    elif config.option.seed is None:
        config.option.seed = random.randrange(2**32)


def pytest_report_header(config: pytest.Config) -> str:
    return f"random data: --seed {config.option.seed}"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells each process of a parallel run where the servers are, and the seed."""
    node.workerinput |= {"servers": str(node.config._servers), "seed": node.config.option.seed}


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        servers.stop(config._servers)  # type: ignore[attr-defined]
        shutil.rmtree(config._servers, ignore_errors=True)  # type: ignore[attr-defined]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needs = {"database", "postgresql", "redis_url", "processes"}
    for item in items:
        if not any(item.iter_markers("integration")):
            item.add_marker("integration" if needs & set(getattr(item, "fixturenames", ())) else "unit")


@pytest.fixture(autouse=True)
def _nothing_from_outside(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests, and no `.env` in their folder, has a say; random data is the same each time."""
    for name in os.environ:
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    random.seed(f"{request.config.option.seed} {request.node.nodeid}")


@pytest.fixture(scope="session")
def _run_folder(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.config._servers  # type: ignore[attr-defined]
    return folder


@pytest.fixture(scope="session")
def postgresql(_run_folder: Path) -> str:
    """The URL of a real PostgreSQL, for tests that make databases of their own: `servers.with_database(url, name)`."""
    return servers.postgresql(_run_folder)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "migrated.db"
    database = Database(_settings(path.parent, f"sqlite:///{path}"))
    migrating.migrate(database)
    database.dispose()
    return path


@pytest.fixture(scope="session")
def _postgresql_url(postgresql: str, worker_id: str) -> str:
    name = f"test_{worker_id}"
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {servers.TEMPLATE}")  # type: ignore[arg-type]
    return servers.with_database(postgresql, name)


@pytest.fixture(params=ENGINES)
def engine_name(request: pytest.FixtureRequest) -> str:
    """`sqlite` and `postgresql`: whoever asks for this, or for `settings`, runs on both."""
    return str(request.param)


@pytest.fixture
def settings(engine_name: str, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """Quick settings with a home of their own and a migrated, empty database."""
    if engine_name == "postgresql":
        return _settings(tmp_path, request.getfixturevalue("_postgresql_url"))
    path = tmp_path / "orderkit.db"
    shutil.copy(request.getfixturevalue("_sqlite_template"), path)
    return _settings(tmp_path, f"sqlite:///{path}")


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """A migrated, empty database, emptied again afterwards."""
    database = Database(settings)
    yield database
    if not database.is_sqlite:
        tables = ", ".join(table.name for table in schema.metadata.sorted_tables)
        with database.transaction() as session:
            session.connection().execute(text(f"TRUNCATE {tables}"))
    database.dispose()


@pytest.fixture
def redis_url(_run_folder: Path, worker_id: str) -> str:
    """The URL of an empty database of a real Redis; each process of a parallel run has its own."""
    import redis

    number = 0 if worker_id == "master" else 1 + int(worker_id.removeprefix("gw"))
    socket = servers.redis_socket(_run_folder)
    redis.Redis(unix_socket_path=socket, db=number).flushdb()
    return f"unix://{socket}?db={number}"


def _settings(home: Path, url: str) -> Settings:
    return Settings(_env_file=None, home=home, database_url=url, **QUICK)  # type: ignore[call-arg, arg-type]
