"""What comes before a request is one: connections, heads, and their bounds. What cannot be served is refused here, cheaply.

uvicorn's protocol over httptools has no deadline for a head and no bound on its size, keeps a socket that says nothing for ever,
answers what it cannot parse in plain text, and makes a task for each request before anybody can say that it is one too many.
"""

from __future__ import annotations

import asyncio
import contextvars
import resource
from asyncio.events import TimerHandle
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

import httptools
from loguru import logger
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from orderkit.api import edge, problems
from orderkit.errors import (
    CodingUnknown,
    ExpectationUnknown,
    HeadTooLarge,
    OrderkitError,
    RequestLate,
    RequestMalformed,
    VersionUnknown,
)
from orderkit.observability import context, logs, metrics

IN_FLIGHT = 256
CONNECTIONS = 2000
PIPELINED = 16
HEAD_BYTES = 32 * 1024
HEAD_WITHIN_S = 10.0
IDLE_S = 75.0
"""Longer than the 60 s for which load balancers keep theirs: closed here first, one of their requests would meet nobody."""
REST_WITHIN_S = 2.0
REST_BYTES = 4 * 1024 * 1024
READ_WITHIN_S = 10.0
RETRY_AFTER_S = 1

CLOSED = {"Connection": "close"}

LOOKED_AT = frozenset((b"host", b"expect", b"transfer-encoding"))
"""Headers that say where a request ends or whom it is for, which is not guessed (RFC 9112, sections 3.2 and 6.1)."""
IN_HOST = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=%:[]"

EXEMPT = tuple(path.encode() for path in problems.WATCHED)
"""Never turned away."""

FILES_BESIDES = 200
"""Open files of a process that are not connections: the database, the log, the pools."""
_TELL_EVERY_S = 5.0


class Limits(NamedTuple):
    """Of one process. Seconds, bytes, or a number."""

    in_flight: int = IN_FLIGHT
    """Requests under way. One whose body is still to come is not: whoever sends slowly takes nobody's place."""
    connections: int = CONNECTIONS
    head_bytes: int = HEAD_BYTES
    head_within_s: float = HEAD_WITHIN_S
    """For the whole head, since the connection was made or since its first byte."""
    idle_s: float = IDLE_S
    """Until a kept connection sends its next request."""
    rest_within_s: float = REST_WITHIN_S
    """For what still comes of a request that has its answer already."""
    read_within_s: float = READ_WITHIN_S
    """For a client to read of its answer what does not fit into buffers."""


class Door:
    """What the connections of one process share. `connection` makes one, as uvicorn asks for its `http` protocol."""

    def __init__(self, limits: Limits, *, https_only: bool = False) -> None:
        """With `https_only` every answer tells browsers so."""
        self.limits = limits
        self.waiting: dict[Connection, None] = {}
        """Connections without a request under way, the one that has waited longest first."""
        self.receiving: set[Connection] = set()
        """Those with a request under way whose body is still to come."""
        self._also = (edge.HTTPS_ONLY,) if https_only else ()
        self._told_at = 0.0
        self._untold = 0

    def connection(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Connection:
        return Connection(self, config, server_state, app_state, _loop)

    def is_full(self, tasks: int) -> bool:
        """Whether no further request can be taken, with so many tasks."""
        return tasks - len(self.receiving) >= self.limits.in_flight

    def make_room(self, newcomer: Connection) -> bool:
        """Closes the connection that has waited longest for a request; whether there is one beside the newcomer."""
        longest = next(iter(self.waiting))
        if longest is newcomer:
            return False
        del self.waiting[longest]
        longest.end()
        return True

    def shed(self, reason: str, tasks: int) -> None:
        """Counts what is turned away, and says so in the log now and then: a line for each would cost more than it."""
        _shed(reason).inc()
        _problems("unavailable").inc()
        self._untold += 1
        now = asyncio.get_running_loop().time()
        if now >= self._told_at + _TELL_EVERY_S:
            told = logger.bind(turned_away=self._untold, under_way=tasks)
            # Whatever runs here may be a task whose request it is not; the line must not name that one's user and order.
            contextvars.Context().run(told.warning, "too much is asked at once ({})", reason)
            self._told_at, self._untold = now, 0

    def answer(
        self,
        code: str,
        detail: str,
        ids: context.RequestIds,
        date: list[tuple[bytes, bytes]],
        *,
        keep: bool,
        body: bool,
    ) -> bytes:
        """A whole answer, made of what was made beforehand."""
        before, between, after = _premade(code, detail, self._also)
        request_id = ids.request_id.encode()
        parts = [
            before[0],
            *(b"%b: %b\r\n" % one for one in date),
            before[1] % (len(between) + len(request_id) + len(after)),
            b"x-request-id: %b\r\ntraceparent: %b\r\n" % (request_id, ids.traceparent.encode()),
            b"\r\n" if keep else b"connection: close\r\n\r\n",
        ]
        if body:
            parts += (between, request_id, after)
        return b"".join(parts)


@lru_cache(maxsize=32)
def _premade(code: str, detail: str, also: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[bytes, bytes], bytes, bytes]:
    """The head of an answer, but for what differs each time, and its body around the request id."""
    status = problems.KINDS[code].status
    headers = [
        (b"content-type", problems.MEDIA_TYPE.encode()),
        *edge.ALWAYS,
        edge.UNLESS_SAID,
        *also,
    ]
    if status == 503:
        headers.append((b"retry-after", b"%d" % RETRY_AFTER_S))
    head = b"".join(b"%b: %b\r\n" % one for one in headers) + b"content-length: %d\r\n"
    return (STATUS_LINE[status], head), *problems.around_the_id(code, detail)


@lru_cache(maxsize=8)
def _shed(reason: str) -> Any:
    return metrics.shed.labels(reason)


@lru_cache(maxsize=8)
def _problems(code: str) -> Any:
    return metrics.problems.labels(code)


class _Stage(Enum):
    """How far the message has come that is being read. Its answer may be far behind, or there already."""

    BETWEEN = 0
    HEAD = 1
    BODY = 2


class _Answered:
    """Stands where uvicorn expects the cycle of a request that was answered without one."""

    response_complete = True
    keep_alive = True
    message_event = asyncio.Event()


_ANSWERED = _Answered()


class _Broken(asyncio.Event):
    """Stands where a request waits for more of its body once no more can come: whoever reads on is told why."""

    def __init__(self, error: OrderkitError) -> None:
        super().__init__()
        self._error = error

    async def wait(self) -> NoReturn:
        raise self._error

    def clear(self) -> None:  # called by whoever waits already, and has been woken
        raise self._error


class _Out:
    """The transport as a request under way knows it. Closed while its client still sends, it would take the answer from them."""

    def __init__(self, connection: Connection) -> None:
        self.write = connection.transport.write
        self.is_closing = connection.transport.is_closing
        self._connection = connection

    def close(self) -> None:
        if not self._connection.lingers():
            self._connection.transport.close()


class Connection(HttpToolsProtocol):
    """One connection. What is said of requests in a pipeline holds for the one that is read just now."""

    def __init__(
        self,
        door: Door,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._door = door
        self._limits = door.limits
        self.timeout_keep_alive = door.limits.idle_s  # type: ignore[assignment]  # seconds; uvicorn's are whole
        self._stage = _Stage.BETWEEN
        self._running: RequestResponseCycle | None = None
        """The last that was begun; `cycle` is the last that was read, and may still wait in the pipeline."""
        self._head_bytes = 0
        self._head_timer: TimerHandle | None = None
        self._read_timer: TimerHandle | None = None
        self._refused = False
        self._overfull = False
        """Whether one too many came in the pipeline, which hears so when those before it have their answers."""
        self._rest_bytes = 0
        self.url = b""
        self._out: _Out
        self._fault: OrderkitError | None = None
        self._has_host = False
        self._is_chunked = False

    # ── what the transport says ──────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._out = _Out(self)
        self._door.waiting[self] = None
        if len(self.connections) > self._limits.connections:
            self._door.shed("connections", len(self.tasks))
            if not self._door.make_room(self):
                self._answer_unavailable(keep=False)
                return
        self._head_timer = self.loop.call_later(self._limits.head_within_s, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True  # uvicorn tells the last only
            self._running.message_event.set()
        self._door.waiting.pop(self, None)
        self._door.receiving.discard(self)
        self._unset_keepalive_if_required()
        self._unset_head_timer()
        self._unset_read_timer()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            self._rest_bytes += len(data)
            if self._rest_bytes > REST_BYTES:
                self.transport.abort()
            return
        if self._stage is _Stage.BETWEEN:
            self._unset_keepalive_if_required()
            self._head_bytes = len(data)
        else:  # of a body, what has come since its last byte: trailers, and what is said beside chunks
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Nothing here can be upgraded. The request is answered as if it had not asked; what follows is not HTTP.
            self._hear_no_more()
        except httptools.HttpParserError:
            self._refuse(self._fault or RequestMalformed("this is not HTTP", headers=CLOSED))
        else:
            self._watch()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Whether to keep the connection: whoever has said all they will say still wants to hear the answer."""
        if (self._stage is _Stage.BETWEEN or self._refused) and self._is_under_way():
            self.cycle.keep_alive = False
            return True
        return None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unset_read_timer()
        self._read_timer = self.loop.call_later(self._limits.read_within_s, self._reading_is_late)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unset_read_timer()

    # ── what the parser says ─────────────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        self._stage = _Stage.HEAD
        self._has_host = self._is_chunked = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._refused or self.transport.is_closing():
            self.cycle = _ANSWERED  # type: ignore[assignment]
            return
        if self._head_bytes > self._limits.head_bytes:  # of which a body may be a part
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            self._require_head_of(size)
        if not self._has_host or self.parser.get_http_version() != "1.1":
            self._look_at_version(self.parser.get_http_version())
        if self._fault is not None:
            raise self._fault
        if len(self.pipeline) >= PIPELINED:  # paused reading is no bound: thousands of requests fit into one part
            self._overfull = True
            raise ValueError("too many in the pipeline")
        self._head_bytes = 0
        self._unset_head_timer()
        self._door.waiting.pop(self, None)
        if not self._is_under_way() and self._door.is_full(len(self.tasks)) and not self.url.startswith(EXEMPT):
            keep = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
            self._door.shed("in_flight", len(self.tasks))
            self._answer_unavailable(keep=keep)
        else:
            super().on_headers_complete()
        self._stage = _Stage.BODY

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._stage is _Stage.BODY:  # uvicorn would put trailers among the headers of a request under way
            return
        name = name.lower()
        if name in LOOKED_AT:
            self._look_at(name, value)
        self.headers.append((name, value))

    def _look_at(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            if self._has_host or value.translate(None, IN_HOST):
                self._fault = RequestMalformed("a request names one Host", headers=CLOSED)
            self._has_host = True
        elif name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
            if not self.expect_100_continue:
                self._fault = ExpectationUnknown("nothing can be expected but 100-continue", headers=CLOSED)
        else:
            if self._is_chunked or value.strip().lower() != b"chunked":
                told = "a body comes with its length, or is chunked and nothing else"
                self._fault = CodingUnknown(told, headers=CLOSED)
            self._is_chunked = True

    def _look_at_version(self, version: str) -> None:
        """Of a head that names no host, or is not of HTTP/1.1."""
        if version == "1.0":
            self.expect_100_continue = False  # there is no 100 in it (RFC 9110, section 10.1.1)
            if self._is_chunked:
                self._fault = RequestMalformed("HTTP/1.0 knows no chunks", headers=CLOSED)
        elif version != "1.1":
            self._fault = VersionUnknown("this speaks HTTP/1.1 and HTTP/1.0", headers=CLOSED)
        elif not self._has_host:
            self._fault = RequestMalformed("a request names one Host", headers=CLOSED)

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0  # if the next head begins in this part, it is counted from the next part on
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._stage = _Stage.BETWEEN
        self._door.receiving.discard(self)
        super().on_message_complete()
        if self.cycle.response_complete:
            self._be_idle()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        cycle.transport = self._out  # type: ignore[assignment]  # it writes and closes, no more
        super()._start_asgi_task(cycle, app)

    # ── what the application says ────────────────────────────────────────────────────────────────────────────────────

    def on_response_complete(self) -> None:
        self._door.receiving.discard(self)
        if self.pipeline and self._door.is_full(len(self.tasks) - 1):
            # Answers in a pipeline keep their order, so one cannot be turned away before those ahead of it.
            self.pipeline.clear()
            self._door.shed("in_flight", len(self.tasks))
            self.transport.close()
        super().on_response_complete()
        if self.transport.is_closing():
            self.end()
        elif self._overfull and not self._is_under_way():
            self._door.shed("in_flight", len(self.tasks))
            self._answer_unavailable(keep=False)
        elif self.lingers():
            self._linger()
        elif self._stage is _Stage.BODY and not self._is_under_way():
            self._expect_rest()
        elif not self._is_under_way():
            self._door.waiting[self] = None
            if self._stage is _Stage.HEAD:  # the next has begun to come, and has its own deadline
                self._unset_keepalive_if_required()
                self._watch()

    def shutdown(self) -> None:
        super().shutdown()
        if self.transport.is_closing():
            self.end()

    # ── deadlines ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _watch(self) -> None:
        """After each part: whatever the client owes now, it owes by some time."""
        if self._stage is not _Stage.BETWEEN:
            self._require_head_of(self._head_bytes, raised=False)
            if self._refused:
                return
        idle = not self._is_under_way() and self.timeout_keep_alive_task is None
        if self._stage is _Stage.HEAD or (self._stage is _Stage.BETWEEN and idle):
            if self._head_timer is None and not self._refused:
                self._head_timer = self.loop.call_later(self._limits.head_within_s, self._head_is_late)
        elif self._stage is _Stage.BODY:
            if self._is_under_way():
                if not self.pipeline:
                    self._door.receiving.add(self)
            elif idle:
                self._expect_rest()

    def _require_head_of(self, size: int, *, raised: bool = True) -> None:
        """Refuses a head, or trailers, too large; within the parser, by raising what it passes on as its own error."""
        if size <= self._limits.head_bytes:
            return
        most = self._limits.head_bytes
        self._fault = HeadTooLarge(f"request line and headers have at most {most} bytes", headers=CLOSED)
        if raised:
            raise self._fault
        self._refuse(self._fault)

    def _be_idle(self) -> None:
        """All is answered, and all was read."""
        self._unset_keepalive_if_required()
        if self.transport.is_closing():
            return
        self._door.waiting[self] = None
        self.timeout_keep_alive_task = self.loop.call_later(self._limits.idle_s, self.timeout_keep_alive_handler)

    def _expect_rest(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self._limits.rest_within_s, self.end)

    def timeout_keep_alive_handler(self) -> None:
        self.end()

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._is_under_way():  # half of the next head is no reason to cut off the answer to this one
            self._hear_no_more()
        elif self._stage is _Stage.HEAD:
            metrics.timed_out.labels("head").inc()
            self._refuse(
                RequestLate(f"the head did not arrive within {self._limits.head_within_s:g} s", headers=CLOSED)
            )
        else:
            self.end()

    def _reading_is_late(self) -> None:
        metrics.timed_out.labels("write").inc()
        self.transport.abort()

    def end(self) -> None:
        """Closes when what was written is sent, or when it was not in time."""
        self.transport.close()
        if self._read_timer is None and self.transport.get_write_buffer_size():
            self._read_timer = self.loop.call_later(self._limits.read_within_s, self._reading_is_late)

    def _unset_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _unset_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    # ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _is_under_way(self) -> bool:
        """Whether a request waits for its answer."""
        return self.cycle is not None and not self.cycle.response_complete

    def _answer_unavailable(self, *, keep: bool) -> None:
        """Answers 503 in place of the application."""
        bodiless = bool(self.url) and self.parser.get_method() == b"HEAD"
        self._write("unavailable", "too much is asked at once; try again in a moment", keep=keep, body=not bodiless)
        self.cycle = _ANSWERED  # type: ignore[assignment]
        if not keep:
            self._linger()

    def _refuse(self, error: OrderkitError) -> None:
        """Answers what is no request, and hears no more of this connection."""
        self._unset_head_timer()
        if not self._is_under_way():
            bodiless = bool(self.url) and self.parser.get_method() == b"HEAD"
            ids = self._write(error.code, error.detail, keep=False, body=not bodiless)
            self._linger()
            contextvars.Context().run(
                self._record, ids, error.code
            )  # the connection's own must not remember the request
        elif self._stage is not _Stage.BODY or self.cycle is not self._running:
            if self._stage is _Stage.BODY:
                self.pipeline.popleft()
                self.cycle = self.pipeline[0][0] if self.pipeline else self._running  # type: ignore[assignment]
            self._hear_no_more()  # the requests before it still get their answers
        elif self.cycle.response_started:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.transport.abort()
        else:  # the body of the one that is under way is broken: it is answered like any other, under its own id
            self._door.receiving.discard(self)
            self.cycle.waiting_for_100_continue = False
            waiting, self.cycle.message_event = self.cycle.message_event, _Broken(error)
            waiting.set()
            self._hear_no_more()

    def _hear_no_more(self) -> None:
        """Answers what has come, closes then, and throws away what else comes."""
        self._refused = True
        if not self._is_under_way():
            self._linger()
        elif not self._overfull:
            self.cycle.keep_alive = False

    def lingers(self) -> bool:
        """Whether the answer to the last request is complete and ends the connection while its body still comes."""
        return self._stage is _Stage.BODY and self.cycle.response_complete and not self.cycle.keep_alive

    def _linger(self) -> None:
        """Half closes, and closes when the client has: closed at once, what it still sends would take the answer from it."""
        self._refused = True
        self._unset_head_timer()
        self._unset_keepalive_if_required()
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
        self.timeout_keep_alive_task = self.loop.call_later(self._limits.rest_within_s, self.transport.abort)

    def _write(self, code: str, detail: str, *, keep: bool, body: bool = True) -> context.RequestIds:
        """Gives the ids under which it was answered."""
        ids = context.made(self._sent(b"x-request-id"), self._sent(b"traceparent"))
        date = self.server_state.default_headers
        self.transport.write(self._door.answer(code, detail, ids, date, keep=keep, body=body))
        return ids

    def _sent(self, name: bytes) -> str | None:
        return next((value.decode("latin-1") for one, value in self.headers or () if one == name), None)

    def _record(self, ids: context.RequestIds, code: str) -> None:
        context.enter(ids)
        status = problems.KINDS[code].status
        metrics.http_requests.labels("other", "none", status).inc()
        _problems(code).inc()
        client = self.client[0] if self.client else None
        logs.write("INFO", f"no request: {status}", {"route": "none", "status": status, "code": code, "client": client})


def limits(in_flight: int) -> Limits:
    """Those of this process: as many connections as it may have files open for, after it has asked to be allowed more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + FILES_BESIDES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    most = CONNECTIONS if soft == resource.RLIM_INFINITY else min(CONNECTIONS, max(16, soft - FILES_BESIDES))
    return Limits(in_flight=in_flight, connections=most)
