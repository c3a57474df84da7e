"""How processes end when something in them hangs: a database that says nothing, or a thread that never comes back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orderkit import serving
from orderkit.db import Database
from tests.db.silent import between
from tests.engines import on_postgresql
from tests.factories import make_product
from tests.processes import Processes

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]

HANGS = """
import sys, threading, time
from orderkit import serving
serving.ENDED_WITHIN_S = 1
threading.Thread(target=time.sleep, args=(600,), name="hangs").start()
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
with serving.listen("127.0.0.1", 0) as listener:
    print("up", flush=True)
    serving.serve_until_signalled(app, host="127.0.0.1", port=0, listener=listener)
print("served", flush=True)
"""


def test_a_thread_that_never_comes_back_does_not_keep_a_process_alive() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HANGS], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        said, told = process.communicate(timeout=20)
    assert process.returncode == 1
    assert said == "served\n"
    assert "Timeout (0:00:01)!" in told


def test_whoever_stops_a_process_need_not_kill_it() -> None:
    assert serving.ENDED_WITHIN_S < serving.STOPPED_WITHIN_S < 30


@on_postgresql
def test_a_database_that_falls_silent_leaves_no_request_unanswered_and_no_process_behind(
    processes: Processes, database: Database, postgresql_url: str
) -> None:
    """OWASP ASVS V16.5.3"""
    make_product(database, sku="TEA", stock=5)
    with between(postgresql_url) as (server, url):
        processes.env |= {"ORDERKIT_DATABASE_URL": url, "ORDERKIT_DB_TIMEOUT": "1"}
        api, worker = processes.start("serve", "--port", "0"), processes.start("worker")
        address = api.address()
        worker.wait_for("the worker is up")
        assert ask(f"{address}/products/TEA")[0] == 200
        server.silent()
        with ThreadPoolExecutor(8) as threads:
            asked = [threads.submit(ask, f"{address}/products/TEA") for _ in range(5)]
            asked += [threads.submit(ask, f"{address}/register", REGISTRATION) for _ in range(2)]
            assert ask(f"{address}/health/live")[0] == 200
            answers = [one.result(25) for one in asked]
        assert {status for status, _ in answers} == {503}
        assert {problem["code"] for _, problem in answers} == {"unavailable"}
        assert ask(f"{address}/health/live")[0] == 200
        assert ask(f"{address}/health/ready")[0] == 503
        began = time.monotonic()
        assert (worker.terminate(), api.terminate()) == (0, 0)
        assert time.monotonic() - began < 25


REGISTRATION = {"email": "ada@example.com", "password": "correct horse battery", "name": "Ada"}


def ask(url: str, body: Any = None) -> tuple[int, Any]:
    request = urllib.request.Request(
        url, None if body is None else json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=25) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
