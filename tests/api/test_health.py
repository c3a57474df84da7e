"""Whether the process lives, whether it can serve, and its numbers."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import text

from orderkit import migrating
from orderkit.api import health
from orderkit.db import Database
from orderkit.settings import Settings
from tests.client import Client, running
from tests.engines import on_sqlite

LIVE = ("/health/live", "/health/liveness")
READY = ("/health/ready", "/health/readiness")
FINE = {"database": "ok", "schema": "ok", "queue": "ok", "process": "ok", "provider": "ok"}


@pytest.mark.parametrize("path", LIVE)
def test_alive(api: Client, path: str) -> None:
    answer = api.get(path)
    assert (answer.status, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", READY)
def test_ready_when_the_database_answers_and_is_migrated(api: Client, path: str) -> None:
    answer = api.get(path)
    assert answer.status == 200
    assert answer.json() == {"status": "ok", "checks": FINE}


@pytest.mark.parametrize("path", READY)
def test_not_ready_while_the_process_is_told_to_stop(api: Client, path: str) -> None:
    api.runtime.draining = True
    answer = api.get(path)
    assert answer.status == 503
    assert answer.json() == {"status": "unavailable", "checks": FINE | {"process": "stopping"}}
    assert api.get("/health/live").status == 200


def test_not_ready_on_a_schema_of_another_version(api: Client, database: Database) -> None:
    with database.transaction() as session:
        session.connection().execute(text("UPDATE alembic_version SET version_num = 'older'"))
    try:
        answer = api.get("/health/ready")
    finally:
        with database.transaction() as session:
            session.connection().execute(
                text("UPDATE alembic_version SET version_num = :head"), {"head": migrating.head()}
            )
    assert answer.status == 503
    assert answer.json()["checks"] == FINE | {"schema": "is not migrated"}


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://nobody:s3cret@127.0.0.1:1/none", "sqlite:////proc/none/orderkit.db"]
)
def test_without_a_database_it_lives_and_is_not_ready(tmp_path: Path, url: str) -> None:
    """OWASP ASVS V16.5.3"""
    if url.startswith("sqlite"):
        url = f"sqlite:///{tmp_path}"  # a folder, which cannot be opened as a file
    with running(Settings(_env_file=None, home=tmp_path, database_url=url)) as api:
        assert all(api.get(path).status == 200 for path in LIVE)
        answer = api.get("/health/ready")
        assert answer.status == 503
        assert answer.json()["checks"] == FINE | {"database": "does not answer", "schema": "not known"}
        assert b"s3cret" not in answer.body
        products = api.get("/products")
        assert (products.status, products.code) == (503, "unavailable")


@on_sqlite
def test_a_file_that_was_moved_away_is_not_ready_and_takes_no_order(api: Client, database: Database) -> None:
    path = Path(str(database.url.database))
    path.rename(path.with_name("moved.db"))
    try:
        answer = api.get("/health/ready")
        assert (answer.status, answer.json()["checks"]["database"]) == (503, "its file was moved, deleted or replaced")
        asked = {"email": "ada@example.com", "password": "correct horse battery", "name": "Ada"}
        assert api.post("/register", asked).code == "unavailable"
        assert not path.exists(), "and none was made in its place"
    finally:
        path.with_name("moved.db").rename(path)
    assert api.get("/health/ready").status == 200


@on_sqlite
def test_a_lock_that_another_process_keeps_is_told_by_readiness_answer_and_metric(
    settings: Settings, database: Database
) -> None:
    asked = {"email": "ada@example.com", "password": "correct horse battery", "name": "Ada"}
    with running(settings.model_copy(update={"db_timeout": 0.5})) as api:
        with closing(sqlite3.connect(str(database.url.database))) as other:
            other.execute("BEGIN IMMEDIATE")
            refused = api.post("/register", asked)
            assert (refused.status, "locked by another writer" in refused.json()["detail"]) == (503, True)
            answer = api.get("/health/ready")
            assert (answer.status, answer.json()["checks"]["schema"]) == (503, "ok")
            assert answer.json()["checks"]["database"].startswith("locked")
            assert re.search(r"orderkit_db_lock_timeouts_total [1-9]", api.get("/metrics").body.decode())
        assert api.get("/health/ready").json() == {"status": "ok", "checks": FINE}


@pytest.mark.parametrize("path", READY)
def test_without_the_provider_it_is_degraded_and_still_ready(api: Client, path: str) -> None:
    breaker = api.runtime.breaker
    for _ in range(health.FAILING):
        breaker.failed()
    failing = api.get(path)
    assert (failing.status, failing.json()["status"]) == (200, "degraded")
    assert failing.json()["checks"] == FINE | {"provider": f"did not answer its last {health.FAILING} calls"}
    for _ in range(20):
        breaker.failed()
    opened = api.get(path)
    assert (opened.status, opened.json()["status"]) == (200, "degraded")
    assert "left alone" in opened.json()["checks"]["provider"]
    breaker.succeeded()
    assert api.get(path).json() == {"status": "ok", "checks": FINE}


def test_that_the_provider_failed_is_told_while_it_is_news(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    breaker, later = api.runtime.breaker, 0.0
    monkeypatch.setattr(breaker, "_monotonic", lambda: time.monotonic() + later)
    for _ in range(api.runtime.settings.breaker_failures):
        breaker.failed()
    told = []
    for seconds in (0.0, 10.0, 61.0):
        later = seconds
        answer = api.get("/health/ready").json()
        told.append((answer["status"], answer["checks"]["provider"].partition(";")[0]))
    assert told == [("degraded", "does not answer"), ("degraded", "did not answer its last 20 calls"), ("ok", "ok")]
    assert breaker.state == "half_open", "and the next order asks it"


def test_one_call_that_the_provider_did_not_answer_is_an_accident(api: Client) -> None:
    api.runtime.breaker.failed()
    assert api.get("/health/ready").json() == {"status": "ok", "checks": FINE}


@pytest.mark.parametrize("path", READY)
def test_not_ready_without_the_redis_of_the_queue(settings: Settings, database: Database, path: str) -> None:
    with running(settings.model_copy(update={"redis_url": "redis://:s3cret@127.0.0.1:1/0"})) as api:
        answer = api.get(path)
        assert answer.status == 503
        assert answer.json() == {"status": "unavailable", "checks": FINE | {"queue": "does not answer"}}
        assert b"s3cret" not in answer.body
        assert api.get("/health/live").status == 200


def test_ready_with_the_redis_of_the_queue(settings: Settings, database: Database, redis_url: str) -> None:
    with running(settings.model_copy(update={"redis_url": redis_url})) as api:
        assert api.get("/health/ready").json() == {"status": "ok", "checks": FINE}


def test_not_ready_when_the_file_of_the_queue_is_none(api: Client) -> None:
    home = api.runtime.settings.home
    home.mkdir(exist_ok=True)
    (home / "queue.db").write_bytes(b"no database at all" * 100)
    assert api.get("/health/ready").json()["checks"] == FINE | {"queue": "does not answer"}


def test_a_database_that_hangs_is_not_waited_for(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "READY_WITHIN_S", 0.05)
    monkeypatch.setattr(migrating, "require_current", lambda _database: time.sleep(0.5))
    started = time.monotonic()
    answer = api.get("/health/ready")
    assert time.monotonic() - started < 0.45
    assert (answer.status, "does not answer within" in answer.json()["checks"]["database"]) == (503, True)


def test_metrics_are_prometheus_text(api: Client) -> None:
    api.get("/products")
    answer = api.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    names = {family.name for family in text_string_to_metric_families(answer.body.decode())}
    assert names >= {"orderkit_http_requests", "orderkit_http_request_seconds", "orderkit_orders"}
    assert "orderkit_provider_calls" in names


def test_metrics_can_be_behind_a_token_of_their_own(settings: Settings) -> None:
    with running(settings.model_copy(update={"metrics_token": SecretStr("t0ken")})) as api:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "t0ken"}, {"Authorization": b"\xff"}):
            assert api.get("/metrics", headers).code == "unauthenticated"
        assert api.get("/metrics", {"Authorization": "Bearer t0ken"}).status == 200


COUNT = """
from orderkit.observability import metrics
for _ in range({n}):
    metrics.http_requests.labels("GET", "/x", 200).inc()
metrics.http_seconds.labels("GET", "/x").observe(0.5)
print(metrics.exposition("api").decode())
"""


def test_processes_that_share_a_folder_add_up(tmp_path: Path) -> None:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for n in (3, 4):
        done = subprocess.run(
            [sys.executable, "-c", COUNT.format(n=n)], env=environment, capture_output=True, text=True, check=True
        )
    assert 'orderkit_http_requests_total{method="GET",route="/x",status="200"} 7.0' in done.stdout
    assert 'orderkit_http_request_seconds_count{method="GET",route="/x"} 2.0' in done.stdout
