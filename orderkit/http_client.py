"""The one way orderkit speaks HTTP to others: pooled, with timeouts, and never following a redirect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from orderkit import reasons
from orderkit.observability import context

MAX_CONNECTIONS = 256
KEEP_IDLE_S = 4.0
"""Below the 5 s after which uvicorn hangs up, so that no call is sent into a connection that is just being closed."""

MAX_ANSWER_BYTES = 64 * 1024
"""Verdicts are a few hundred; what is longer is no verdict, and is not to fill the memory of 256 calls at once."""


def open_session(timeout_s: float) -> aiohttp.ClientSession:
    """A pool of connections in which no call takes more than `timeout_s` seconds in all.

    Must be called on a running loop, which it then belongs to; whoever opens it closes it.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=KEEP_IDLE_S),
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `body` is empty where it was not a JSON object."""

    status: int
    body: dict[str, Any]

    def text(self, name: str) -> str | None:
        """The member `name` of the body, if it is a text with something in it."""
        value = self.body.get(name)
        return value if isinstance(value, str) and value else None


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nothing came back that could be an answer, so what was asked for may or may not have been done.

    `unsent`: it was not, for there was no connection. `failure` is the class of the error, for the log.
    """

    reason: str
    timed_out: bool
    unsent: bool = False
    failure: str = field(default="", compare=False)


async def post_json(
    session: aiohttp.ClientSession, url: str, body: Mapping[str, object], *, headers: Mapping[str, str]
) -> Answer | NoAnswer:
    """One POST, one answer; raises nothing but CancelledError."""
    return await post(session, url, json.dumps(body).encode(), headers=headers)


async def post(
    session: aiohttp.ClientSession, url: str, content: bytes, *, headers: Mapping[str, str]
) -> Answer | NoAnswer:
    """Likewise, of JSON that is bytes already, as one must have them who signs them.

    Says besides in which trace, and for which request, it is called.
    """
    sent = {"Content-Type": "application/json", **context.headers(), **headers}
    try:
        async with session.post(url, data=content, headers=sent, allow_redirects=False) as response:
            answer = await _read(response)
            status = response.status
    except TimeoutError:  # before ClientError: aiohttp's timeouts are both
        return NoAnswer("timed out", timed_out=True)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        unsent = isinstance(error, aiohttp.ClientConnectorError)
        return NoAnswer(reasons.in_words(error), timed_out=False, unsent=unsent, failure=reasons.name(error))
    if answer is None:
        return NoAnswer("answer too long", timed_out=False)
    try:
        parsed = json.loads(answer)
    except (ValueError, RecursionError):
        parsed = None
    return Answer(status, parsed if isinstance(parsed, dict) else {})


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    """The body, decompressed; None if it is longer than MAX_ANSWER_BYTES. The rest is left unread and the connection closed."""
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            response.close()
            return None
    return bytes(content)
