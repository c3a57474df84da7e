"""Inner parts of libraries that orderkit builds on, where they have no hook (docs/decisions/0017-connections.md).

No bound on a version says which release changes one of them. This does: a part that reads otherwise than when ours was written
for it fails here by name, before some test over a socket fails for a reason that nobody sees.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from sqlalchemy.pool import QueuePool
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server

from orderkit.api.connections import Connection, _Out

CONNECTIONS, SERVING, SILENCE, POOLS = "api/connections.py", "serving.py", "silence.py", "observability/pools.py"

PARTS: tuple[tuple[str, Callable[..., Any], str], ...] = (
    (CONNECTIONS, HttpToolsProtocol.__init__, "c0420ad3043a"),
    (CONNECTIONS, HttpToolsProtocol.connection_made, "8c1d055fd33a"),
    (CONNECTIONS, HttpToolsProtocol.connection_lost, "25fdeb43f2df"),
    (CONNECTIONS, HttpToolsProtocol.eof_received, "1db22b08a5f3"),
    (CONNECTIONS, HttpToolsProtocol.data_received, "e74b210e3c04"),
    (CONNECTIONS, HttpToolsProtocol.on_message_begin, "c456bff183cd"),
    (CONNECTIONS, HttpToolsProtocol.on_header, "b89cbbc6db2a"),
    (CONNECTIONS, HttpToolsProtocol.on_headers_complete, "8dfdf4fc3b4f"),
    (CONNECTIONS, HttpToolsProtocol._start_asgi_task, "c8c773c7e2d0"),
    (CONNECTIONS, HttpToolsProtocol.on_body, "a02fa52bdf33"),
    (CONNECTIONS, HttpToolsProtocol.on_message_complete, "87e5be1faf50"),
    (CONNECTIONS, HttpToolsProtocol.on_response_complete, "bf257afb094e"),
    (CONNECTIONS, HttpToolsProtocol.shutdown, "5a14f88f62ab"),
    (CONNECTIONS, HttpToolsProtocol.pause_writing, "cc92a21fed11"),
    (CONNECTIONS, HttpToolsProtocol.resume_writing, "3b9d593656c3"),
    (CONNECTIONS, HttpToolsProtocol.timeout_keep_alive_handler, "cdca7c895805"),
    (CONNECTIONS, HttpToolsProtocol.on_url, "5ffd0eec34d7"),
    (CONNECTIONS, HttpToolsProtocol._unset_keepalive_if_required, "df160182c46a"),
    (CONNECTIONS, RequestResponseCycle.__init__, "04bbc9d9c79f"),
    (CONNECTIONS, RequestResponseCycle.run_asgi, "7483b9764662"),
    (CONNECTIONS, RequestResponseCycle.send, "d744b2b1d727"),
    (CONNECTIONS, RequestResponseCycle.receive, "e7a392a4367a"),
    (CONNECTIONS, FlowControl, "9e84e1d3268e"),
    (SERVING, Server.capture_signals, "8ad971b4e4ae"),
    (SERVING, Server.handle_exit, "b1106ed1450f"),
    (SERVING, Server.on_tick, "440f627a794d"),
    (SERVING, Server.shutdown, "b4f26fef0616"),
    (SILENCE, psycopg.Connection.wait, "c94dbf46c50d"),
    (POOLS, QueuePool._do_get, "5f8fa5284623"),
    (POOLS, QueuePool._do_return_conn, "091624820093"),
)
"""Who builds on it, the part, and how it read then."""


def bare(source: str) -> str:
    """Code without what is said beside it and without its layout."""
    return re.sub(r'"""(?s:.)*?"""|#[^\n]*|\s+', "", source)


def reading(part: Callable[..., Any]) -> str:
    return hashlib.sha256(bare(inspect.getsource(part)).encode()).hexdigest()[:12]


@pytest.mark.parametrize(("ours", "part", "then"), PARTS, ids=lambda one: getattr(one, "__qualname__", None))
def test_a_part_that_ours_builds_on_is_what_it_was(ours: str, part: Callable[..., Any], then: str) -> None:
    assert reading(part) == then, (
        f"{part.__module__}.{part.__qualname__} is not what it was when orderkit/{ours} was written for it: read what changed, "
        f"mend that file if it must be, run its tests, and then put {reading(part)!r} here"
    )


def test_every_method_of_uvicorns_protocol_that_ours_replaces_or_calls_is_watched() -> None:
    watched = {part.__name__ for _, part, _ in PARTS if part.__qualname__.startswith(HttpToolsProtocol.__name__)}
    replaced = {
        name for name in vars(HttpToolsProtocol) if name in vars(Connection) and callable(getattr(Connection, name))
    }
    assert replaced <= watched


def test_a_request_does_with_its_transport_only_what_ours_can() -> None:
    wanted = set(re.findall(r"self\.transport\.(\w+)", inspect.getsource(RequestResponseCycle)))
    assert wanted == {"write", "close", "is_closing"}
    assert wanted <= {*vars(_Out), *re.findall(r"self\.(\w+) = connection", inspect.getsource(_Out))}


def test_what_is_said_beside_code_is_none_of_it() -> None:
    code = 'def one() -> int:\n    """Says so."""\n    return 1{}\n'
    assert bare(code.format("  # and why")) == bare(code.format("")) != bare(code.format("0"))
