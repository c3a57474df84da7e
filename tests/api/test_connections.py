"""What comes before a request is one, over real sockets: deadlines, bounds, what is refused, and who is turned away."""

from __future__ import annotations

import asyncio
import io
import json
import random
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import pytest
import uvicorn
from loguru import logger
from uvicorn.server import Server

from loadtests import hostile
from loadtests.overload import share
from orderkit.api import connections
from orderkit.api.connections import Door, Limits
from orderkit.observability import context, logs, metrics
from orderkit.settings import Settings
from tests.client import application

QUICK = Limits(
    in_flight=4, connections=40, head_within_s=0.6, idle_s=0.4, rest_within_s=0.3, read_within_s=0.5, head_bytes=4096
)
HOST = "127.0.0.1"
GET = b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n"


class App:
    """Answers by path: `/at-once`; `/held`, when it is let go; `/much`, 8 MB; `/read`, the size of the body."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked: list[str] = []
        self.headers: list[list[tuple[bytes, bytes]]] = []
        self.failed: list[BaseException] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope["path"])
        self.headers.append(scope["headers"])
        try:
            await self._answer(scope, receive, send)
        except Exception as error:
            self.failed.append(error)
            raise

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        body = b"ok"
        if scope["path"] == "/held":
            await self.go.wait()
        elif scope["path"] == "/much":
            body = b"x" * 8_000_000
        elif scope["path"] == "/read":
            size, more = 0, True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                size, more = size + len(message["body"]), message["more_body"]
            body = b"%d" % size
        length = b"%d" % len(body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        for begin in range(0, len(body), 100_000):
            part = body[begin : begin + 100_000]
            await send({"type": "http.response.body", "body": part, "more_body": begin + len(part) < len(body)})


class Running:
    """A server in a thread of this process."""

    def __init__(self, app: Any, limits: Limits, *, lifespan: Literal["on", "off"] = "off") -> None:
        self.app = app
        self.door = Door(limits)
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        protocol: Any = self.door.connection  # uvicorn's types want a class where anything that makes one will do
        config = uvicorn.Config(
            app, http=protocol, ws="none", lifespan=lifespan, log_config=None, timeout_graceful_shutdown=2
        )
        self.server = Server(config)
        self._thread = threading.Thread(target=lambda: self.server.run(sockets=[self._listener]))
        self._thread.start()
        until = time.monotonic() + 20
        while not self.server.started:
            assert time.monotonic() < until
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(20)

    def connect(self) -> socket.socket:
        return socket.create_connection((HOST, self.port), timeout=10)

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)

    def let_go(self) -> None:
        async def let_go() -> None:
            self.app.go.set()

        asyncio.run_coroutine_threadsafe(let_go(), self.server.servers[0].get_loop()).result(10)

    def eventually(self, holds: Any, within_s: float = 5) -> None:
        until = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < until
            time.sleep(0.01)


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    running = Running(App(), QUICK)
    yield running
    running.stop()


@pytest.fixture
def server(shared: Running) -> Iterator[Running]:
    """Nobody is connected at first, and nothing failed in the application at last."""
    shared.app.go.clear()
    shared.app.asked.clear()
    shared.app.headers.clear()
    shared.app.failed.clear()
    yield shared
    shared.let_go()
    shared.eventually(lambda: shared.connections == 0 and not shared.server.server_state.tasks)
    assert not shared.app.failed
    assert not shared.door.waiting
    assert not shared.door.receiving


def all_of(connection: socket.socket) -> bytes:
    """What comes until the end; nothing where the connection was reset."""
    received = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(1 << 20):
            received += part
    return received


def answer(connection: socket.socket) -> bytes:
    """One answer with a body."""
    received = b""
    while b"\r\n\r\n" not in received or len(received.partition(b"\r\n\r\n")[2]) < length(received):
        part = connection.recv(1 << 20)
        assert part, received
        received += part
    return received


def length(received: bytes) -> int:
    found = re.search(rb"content-length: (\d+)", received)
    return int(found[1]) if found else 0


def problem(received: bytes) -> dict[str, Any]:
    """The problem document of an answer, checked to say what all of them say."""
    head, _, body = received.partition(b"\r\n\r\n")
    head += b"\r\n"
    assert b"\r\ncontent-type: application/problem+json\r\n" in head
    assert b"\r\nx-content-type-options: nosniff\r\n" in head
    assert b"\r\ncache-control: no-store\r\n" in head
    assert len(body) == length(received)
    document: dict[str, Any] = json.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % document["status"])
    assert b"\r\nx-request-id: %b\r\n" % document["request_id"].encode() in head
    assert re.search(rb"\r\ntraceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-01(\r\n|$)", head)
    assert set(document) == {"type", "title", "status", "detail", "code", "request_id"}
    return document


@contextmanager
def taking(least_s: float, most_s: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert least_s <= time.monotonic() - began < most_s


# ── heads ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n"], ids=["nothing", "empty lines"])
def test_a_socket_that_says_nothing_is_closed(server: Running, sent: bytes) -> None:
    """OWASP ASVS V15.1.3; OWASP API4"""
    with server.connect() as connection, taking(0.5, 3):
        connection.sendall(sent)
        assert all_of(connection) == b""


def test_empty_lines_do_not_put_the_deadline_off(server: Running) -> None:
    with server.connect() as connection, taking(0.5, 3), suppress(ConnectionError):
        for _ in range(100):
            connection.sendall(b"\r\n")
            time.sleep(0.05)


def test_a_head_that_trickles_is_answered_with_408(server: Running) -> None:
    """OWASP ASVS V15.1.3; OWASP API4"""
    late = metrics.timed_out.labels("head")
    before = late._value.get()
    with server.connect() as connection, taking(0.5, 3):
        for byte in GET % (b"/at-once", b""):
            connection.sendall(bytes([byte]))
            time.sleep(0.05)
            if select_readable(connection):
                break
        assert problem(all_of(connection))["code"] == "request_timeout"
    assert late._value.get() == before + 1
    assert server.app.asked == []


def select_readable(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        connection.settimeout(10)


def test_a_second_head_that_trickles_has_the_same_deadline(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(GET % (b"/at-once", b""))
        assert answer(connection).endswith(b"ok")
        with taking(0.5, 3):
            connection.sendall(b"GET /at")
            assert problem(all_of(connection))["code"] == "request_timeout"


def test_half_a_head_behind_a_request_does_not_take_its_answer_from_it(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(GET % (b"/held", b"") + b"GET /half")
        time.sleep(0.9)
        server.let_go()
        assert all_of(connection).endswith(b"ok")
    assert server.app.asked == ["/held"]


def test_a_kept_connection_is_closed_when_it_lies_idle(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(GET % (b"/at-once", b""))
        answer(connection)
        with taking(0.3, 2):
            assert all_of(connection) == b""


@pytest.mark.parametrize(
    "head",
    [
        GET % (b"/at-once", b"X: %b\r\n" % (b"x" * 4096)),
        GET % (b"/at-once", b"X: y\r\n" * 1000),
        GET % (b"/" + b"x" * 5000, b""),
        b"GET /" + b"x" * 200_000,
    ],
    ids=["one header", "many headers", "the path", "no end of it"],
)
def test_a_head_that_is_too_large_is_answered_with_431(server: Running, head: bytes) -> None:
    with server.connect() as connection:
        with suppress(ConnectionError):
            connection.sendall(head)
        assert problem(all_of(connection))["code"] == "head_too_large"
    assert server.app.asked == []


def test_a_body_is_no_part_of_the_head(server: Running) -> None:
    with server.connect() as connection:
        for _ in range(2):
            connection.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000)
            assert answer(connection).endswith(b"60000")


def test_a_head_just_within_the_bound_is_taken_in_whatever_parts(server: Running) -> None:
    head = GET % (b"/at-once", b"X: %b\r\nConnection: close\r\n" % (b"x" * 4000))
    assert len(head) < QUICK.head_bytes
    with server.connect() as connection:
        for begin in range(0, len(head), 500):
            connection.sendall(head[begin : begin + 500])
            time.sleep(0.01)
        assert all_of(connection).endswith(b"ok")


CHUNKED = b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"


def test_trailers_are_no_headers_of_their_request_nor_of_the_next(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(CHUNKED)
        server.eventually(lambda: server.app.asked == ["/read"])
        connection.sendall(b"0\r\nAuthorization: Bearer x\r\nX-Last: y\r\n\r\n")
        assert answer(connection).endswith(b"2")
        connection.sendall(GET % (b"/at-once", b""))
        assert answer(connection).endswith(b"ok")
    assert server.app.headers == [
        [(b"host", b"x"), (b"transfer-encoding", b"chunked")],
        [(b"host", b"x")],
    ]


def test_a_chunked_body_in_small_parts_may_be_larger_than_a_head(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(CHUNKED)
        for _ in range(2 * QUICK.head_bytes // 100):
            connection.sendall(b"64\r\n")
            connection.sendall(b"x" * 100 + b"\r\n")
        connection.sendall(b"0\r\n\r\n" + GET % (b"/at-once", b""))
        received = all_of(connection)
        assert received.count(b"HTTP/1.1 200 OK") == 2
        assert b"8102" in received


# ── what is no request ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /read HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /read HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /at-once HTTP/1.1\r\n\r\n",
        b"GET /at-once HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        b"GET /at-once HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n",
        b"GET /at-once HTTP/1.1\r\nHost: x, y/z@a\r\n\r\n",
        b"POST /read HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_not_http_is_told_so_as_a_problem_document(server: Running, sent: bytes) -> None:
    """OWASP ASVS V4.2.1; RFC 9112, sections 2.2 and 3.2"""
    with server.connect() as connection, taking(0, 2):
        connection.sendall(sent)
        assert problem(all_of(connection))["code"] == "request_malformed"


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET /at-once HTTP/2.0\r\nHost: x\r\n", 505, "http_version_unknown"),
        (b"GET /at-once HTTP/0.9\r\n", 505, "http_version_unknown"),
        (b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n", 501, "transfer_coding_unknown"),
        (b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n", 501, "transfer_coding_unknown"),
        (
            b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            501,
            "transfer_coding_unknown",
        ),
        (b"POST /read HTTP/1.1\r\nHost: x\r\nExpect: the best\r\nContent-Length: 2\r\n", 417, "expectation_failed"),
    ],
)
def test_what_is_not_spoken_here_is_told_so(server: Running, sent: bytes, status: int, code: str) -> None:
    """OWASP ASVS V4.2.1; RFC 9112, 2.3 and 6.1; RFC 9110, 10.1.1: behind a body whose end is not sure is no request."""
    with server.connect() as connection, taking(0, 2):
        connection.sendall(sent + b"X-Request-ID: mine\r\n\r\n" + GET % (b"/smuggled", b""))
        told = problem(all_of(connection))
    assert (told["status"], told["code"], told["request_id"]) == (status, code, "mine")
    assert server.app.asked == []


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /at-once HTTP/1.0\r\n\r\n",
        b"GET /at-once HTTP/1.1\r\nhost:\r\nConnection: close\r\n\r\n",
        b"GET /at-once HTTP/1.1\r\nHOST: [::1]:8000\r\nConnection: close\r\n\r\n",
        b"GET /at-once HTTP/1.1\r\nHost: under_score.example:80\r\nConnection: close\r\n\r\n",
        b"POST /read HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
        b"POST /at-once HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: CHUNKED \r\nConnection: close\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_may_be_left_out_or_written_otherwise_is_taken(server: Running, sent: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(sent)
        received = all_of(connection)
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_head_request_that_is_refused_gets_no_body(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(b"HEAD /at-once HTTP/1.1\r\n\r\n")
        received = all_of(connection)
    assert received.startswith(b"HTTP/1.1 400 ")
    assert received.endswith(b"\r\n\r\n")


def test_each_request_of_a_connection_names_its_own_host(server: Running) -> None:
    with server.connect() as connection:
        for _ in range(2):
            connection.sendall(GET % (b"/at-once", b""))
            assert answer(connection).startswith(b"HTTP/1.1 200 OK")
        connection.sendall(b"GET /at-once HTTP/1.1\r\n\r\n")
        assert b"HTTP/1.1 400 " in all_of(connection)


def test_the_callers_id_comes_back_with_what_is_refused(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(GET % (b"/at-once", b"X-Request-ID: mine\r\nX: %b\r\n" % (b"x" * 5000)))
        assert problem(all_of(connection))["request_id"] == "mine"


def test_requests_before_a_broken_one_get_their_answers(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(GET % (b"/held", b"") + GET % (b"/at-once", b"") + b"nonsense\r\n\r\n")
        time.sleep(0.1)
        server.let_go()
        assert all_of(connection).count(b"HTTP/1.1 200 OK") == 2


def test_a_broken_body_in_a_pipeline_takes_no_answer_from_those_before(server: Running) -> None:
    broken = b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    with server.connect() as connection:
        connection.sendall(GET % (b"/held", b"") + GET % (b"/at-once", b"") + broken)
        time.sleep(0.1)
        server.let_go()
        assert all_of(connection).count(b"HTTP/1.1 200 OK") == 2
    assert server.app.asked == ["/held", "/at-once"]


def test_an_upgrade_is_answered_as_if_it_had_not_been_asked_for(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(GET % (b"/at-once", b"Connection: Upgrade\r\nUpgrade: websocket\r\n") + b"\x81\x05hello")
        received = all_of(connection)
        assert received.startswith(b"HTTP/1.1 200 OK")
        assert received.endswith(b"ok")


def test_whoever_has_said_all_they_will_say_still_hears_the_answer(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(GET % (b"/held", b""))
        connection.shutdown(socket.SHUT_WR)
        time.sleep(0.1)
        server.let_go()
        assert all_of(connection).endswith(b"ok")


# ── answers and bodies that dawdle ───────────────────────────────────────────────────────────────────────────────────


def test_whoever_does_not_read_their_answer_is_cut_off(server: Running) -> None:
    late = metrics.timed_out.labels("write")
    before = late._value.get()
    with server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(GET % (b"/much", b""))
        server.eventually(lambda: server.app.asked == ["/much"])
        server.eventually(lambda: server.connections == 0)
    assert late._value.get() == before + 1


def test_what_still_comes_of_an_answered_request_has_a_deadline(server: Running) -> None:
    with server.connect() as connection, taking(0.2, 3), suppress(ConnectionError):
        connection.sendall(b"POST /at-once HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            connection.sendall(b"x")
            time.sleep(0.02)
    assert server.app.asked == ["/at-once"]


# ── too much at once ─────────────────────────────────────────────────────────────────────────────────────────────────


def held(server: Running, until_done: ExitStack, number: int) -> list[socket.socket]:
    """So many requests under way."""
    found = [until_done.enter_context(server.connect()) for _ in range(number)]
    for one in found:
        one.sendall(GET % (b"/held", b""))
    server.eventually(lambda: server.app.asked.count("/held") == number)
    return found


def test_one_request_too_many_is_told_so_before_it_reaches_the_application(server: Running) -> None:
    shed = metrics.shed.labels("in_flight")
    before = shed._value.get()
    with ExitStack() as until_done:
        under_way = held(server, until_done, QUICK.in_flight)
        one_more = until_done.enter_context(server.connect())
        for _ in range(2):  # over the same connection: making a new one each time would cost more than the answer
            one_more.sendall(GET % (b"/at-once", b"X-Request-ID: mine\r\n"))
            received = answer(one_more)
            assert problem(received)["code"] == "unavailable"
            assert b"\r\nretry-after: 1\r\n" in received
            assert b"\r\nx-request-id: mine\r\n" in received
        one_more.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        assert problem(answer(one_more))["code"] == "unavailable"
        assert server.app.asked == ["/held"] * QUICK.in_flight
        assert shed._value.get() == before + 3
        one_more.sendall(GET % (b"/health/live", b""))
        assert answer(one_more).endswith(b"ok")
        one_more.sendall(GET % (b"/metrics", b""))
        assert answer(one_more).endswith(b"ok")
        server.let_go()
        assert all(answer(one).endswith(b"ok") for one in under_way)
        server.eventually(lambda: not server.server.server_state.tasks)
        one_more.sendall(GET % (b"/at-once", b""))
        assert answer(one_more).endswith(b"ok")


def test_the_line_that_tells_of_what_was_turned_away_names_no_other_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is behind a request in its pipeline is turned away by the task of that request, which knows whose it is."""
    stream = io.StringIO()
    logs.configure(Settings(_env_file=None, home=tmp_path, log_format="json"), stream, process="api")
    app = App()

    async def somebodys(scope: Any, receive: Any, send: Any) -> None:
        context.begin("the-first", None)
        context.bind(user_id="somebody", order_id="theirs")
        await app(scope, receive, send)
        logger.info("answered")

    server = Running(somebodys, QUICK)
    try:
        with server.connect() as connection:
            connection.sendall(GET % (b"/held", b"") + GET % (b"/at-once", b""))
            server.eventually(lambda: app.asked == ["/held"])
            monkeypatch.setattr(server.door, "is_full", lambda tasks: True)
            server.server.servers[0].get_loop().call_soon_threadsafe(app.go.set)
            assert all_of(connection).count(b"HTTP/1.1 ") == 1
    finally:
        server.stop()
    told, answered = map(json.loads, stream.getvalue().splitlines())
    assert answered["request_id"] == "the-first"
    assert answered["order_id"] == "theirs"
    assert told["message"] == "too much is asked at once (in_flight)"
    assert told["turned_away"] == 1
    assert told["logger"] == connections.__name__
    assert not {"request_id", "trace_id", "user_id", "order_id"} & set(told)


def test_a_head_request_too_many_gets_no_body(server: Running) -> None:
    with ExitStack() as until_done:
        held(server, until_done, QUICK.in_flight)
        one_more = until_done.enter_context(server.connect())
        one_more.sendall(b"HEAD /at-once HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = all_of(one_more)
        assert received.startswith(b"HTTP/1.1 503 ")
        assert received.endswith(b"\r\n\r\n")
        server.let_go()


def test_a_pipeline_takes_so_many_requests_and_no_more(server: Running) -> None:
    """OWASP ASVS V15.1.3; OWASP API4"""
    shed = metrics.shed.labels("in_flight")
    before = shed._value.get()
    most = connections.PIPELINED
    with server.connect() as connection:
        one_too_many = GET % (b"/at-once", b"X-Request-ID: one-too-many\r\n")
        taken = GET % (b"/held", b"") + GET % (b"/at-once", b"") * most
        connection.sendall(taken + one_too_many + GET % (b"/at-once", b"") * 5000)
        time.sleep(0.1)
        server.let_go()
        received = all_of(connection)
    assert received.count(b"HTTP/1.1 200 OK") == most + 1
    last = received[received.index(b"HTTP/1.1 503 ") :]
    assert problem(last)["code"] == "unavailable"
    assert problem(last)["request_id"] == "one-too-many"
    assert b"\r\nretry-after: 1\r\n" in last
    assert b"\r\nconnection: close\r\n" in last
    assert server.app.asked == ["/held"] + ["/at-once"] * most
    assert shed._value.get() == before + 1


def test_a_pipeline_that_is_just_full_goes_on_when_it_is_answered(server: Running) -> None:
    most = connections.PIPELINED
    with server.connect() as connection:
        for _ in range(2):
            connection.sendall(GET % (b"/at-once", b"") * (most + 1))
            received = b""
            while received.count(b"\r\n\r\nok") <= most:
                part = connection.recv(1 << 20)
                assert part, received
                received += part
        assert b" 503 " not in received
    assert len(server.app.asked) == 2 * (most + 1)


def test_whoever_has_said_too_much_and_all_they_will_say_still_hears_the_answers(server: Running) -> None:
    most = connections.PIPELINED
    with server.connect() as connection:
        connection.sendall(GET % (b"/held", b"") + GET % (b"/at-once", b"") * (most + 5))
        connection.shutdown(socket.SHUT_WR)
        time.sleep(0.1)
        server.let_go()
        assert all_of(connection).count(b"HTTP/1.1 200 OK") == most + 1


def test_whoever_sends_slowly_takes_nobodys_place(server: Running) -> None:
    with ExitStack() as until_done:
        for _ in range(2 * QUICK.in_flight):
            one = until_done.enter_context(server.connect())
            one.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx")
        server.eventually(lambda: len(server.app.asked) == 2 * QUICK.in_flight)
        honest = until_done.enter_context(server.connect())
        honest.sendall(GET % (b"/at-once", b""))
        assert answer(honest).endswith(b"ok")


def test_when_no_more_connections_are_taken_the_one_that_waited_longest_makes_room(server: Running) -> None:
    shed = metrics.shed.labels("connections")
    before = shed._value.get()
    with ExitStack() as until_done:
        (working,) = held(server, until_done, 1)
        silent = [until_done.enter_context(server.connect()) for _ in range(QUICK.connections - 1)]
        server.eventually(lambda: server.connections == QUICK.connections)
        assert shed._value.get() == before
        honest = until_done.enter_context(server.connect())
        honest.sendall(GET % (b"/at-once", b""))
        assert answer(honest).endswith(b"ok")
        assert shed._value.get() == before + 1
        with taking(0, 0.5):
            assert all_of(silent[0]) == b""
        server.let_go()
        assert answer(working).endswith(b"ok")


def test_when_all_connections_have_work_a_newcomer_is_told_so() -> None:
    shed, refused = metrics.shed.labels("connections"), metrics.problems.labels("unavailable")
    before = shed._value.get(), refused._value.get()
    server = Running(App(), QUICK._replace(in_flight=10, connections=3))
    try:
        with ExitStack() as until_done:
            under_way = held(server, until_done, 3)
            newcomer = until_done.enter_context(server.connect())
            assert problem(all_of(newcomer))["code"] == "unavailable"
            assert (shed._value.get(), refused._value.get()) == (before[0] + 1, before[1] + 1)
            server.let_go()
            assert all(answer(one).endswith(b"ok") for one in under_way)
    finally:
        server.stop()


def test_the_bound_on_connections_leaves_files_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr("resource.setrlimit", lambda _what, wanted: asked.append(wanted))
    for allowed, raised, most in [
        ((1024, 4096), [(2200, 4096)], connections.CONNECTIONS),
        ((1024, 1024), [(1024, 1024)], 824),
        ((64, 64), [(64, 64)], 16),
        ((10_000, 10_000), [], connections.CONNECTIONS),
    ]:
        asked.clear()
        monkeypatch.setattr("resource.getrlimit", lambda _what, allowed=allowed: allowed)
        assert connections.limits(7) == Limits(in_flight=7, connections=most)
        assert asked == raised


# ── the whole application ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def engine_name() -> str:
    """One engine will do."""
    return "sqlite"


@pytest.fixture
def whole(settings: Settings) -> Iterator[Running]:
    with application(settings) as app:
        running = Running(app, QUICK._replace(in_flight=100, connections=1000), lifespan="on")
        try:
            yield running
        finally:
            running.stop()


@pytest.fixture
def log(whole: Running, settings: Settings) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(settings.model_copy(update={"log_format": "json"}), stream, process="api")
    return stream


REGISTER = b"POST /register HTTP/1.1\r\nHost: x\r\nX-Request-ID: mine\r\nContent-Type: application/json\r\n"


def the_one(received: bytes, log: io.StringIO) -> str:
    """The code of the only answer that came, whose request has the only line there is, and one id in both."""
    assert received.count(b"HTTP/1.1 ") == 1
    told = problem(received)
    assert b"\r\nconnection: close\r\n" in received
    (line,) = map(json.loads, log.getvalue().splitlines())
    assert (line["request_id"], line["status"]) == (told["request_id"], told["status"]) == ("mine", told["status"])
    assert line["route"] in (
        "/register",
        "none",
    )  # a body that says it is too large is refused before its route is looked for
    assert line["code"] == told["code"]
    return str(told["code"])


@pytest.mark.integration
@pytest.mark.parametrize("more", [b"", b"Expect: 100-continue\r\n"])
@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("ends", [True, False])
def test_a_chunk_that_is_none_is_one_400_under_the_id_of_its_request(
    whole: Running, log: io.StringIO, more: bytes, waits: bool, ends: bool
) -> None:
    """OWASP ASVS V4.2.1; RFC 9112, section 7.1: whether or not the route waits for it, and the client has ended its side."""
    counted = metrics.http_requests.labels("POST", "/register", 400)
    refused = metrics.problems.labels("request_malformed")
    before = counted._value.get(), refused._value.get()
    with whole.connect() as connection:
        connection.sendall(REGISTER + more + b"Transfer-Encoding: chunked\r\n\r\n")
        if waits:
            whole.eventually(lambda: whole.server.server_state.tasks)
            time.sleep(0.05)
        connection.sendall(b"1\r\n{\r\nzz\r\n")
        if ends:
            connection.shutdown(socket.SHUT_WR)
        with taking(0, 2):
            received = all_of(connection)
    if more and (waits or received.startswith(b"HTTP/1.1 100 ")):
        assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        received = received.partition(b"\r\n\r\n")[2]
    assert the_one(received, log) == "request_malformed"
    assert (counted._value.get(), refused._value.get()) == (before[0] + 1, before[1] + 1)
    whole.eventually(lambda: whole.connections == 0)
    assert not whole.door.receiving


@pytest.mark.integration
@pytest.mark.parametrize(
    "sent",
    [b"0\r\n" + b"a: b\r\n" * 20_000, b"0\r\na: " + b"b" * 200_000, b"1;" + b"x" * 200_000],
    ids=lambda sent: sent[:5],
)
def test_what_comes_with_a_body_and_is_none_of_it_has_the_bound_of_a_head(
    whole: Running, log: io.StringIO, sent: bytes
) -> None:
    """OWASP ASVS V15.1.3; OWASP API4"""
    with whole.connect() as connection:
        connection.sendall(REGISTER + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
        with suppress(ConnectionError):
            for begin in range(0, len(sent), 1000):
                connection.sendall(sent[begin : begin + 1000])
                time.sleep(0.001)
        assert the_one(all_of(connection), log) == "head_too_large"


@pytest.mark.integration
def test_a_body_that_says_it_is_too_large_is_told_so_before_it_comes(whole: Running, log: io.StringIO) -> None:
    """OWASP ASVS V4.3.1; OWASP API4: and what comes of it then is read, lest the answer be lost."""
    with whole.connect() as connection:
        connection.sendall(REGISTER + b"Content-Length: 70000\r\n\r\n")
        with taking(0, 0.2):
            assert the_one(answer(connection), log) == "body_too_large"
        with taking(0.2, 1):  # QUICK.rest_within_s: half closed at once, and for good when nobody minds
            connection.sendall(b"x" * 70_000)
            assert all_of(connection) == b""
            whole.eventually(lambda: whole.connections == 0)


@pytest.mark.integration
@pytest.mark.parametrize("chunked", [True, False])
def test_whoever_sends_all_of_a_body_too_large_before_they_listen_hears_of_it(
    whole: Running, log: io.StringIO, chunked: bool
) -> None:
    """OWASP ASVS V4.3.1; OWASP API4"""
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 1000000"
    with whole.connect() as connection:
        connection.sendall(REGISTER + length + b"\r\n\r\n")
        for _ in range(100):
            connection.sendall(b"2710\r\n" + b"x" * 10_000 + b"\r\n" if chunked else b"x" * 10_000)
        assert the_one(all_of(connection), log) == "body_too_large"


@pytest.mark.integration
def test_no_bytes_make_it_fail_or_forget_a_connection(whole: Running, rng: random.Random) -> None:
    seen = asyncio.run(hostile.send_all(HOST, whole.port, rng.getrandbits(32), 300))
    assert not seen.wrong, seen.wrong
    assert seen.statuses[400] > 100
    whole.eventually(lambda: whole.connections == 0)
    assert asyncio.run(hostile.honest(HOST, whole.port, 0.1))


@pytest.mark.integration
def test_sockets_that_dawdle_do_not_keep_an_honest_client_waiting(whole: Running) -> None:
    """OWASP ASVS V15.1.3; OWASP API4"""

    async def story() -> tuple[list[float], int]:
        tasks = await hostile.beset(HOST, whole.port, silent=50, dripping=50, every_s=0.1)
        await asyncio.sleep(0.2)
        took = await hostile.honest(HOST, whole.port, 2)
        there = whole.connections
        await hostile.let_go(tasks)
        return took, there

    took, there = asyncio.run(story())
    assert there > 50
    assert share(took, 0.5) < 0.25
    whole.eventually(lambda: whole.connections == 0)
