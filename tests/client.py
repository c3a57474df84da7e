"""Calls the API in process, over ASGI, with every byte as the test wants it. Several calls can be under way at once."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote, urlencode

from fastapi import FastAPI
from starlette.datastructures import State

from orderkit.api import problems
from orderkit.api.dependencies import Runtime
from orderkit.app import create_app
from orderkit.auth import sessions
from orderkit.auth.models import User
from orderkit.settings import Settings
from tests import refusals

T = TypeVar("T")
Headers = Mapping[str, str | bytes] | Sequence[tuple[str, str | bytes]]

WITHIN_S = 30.0


@dataclass(frozen=True)
class Answer:
    """What came back; names of headers are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem document, checked to be one that says what its status and request are."""
        assert self.headers["content-type"] == "application/problem+json", self
        problem = self.json()
        assert problem["status"] == self.status
        assert problem["request_id"] == self.headers["x-request-id"]
        assert problem["type"] == f"/problems/{problem['code']}"
        assert problem["title"]
        assert problem["detail"]
        if self.status == 422:
            assert all(
                set(one) == {"pointer", "detail"} and one["pointer"].startswith("#") for one in problem["errors"]
            )
        return str(problem["code"])

    @property
    def pointers(self) -> list[str]:
        return [one["pointer"] for one in self.json()["errors"]]


class Client:
    """An application that runs on an event loop in a thread of its own."""

    def __init__(self, app: FastAPI, loop: asyncio.AbstractEventLoop) -> None:
        self.app = app
        self._loop = loop

    @property
    def runtime(self) -> Runtime:
        runtime: Runtime = self.app.state.runtime
        return runtime

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work` on the application's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WITHIN_S)

    def token(self, user: User) -> dict[str, str]:
        """Headers of a request by `user`, who logs in for it."""
        granted = sessions.start(self.runtime.database, user, days=30)
        issued = self.runtime.tokens.issue(user.id, granted.session_id)
        return {"Authorization": f"Bearer {issued.token}"}

    def get(self, path: str, headers: Headers | None = None) -> Answer:
        return self.run(self.call("GET", path, headers=headers))

    def post(self, path: str, body: Any = None, headers: Headers | None = None) -> Answer:
        return self.run(self.call("POST", path, body, headers=headers))

    def patch(self, path: str, body: Any = None, headers: Headers | None = None) -> Answer:
        return self.run(self.call("PATCH", path, body, headers=headers))

    def form(self, path: str, fields: Mapping[str, str], headers: Headers | None = None) -> Answer:
        sent = [*_pairs(headers), ("Content-Type", "application/x-www-form-urlencoded")]
        return self.run(self.call("POST", path, urlencode(fields).encode(), headers=sent))

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Headers | None = None,
        chunks: Sequence[bytes] = (),
        address: str = "127.0.0.1",
    ) -> Answer:
        """One request. `body` is sent as JSON, or as it is if bytes; `chunks` instead come one by one, of unsaid length.

        `address` is where it seems to come from.
        """
        sent = _pairs(headers)
        names = {name.lower() for name, _ in sent}
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if body is not None and not isinstance(body, bytes) and "content-type" not in names:
            sent.append(("Content-Type", "application/json"))
        if body is not None and "content-length" not in names:
            sent.append(("Content-Length", str(len(content))))
        raw_path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(raw_path),  # as uvicorn does
            "raw_path": raw_path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [
                (name.lower().encode(), value if isinstance(value, bytes) else value.encode("latin-1"))
                for name, value in sent
            ],
            "server": ("test", 80),
            "client": (address, 1),
        }
        answer = await _exchange(self.app, scope, list(chunks) or [content])
        if answer.body and answer.headers.get("content-type") == problems.MEDIA_TYPE:
            refusals.check(method, raw_path, answer.status, answer.body)
        return answer


def _pairs(headers: Headers | None) -> list[tuple[str, str | bytes]]:
    return list(headers.items()) if isinstance(headers, Mapping) else list(headers or ())


async def _exchange(app: FastAPI, scope: dict[str, Any], parts: list[bytes]) -> Answer:
    status, headers, body = 0, {}, b""
    answered = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if parts:
            part = parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(parts)}
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal status, headers, body
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = {name.decode().lower(): value.decode("latin-1") for name, value in message["headers"]}
        else:
            body += message.get("body", b"")
            if not message.get("more_body"):
                answered.set()

    await app(scope, receive, send)
    return Answer(status, headers, body)


_built: list[FastAPI] = []
"""Applications that are not running."""


@contextmanager
def application(settings: Settings) -> Iterator[FastAPI]:
    """One with these settings, for one test at a time.

    Its routes are built at the first request, which takes 40 ms and is most of what a test of the API would do; they
    depend on no setting and keep nothing, so they serve the next test too. One that a test gave a route is left to it.
    """
    app = _built.pop() if _built else create_app(settings)
    app.state.settings = settings
    routes = len(app.routes)
    yield app
    if len(app.routes) == routes and not app.dependency_overrides:
        app.state = State()
        _built.append(app)


@contextmanager
def running(settings: Settings) -> Iterator[Client]:
    """An application with these settings, started, and stopped again at the end."""
    with application(settings) as app:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="api")
        thread.start()
        stopping, started = asyncio.Event(), asyncio.Event()

        async def live() -> None:
            async with app.router.lifespan_context(app):
                started.set()
                await stopping.wait()

        life = asyncio.run_coroutine_threadsafe(live(), loop)
        client = Client(app, loop)
        try:
            client.run(started.wait())
            yield client
        finally:
            loop.call_soon_threadsafe(stopping.set)
            life.result(WITHIN_S)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
