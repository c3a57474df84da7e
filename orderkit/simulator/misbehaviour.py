"""Failing on demand: which of the next calls misbehave, and what a caller meets that gets no answer."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from orderkit.simulator.requests import Behavior, Mode, Target

HOLD_S = 30.0
SLOW_S = 2.0

_TRANSPORT = "orderkit.transport"


class Misbehaviour:
    """What was asked for and is still to come, first come first served. In memory: a restart forgets it."""

    def __init__(self) -> None:
        self._waiting: dict[Target, deque[tuple[Mode, int]]] = {"gateway": deque(), "carrier": deque()}

    def plan(self, behavior: Behavior) -> None:
        """The next `count` calls, after those that were planned before."""
        self._waiting[behavior.target].append((behavior.mode, behavior.count))

    def take(self, target: Target) -> Mode | None:
        """How the call that has just come is to misbehave, if at all."""
        waiting = self._waiting[target]
        if not waiting:
            return None
        mode, left = waiting.popleft()
        if left > 1:
            waiting.appendleft((mode, left - 1))
        return mode

    def forget(self) -> int:
        """Nothing misbehaves any more; how many calls would have."""
        left = sum(count for waiting in self._waiting.values() for _, count in waiting)
        for waiting in self._waiting.values():
            waiting.clear()
        return left

    def plans(self) -> list[dict[str, Any]]:
        return [
            {"target": target, "mode": mode, "count": count}
            for target, waiting in self._waiting.items()
            for mode, count in waiting
        ]


class TransportAware(Starlette):
    """Keeps hold of the connection, which a request cannot reach once Starlette has wrapped it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[_TRANSPORT] = getattr(getattr(send, "__self__", None), "transport", None)
        await super().__call__(scope, receive, send)


class HangUp(Response):
    """Cuts the connection without a word; a server that does not show its transport answers 503 instead."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = scope.get(_TRANSPORT)
        if transport is None:
            await JSONResponse({"code": "down"}, 503)(scope, receive, send)
            return
        transport.abort()
        await _gone(receive)


async def hold(request: Request, draining: asyncio.Event) -> Response:
    """Leaves the caller waiting until it goes, the server drains or HOLD_S are over, and then hangs up."""
    ends = [asyncio.ensure_future(_gone(request.receive)), asyncio.ensure_future(draining.wait())]
    try:
        await asyncio.wait(ends, timeout=HOLD_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for end in ends:
            end.cancel()
    return HangUp()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
