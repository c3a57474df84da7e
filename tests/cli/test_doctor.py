"""`orderkit doctor`: it finds what is wrong, says what to do, and works whatever is wrong."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from orderkit import clock, migrating
from orderkit.api import connections
from orderkit.db import Database
from orderkit.doctor import database as of_database
from orderkit.doctor import machine
from orderkit.doctor.examining import CHECKS
from orderkit.settings import Settings
from tests.engines import on_postgresql
from tests.shop import Shop

Cli = Callable[..., Any]

SECRET = "Kq7wZt3xVb9nMd2rHs6yLf4pJg8cTa5e-W1uR0iNo"

Examined = dict[str, dict[str, str]]


@pytest.fixture
def engine_name(request: pytest.FixtureRequest) -> str:
    """One engine, unless a test asks for the other, or both."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
def doctor(cli: Cli, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, Examined]]:
    """Runs the command on the test's database with further settings; gives its exit code and its findings by check."""
    monkeypatch.setenv("ORDERKIT_DATABASE_URL", str(settings.database_url))
    monkeypatch.setenv("ORDERKIT_HOME", str(settings.home))

    def run(**more: str) -> tuple[int, Examined]:
        for name, value in more.items():
            monkeypatch.setenv(f"ORDERKIT_{name.upper()}", value)
        done = cli("doctor", "--json")
        found: Examined = {}
        for one in json.loads(done.out):
            found.setdefault(one["check"], one)
        return done.code, found

    return run


def of(found: Examined, verdict: str) -> set[str]:
    return {check for check, one in found.items() if one["verdict"] == verdict}


@pytest.mark.parametrize("engine_name", ["sqlite", "postgresql"], indirect=True)
def test_nothing_is_wrong_with_an_installation_that_works(doctor: Any, database: Database) -> None:
    status, found = doctor()
    assert (status, of(found, "wrong"), of(found, "not checked")) == (0, set(), set())
    assert {name for names, _needed, _check in CHECKS for name in names} | {"version", "settings"} == found.keys()
    assert found["schema"]["found"] == f"revision {migrating.head()}"
    assert all(not one["remedy"] for one in found.values() if one["verdict"] == "fine")


def test_in_a_table_each_line_has_its_mark_and_what_to_do(cli: Cli, database: Database) -> None:
    done = cli("doctor")  # of an empty folder
    assert done.code == 1
    lines = {line[3:].split("  ")[0].strip(): line for line in done.out.splitlines()}
    assert lines["settings"].startswith("✓")
    assert lines["database"].startswith("✗")
    assert lines["schema"].startswith("·")
    assert lines["database"].endswith("run: orderkit migrate")


def test_it_makes_nothing(cli: Cli) -> None:
    cli("doctor")
    assert list(Path.cwd().iterdir()) == []


def test_wrong_settings_are_all_told_and_the_rest_is_looked_at(doctor: Any, cli: Cli, database: Database) -> None:
    status, found = doctor(gateway="paypal", redis_url="s3cret", db_pool_sise="3", lease="1")
    assert status == 1
    assert found["queue"]["verdict"] == found["gateway"]["verdict"] == "not checked"
    assert found["database"]["verdict"] == found["work"]["verdict"] == "fine"
    done = cli("doctor", "--json")
    problems = [one["found"] for one in json.loads(done.out) if one["check"] == "settings"]
    assert [
        name for name in ("GATEWAY", "REDIS_URL", "DB_POOL_SISE", "LEASE") if not any(name in p for p in problems)
    ] == []
    assert "s3cret" not in done.out + done.err


def test_without_a_database_it_looks_at_all_else_and_tells_no_password(doctor: Any) -> None:
    status, found = doctor(database_url="postgresql://nobody:s3cret@127.0.0.1:1/none")
    assert status == 1
    assert of(found, "wrong") == {"database"}
    assert of(found, "not checked") == set(of_database.AFTER)
    assert "ORDERKIT_DATABASE_URL" in found["database"]["remedy"]
    assert "s3cret" not in json.dumps(found)


def test_a_file_that_is_no_database_is_told(doctor: Any, tmp_path: Path) -> None:
    (tmp_path / "no.db").write_bytes(b"no database at all" * 1000)
    status, found = doctor(database_url=f"sqlite:///{tmp_path / 'no.db'}")
    assert (status, found["database"]["verdict"]) == (1, "wrong")


@pytest.mark.parametrize("engine_name", ["sqlite", "postgresql"], indirect=True)
def test_a_database_that_is_not_migrated_is_told_and_how(doctor: Any, empty_database_url: str, tmp_path: Path) -> None:
    if empty_database_url.startswith("sqlite"):
        (tmp_path / "empty.db").touch()
    status, found = doctor(database_url=empty_database_url)
    assert status == 1
    assert found["schema"] | {"check": ""} == {
        "check": "",
        "verdict": "wrong",
        "found": "the database has no tables yet",
        "remedy": "run: orderkit migrate",
    }
    assert found["database"]["verdict"] == "fine"
    assert found["work"]["verdict"] == "not checked"


@pytest.mark.parametrize("engine_name", ["sqlite", "postgresql"], indirect=True)
def test_an_index_that_is_missing_is_named(doctor: Any, database: Database) -> None:
    with database.reading() as session:
        made = _definition(session.connection(), "ix_payments_due")
    with database.transaction() as session:
        session.connection().execute(text("DROP INDEX ix_payments_due"))
    try:
        status, found = doctor()
    finally:
        with database.transaction() as session:
            session.connection().execute(text(made))
    assert (status, found["indexes"]["found"]) == (1, "missing: ix_payments_due")


def _definition(connection: Any, name: str) -> str:
    if connection.dialect.name == "sqlite":
        asked = "SELECT sql FROM sqlite_master WHERE name = :name"
    else:
        asked = "SELECT pg_get_indexdef(CAST(:name AS regclass))"
    return str(connection.execute(text(asked), {"name": name}).scalar_one())


@on_postgresql
def test_an_index_whose_making_was_cut_short_is_named(doctor: Any, database: Database) -> None:
    mark = "UPDATE pg_index SET indisvalid = {} WHERE indexrelid = 'ix_payments_due'::regclass"
    with database.transaction() as session:
        session.connection().execute(text(mark.format("false")))
    try:
        status, found = doctor()
    finally:
        with database.transaction() as session:
            session.connection().execute(text(mark.format("true")))
    assert (status, found["indexes"]["found"]) == (1, "not valid: ix_payments_due")
    assert "REINDEX INDEX CONCURRENTLY ix_payments_due" in found["indexes"]["remedy"]


@on_postgresql
def test_an_index_of_somebody_else_in_the_same_database_is_theirs(doctor: Any, database: Database) -> None:
    with database.transaction() as session:
        connection = session.connection()
        connection.execute(text("CREATE SCHEMA neighbours CREATE TABLE flats (number int CONSTRAINT of_flats UNIQUE)"))
        mark = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'neighbours.of_flats'::regclass"
        connection.execute(text(mark))
    try:
        status, found = doctor()
    finally:
        with database.transaction() as session:
            session.connection().execute(text("DROP SCHEMA neighbours CASCADE"))
    assert (status, found["indexes"]["verdict"]) == (0, "fine")


@on_postgresql
@pytest.mark.parametrize(("seconds", "verdict", "status"), [(0, "fine", 0), (3, "warning", 0), (-60, "wrong", 1)])
def test_clocks_that_differ_are_told(
    doctor: Any, database: Database, monkeypatch: pytest.MonkeyPatch, seconds: int, verdict: str, status: int
) -> None:
    monkeypatch.setattr(of_database, "now", lambda: clock.now() + timedelta(seconds=seconds))
    code, found = doctor()
    assert (code, found["clock"]["verdict"]) == (status, verdict)
    assert seconds == 0 or ("behind" if seconds > 0 else "ahead") in found["clock"]["found"]


@on_postgresql
def test_more_connections_than_the_server_has_are_told(doctor: Any, database: Database) -> None:
    status, found = doctor(db_pool_size="100")
    assert (status, found["connections"]["verdict"]) == (0, "warning")
    assert "ORDERKIT_DB_POOL_SIZE" in found["connections"]["remedy"]


def test_work_that_nobody_does_is_told(
    doctor: Any, database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    Shop(database, settings).paid()  # its event waits for a worker
    assert doctor()[1]["work"]["verdict"] == "fine"
    later = clock.now() + timedelta(minutes=5)
    monkeypatch.setattr("orderkit.system.state.now", lambda: later)
    status, found = doctor()
    assert (status, found["work"]["verdict"]) == (1, "wrong")
    assert "events for " in found["work"]["found"]
    assert "orderkit worker" in found["work"]["remedy"]


def test_open_dead_letters_are_told(doctor: Any, database: Database, settings: Settings) -> None:
    Shop(database, settings).dead()
    status, found = doctor()
    assert (status, found["dead letters"]["verdict"], found["dead letters"]["found"]) == (0, "warning", "1 open")


def test_a_home_that_is_a_file_is_told(doctor: Any, database: Database, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, found = doctor(home=str(tmp_path / "file"))
    assert (status, found["home"]["verdict"], found["queue"]["verdict"]) == (1, "wrong", "wrong")


def test_files_that_others_may_read_are_told(doctor: Any, database: Database, settings: Settings) -> None:
    settings.home.mkdir(mode=0o755)
    key = settings.home / "secret_key"
    key.write_text(SECRET)
    key.chmod(0o644)
    status, found = doctor()
    assert (status, found["home"]["verdict"], found["secret"]["verdict"]) == (0, "warning", "warning")
    assert f"chmod 600 {key}" in found["secret"]["remedy"]
    assert SECRET not in json.dumps(found)


@pytest.mark.parametrize(
    ("free", "verdict", "status"), [(10**12, "fine", 0), (500 * 2**20, "warning", 0), (2**20, "wrong", 1)]
)
def test_a_disk_that_fills_up_is_told(
    doctor: Any, database: Database, monkeypatch: pytest.MonkeyPatch, free: int, verdict: str, status: int
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=free))
    code, found = doctor()
    assert (code, found["disk"]["verdict"]) == (status, verdict)


def test_few_open_files_are_told(doctor: Any, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not those that a process begins with: the API asks for more."""
    for hard, verdict in ((1024, "warning"), (1_048_576, "fine")):
        monkeypatch.setattr("resource.getrlimit", lambda _which, hard=hard: (1024, hard))
        status, found = doctor()
        told = f"a process may ask for {hard:,}"
        assert (status, found["open files"]["verdict"], found["open files"]["found"]) == (0, verdict, told)
    assert machine.OPEN_FILES == connections.CONNECTIONS + connections.FILES_BESIDES


def test_what_is_out_of_reach_is_told_with_the_setting_to_look_at(doctor: Any, database: Database) -> None:
    status, found = doctor(
        redis_url="redis://:s3cret@127.0.0.1:1/0",
        gateway="simulator",
        simulator_url="http://127.0.0.1:1",
        mail_url="smtp://user:s3cret@127.0.0.1:1",
    )
    assert status == 1
    assert of(found, "wrong") == {"queue", "gateway", "carrier", "mail"}
    for check, name in (("queue", "REDIS_URL"), ("gateway", "SIMULATOR_URL"), ("mail", "MAIL_URL")):
        assert f"ORDERKIT_{name}" in found[check]["remedy"]
    assert "s3cret" not in json.dumps(found)


def test_redis_and_the_simulator_that_answer_are_fine(
    doctor: Any, database: Database, redis_url: str, answering: str
) -> None:
    status, found = doctor(redis_url=redis_url, gateway="simulator", simulator_url=answering)
    assert (status, of(found, "wrong")) == (0, set())
    assert found["queue"]["found"].startswith("Redis ")


@pytest.fixture
def answering() -> Iterator[str]:
    """A server of which every address answers with a JSON object."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status": "ok"}')

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_hangs_is_not_waited_for(doctor: Any, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orderkit.doctor.services.WITHIN_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        status, found = doctor(redis_url=f"redis://{place}", gateway="simulator", simulator_url=f"http://{place}")
    assert (status, of(found, "wrong")) == (1, {"queue", "gateway", "carrier"})


def test_what_production_should_not_do_without_is_a_warning(doctor: Any, database: Database) -> None:
    status, found = doctor(env="production", secret_key=SECRET, allow_test_providers="1")
    assert (status, of(found, "wrong")) == (0, set())
    assert {"mail", "public URL", "production"} <= of(found, "warning")


def test_production_without_a_secret_is_wrong(doctor: Any, database: Database) -> None:
    status, found = doctor(env="production", allow_test_providers="1")
    assert (status, of(found, "wrong")) == (1, {"settings", "secret"})


def test_an_old_database_is_told(doctor: Any, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_database, "OLDEST_SQLITE", (99, 0))
    status, found = doctor()
    assert (status, found["database version"]["verdict"]) == (1, "wrong")
    assert "SQLite 99.0" in found["database version"]["remedy"]


def test_a_write_lock_that_is_kept_is_told_and_how_to_find_its_keeper(
    doctor: Any, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orderkit.doctor.database.WITHIN_S", 0.3)
    assert doctor()[1]["locks"]["verdict"] == "fine"
    with closing(sqlite3.connect(str(database.url.database))) as other:
        other.execute("BEGIN IMMEDIATE")
        status, found = doctor()
    assert status == 1
    assert found["locks"]["verdict"] == "wrong"
    assert "another process has not let go of the write lock" in found["locks"]["found"]
    assert str(database.url.database) in found["locks"]["remedy"]
    assert found["work"]["verdict"] == "fine", "it goes on"


@pytest.mark.parametrize("engine_name", ["postgresql"], indirect=True)
def test_who_keeps_others_waiting_is_named(doctor: Any, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orderkit.doctor.database.WITHIN_S", 0.3)

    def wait() -> None:
        with suppress(OperationalError), database.transaction() as waiting:
            waiting.connection().execute(text("LOCK TABLE leases IN EXCLUSIVE MODE"))

    with database.transaction() as keeping, ThreadPoolExecutor(1) as threads:
        keeping.connection().execute(text("LOCK TABLE leases IN EXCLUSIVE MODE"))
        pid = keeping.connection().execute(text("SELECT pg_backend_pid()")).scalar_one()
        waiter = threads.submit(wait)
        time.sleep(0.6)
        found = doctor()[1]["locks"]
        keeping.rollback()
        waiter.result()
    assert found["verdict"] == "wrong"
    assert f"behind process {pid}" in found["found"]


def metrics_of_a_worker(turned_ago_s: float) -> str:
    return f"orderkit_worker_turn_timestamp_seconds {time.time() - turned_ago_s}\n"


@pytest.fixture
def scrape_port() -> Iterator[tuple[str, dict[str, str]]]:
    """The port of a server, and what it answers to whoever has the token."""
    said = {"token": "t0ken", "metrics": ""}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            may = self.headers["Authorization"] == f"Bearer {said['token']}"
            self.send_response(200 if may else 401)
            self.end_headers()
            self.wfile.write(said["metrics"].encode() if may else b"")

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield str(server.server_port), said
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("ago_s", "verdict"), [(0.2, "fine"), (90.0, "wrong")])
def test_the_heartbeat_of_the_worker_is_looked_at(
    doctor: Any, database: Database, scrape_port: tuple[str, dict[str, str]], ago_s: float, verdict: str
) -> None:
    port, said = scrape_port
    said["metrics"] = metrics_of_a_worker(ago_s)
    found = doctor(worker_metrics_port=port, metrics_token="t0ken")[1]["worker"]
    assert (found["verdict"], "got through a turn" in found["found"]) == (verdict, True)


def test_a_worker_that_is_not_there_and_a_collector_that_is_not_are_warned_of(
    doctor: Any, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = str(nobody.getsockname()[1])
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        status, found = doctor(worker_metrics_port=port, tracing="otlp", public_url=f"http://127.0.0.1:{port}")
    assert (status, of(found, "wrong")) == (0, set())
    assert {"worker", "tracing", "public URL"} <= of(found, "warning")
    for check in ("worker", "tracing", "public URL"):
        assert "connection refused" in found[check]["found"]
        assert found[check]["remedy"]


@pytest.mark.parametrize("engine_name", ["sqlite", "postgresql"], indirect=True)
def test_a_replica_is_asked(doctor: Any, database: Database, settings: Settings, tmp_path: Path) -> None:
    found = doctor(replica_url=str(settings.resolved_database_url))[1]["replica"]
    assert found["verdict"] == ("fine" if database.is_sqlite else "warning")
    assert "how far behind it is cannot be told" in found["found"]
    away = doctor(replica_url="postgresql://nobody:s3cret@127.0.0.1:1/none")
    assert (away[0], away[1]["replica"]["verdict"]) == (1, "wrong")
    assert away[1]["replica"]["found"] == "does not answer (connection refused)"


@pytest.mark.usefixtures("narrow_terminal")
def test_in_a_narrow_terminal_each_check_is_a_line_and_what_to_do_stands_below(cli: Cli) -> None:
    lines = cli("doctor").out.splitlines()
    assert max(len(re.sub(r"\x1b\[\d+m", "", line)) for line in lines) <= 80
    at = next(n for n, line in enumerate(lines) if " database  " in line)
    assert lines[at + 1].split() == ["→", "run:", "orderkit", "migrate"]
    assert lines[at + 2].startswith("· database version")
