"""`orderkit serve` as a process: what it refuses to start on, what it answers, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from orderkit import serving
from orderkit.api import connections
from orderkit.errors import ConfigurationError, Unavailable
from tests.factories import make_product
from tests.processes import Process, Processes

pytestmark = pytest.mark.integration


@pytest.fixture
def _fresh(processes: Processes) -> None:
    processes.fresh = True


from_nothing = pytest.mark.usefixtures("_fresh")
"""As for a user: for how a process begins, obeys signals and starts others, not for what it answers in between."""


def get(url: str, within_s: float = 5) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(url, timeout=within_s) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def connect(process: Process) -> socket.socket:
    return connect_to(process.address())


def connect_to(address: str) -> socket.socket:
    url = urlsplit(address)
    return socket.create_connection((str(url.hostname), int(url.port or 0)), timeout=10)


def send(process: Process, request: bytes) -> bytes:
    """The whole answer to raw bytes."""
    with connect(process) as connection:
        connection.sendall(request)
        received = b""
        while part := connection.recv(65536):
            received += part
        return received


class TestOnSqlite:
    """One engine will do: how a process starts and ends is the same on both."""

    @pytest.fixture
    def engine_name(self) -> str:
        return "sqlite"

    def test_it_refuses_a_database_without_tables(self, processes: Processes, tmp_path: Path) -> None:
        (tmp_path / "empty.db").touch()
        processes.env["ORDERKIT_DATABASE_URL"] = f"sqlite:///{tmp_path / 'empty.db'}"
        done = processes.run("serve", "--port", "0")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "error: the database has no tables yet; run: orderkit migrate\n"

    def test_it_refuses_a_database_that_does_not_answer(self, processes: Processes) -> None:
        processes.env["ORDERKIT_DATABASE_URL"] = "postgresql://nobody:s3cret@127.0.0.1:1/none"
        done = processes.run("serve", "--port", "0")
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(
            r"error: the database does not answer \(.*refused.*\); check ORDERKIT_DATABASE_URL\n", done.stderr
        )
        assert "s3cret" not in done.stderr

    @pytest.mark.parametrize("secret", ["", "short", "a" * 40])
    def test_it_refuses_production_without_a_strong_secret(self, processes: Processes, secret: str) -> None:
        processes.env |= {"ORDERKIT_ENV": "production", "ORDERKIT_SECRET_KEY": secret}
        done = processes.run("serve", "--port", "0")
        assert (done.returncode, done.stdout) == (2, "")
        assert "ORDERKIT_SECRET_KEY" in done.stderr
        assert done.stderr.count("\n") == 1

    @from_nothing
    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_a_port_that_is_taken_is_one_line(self, processes: Processes, workers: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            done = processes.run("serve", "--port", port, "--workers", workers)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"error: cannot listen on 127.0.0.1 port {port} (Address already in use); choose another --host or --port\n"
        )

    @from_nothing
    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_sigterm_turns_readiness_before_it_stops_and_exits_0(self, processes: Processes, workers: str) -> None:
        """OWASP ASVS V16.5.3"""
        process = processes.start("serve", "--port", "0", "--workers", workers)
        address = process.address()
        assert get(f"{address}/health/ready")[0] == 200
        process._process.send_signal(signal.SIGTERM)
        seen: list[int] = []
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                seen.append(get(f"{address}/health/ready")[0])
            except OSError:
                break
            time.sleep(0.05)
        assert 503 in seen
        assert seen == sorted(seen)
        assert process._process.wait(30) == 0
        assert "Traceback" not in process.output

    @from_nothing
    def test_what_is_under_way_when_it_is_told_to_stop_is_answered(self, processes: Processes) -> None:
        """OWASP ASVS V16.5.3"""
        process = processes.start("serve", "--port", "0")
        body = json.dumps({"email": "ada@example.com", "password": "correct horse", "name": "Ada"}).encode()
        head = f"POST /register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        with connect(process) as connection:
            connection.sendall(head.encode() + body[:20])
            time.sleep(0.3)
            process._process.send_signal(signal.SIGTERM)
            time.sleep(1.5)  # past the time in which new connections are taken
            connection.sendall(body[20:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 201 ")
        assert process._process.wait(30) == 0

    @from_nothing
    def test_ctrl_c_stops_at_once(self, processes: Processes) -> None:
        process = processes.start("serve", "--port", "0")
        process.address()
        started = time.monotonic()
        assert process.terminate(signal.SIGINT) == 0
        assert time.monotonic() - started < 5

    @from_nothing
    def test_a_worker_that_dies_is_replaced(self, processes: Processes) -> None:
        process = processes.start("serve", "--port", "0", "--workers", "2")
        address = process.address()
        time.sleep(serving.STARTED_WITHIN_S)
        workers = [one for one in psutil.Process(process.pid).children() if "spawn_main" in " ".join(one.cmdline())]
        assert len(workers) == 2
        workers[0].kill()
        process.wait_for(f"worker {workers[0].pid} ended with -9; starting another")
        assert all(get(f"{address}/health/live")[0] == 200 for _ in range(20))
        assert process.terminate() == 0

    @from_nothing
    def test_a_process_of_few_files_takes_few_connections_and_says_when_they_are_too_many(
        self, processes: Processes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """OWASP ASVS V15.1.3; OWASP API4: those that have said nothing make room, the longest silent first."""
        few = 20
        python = tmp_path / "python-of-few-files"
        python.write_text(f'#!/bin/sh\nulimit -n {connections.FILES_BESIDES + few}\nexec {sys.executable} "$@"\n')
        python.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(python))
        process = processes.start("serve", "--port", "0", ORDERKIT_LOG_FORMAT="json")
        address = process.address()
        assert 'orderkit_requests_shed_total{reason="connections"} 0.0' in get(f"{address}/metrics")[1]
        with ExitStack() as until_done:
            silent = [until_done.enter_context(connect_to(address)) for _ in range(few + 3)]
            assert [one.recv(1) for one in silent[:3]] == [b""] * 3
            assert get(f"{address}/products")[0] == 200
            shed = re.search(
                r'orderkit_requests_shed_total\{reason="connections"\} (\d+)', get(f"{address}/metrics")[1]
            )
            assert shed is not None
            assert int(shed[1]) >= 4
        process.wait_for("too much is asked at once (connections)")
        assert process.terminate() == 0
        assert "Traceback" not in process.output

    @from_nothing
    def test_processes_share_their_numbers(self, processes: Processes) -> None:
        process = processes.start("serve", "--port", "0", "--workers", "2", ORDERKIT_LOG_FORMAT="json")
        address = process.address()
        for _ in range(40):
            assert get(f"{address}/products")[0] == 200
        counted = 'orderkit_http_requests_total{method="GET",route="/products",status="200"} 40.0'
        assert counted in get(f"{address}/metrics")[1]
        assert process.terminate() == 0
        logged = [json.loads(line) for line in process.output.splitlines()]
        assert len([line for line in logged if line.get("route") == "/products"]) == 40


STRANGE = {
    b"GET /products/%00 HTTP/1.1": {404},
    b"GET /products/%zz HTTP/1.1": {404},
    b"GET /products/%ff%fe HTTP/1.1": {404},
    b"GET /products/\xff HTTP/1.1": {400, 404},
    b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1": {404},
    b"GET /static/docs/../../../../etc/passwd HTTP/1.1": {404},
    b"GET /static/docs/%2e%2e%2f%2e%2e%2f%2e%2e%2fetc/passwd HTTP/1.1": {404},
    b"GET http://elsewhere/products HTTP/1.1": {200, 400, 404},
    b"TRACE /products HTTP/1.1": {405},
    b"BREW /products HTTP/1.1": {400, 405},
    b"GET /products?limit=\x00 HTTP/1.1": {400, 422},
    b"GET /" + b"x" * 70_000 + b" HTTP/1.1": {400, 404, 414, 431},
    b"nonsense": {400},
}


class TestOverTheWire:
    """What uvicorn passes on, or answers itself."""

    @pytest.fixture
    def engine_name(self) -> str:
        return "sqlite"

    @pytest.fixture
    def server(self, processes: Processes) -> Process:
        return processes.start("serve", "--port", "0")

    def test_bodies_too_large_are_answered_and_not_just_cut_off(self, server: Process) -> None:
        """OWASP ASVS V4.3.1; OWASP API4"""
        head = b"POST /register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
        whole = head + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1_000_000
        chunked = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 250 + b"0\r\n\r\n"
        for request in (whole, chunked):
            answer = send(server, request)
            assert answer.startswith(b"HTTP/1.1 413 ")
            assert b'"code":"body_too_large"' in answer

    def test_a_client_that_asks_before_it_sends_too_much_is_told(self, server: Process) -> None:
        """OWASP ASVS V4.3.1; OWASP API4"""
        answer = send(
            server,
            b"POST /register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n",
        )
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"100 Continue" not in answer

    def test_strange_requests_are_refused_and_break_nothing(self, server: Process) -> None:
        for request_line, statuses in STRANGE.items():
            answer = send(server, request_line + b"\r\nHost: x\r\nConnection: close\r\nX-Strange: \xff\xfe\r\n\r\n")
            assert int(answer[9:12]) in statuses, (request_line[:80], answer)
            assert b"root:" not in answer
        assert get(f"{server.address()}/health/live")[0] == 200
        assert "Traceback" not in server.output


@from_nothing
def test_it_serves_on_either_engine(processes: Processes, database: Any) -> None:
    make_product(database, sku="TEA", stock=5)
    process = processes.start("serve", "--port", "0")
    status, body = get(f"{process.address()}/products/TEA")
    assert (status, json.loads(body)["stock"]) == (200, 5)
    assert process.terminate() == 0


def test_an_address_that_cannot_be_listened_on_is_a_wrong_setting() -> None:
    for host, port in (("127.0.0.1", 70_000), ("127.0.0.1", -1), ("203.0.113.1", 0), ("not a host", 0)):
        with pytest.raises(ConfigurationError, match="cannot listen on"):
            serving.listen(host, port)
    with serving.listen("127.0.0.1", 0) as taken, pytest.raises(Unavailable, match="in use"):
        serving.listen("127.0.0.1", taken.getsockname()[1])


def test_no_worker_that_starts_makes_the_listener_of_others_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one of them waits in accept, and the request that it has accepted waits for the next connection."""
    dup = socket.socket.dup

    def watched(one: socket.socket) -> socket.socket:
        blocking.append(os.get_blocking(one.fileno()))
        return dup(one)

    blocking: list[bool] = []
    monkeypatch.setattr(socket.socket, "dup", watched)
    with serving.listen("127.0.0.1", 0) as first:
        several = serving.several(first)
        # As another process has it: the same socket, of which Python thinks that it blocks.
        inherited = socket.socket(fileno=os.dup(first.fileno()))
        several += serving.several(inherited)
        assert not any(os.get_blocking(one.fileno()) for one in several)
        for one in several:
            one.close()
    assert blocking == [False] * len(blocking)
    assert len(blocking) == 2 * (serving.ACCEPTED_AT_ONCE - 1)
