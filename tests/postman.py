"""Runs a folder of a Postman collection as Postman does: in order, with variables, and with scripts in a JavaScript engine."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from py_mini_racer import MiniRacer

SANDBOX = Path(__file__).with_name("postman.js")
MOST_REQUESTS = 500
WITHIN_S = 30


class Tested(NamedTuple):
    """A test that a script made: of which request, and why it failed, if it did."""

    request: str
    test: str
    failed: str | None


@dataclass
class Runner:
    """Runs requests of `collection` with its variables, some of which are given."""

    collection: Mapping[str, Any]
    given: Mapping[str, str]
    tested: list[Tested] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    """Method and address of each request, in order."""

    def __post_init__(self) -> None:
        self.variables = {one["key"]: one["value"] for one in self.collection["variable"]} | dict(self.given)
        self._engine = MiniRacer()
        self._engine.eval(SANDBOX.read_text(encoding="utf-8"))

    def run(self, folder: str) -> None:
        """All requests of the folder; a script that names the next one is followed."""
        [found] = [one for one in self.collection["item"] if one["name"] == folder]
        items = found["item"]
        at = 0
        while at < len(items):
            assert len(self.sent) < MOST_REQUESTS, "it goes round in circles"
            following = self._send(items[at])
            at = at + 1 if following is None else [one["name"] for one in items].index(following)

    def _send(self, item: Mapping[str, Any]) -> str | None:
        self._script(item, "prerequest", None)
        request = item["request"]
        url = self._filled(self._address(request["url"]))
        headers = {one["key"]: self._filled(one["value"]) for one in request["header"] if not one.get("disabled")}
        headers |= self._authorization(request.get("auth", self.collection["auth"]))
        body = self._body(request.get("body"), headers)
        self.sent.append(f"{request['method']} {url}")
        answer = _exchange(urllib.request.Request(url, body, headers, method=request["method"]))
        return self._script(item, "test", answer)

    def _address(self, url: Mapping[str, Any]) -> str:
        named = {one["key"]: one["value"] for one in url.get("variable", ())}
        steps = [named[step[1:]] if step.startswith(":") else step for step in url["path"]]
        query = {one["key"]: one["value"] for one in url.get("query", ()) if not one.get("disabled")}
        return "/".join((*url["host"], *steps)) + (f"?{urlencode(query)}" if query else "")

    def _authorization(self, auth: Mapping[str, Any]) -> dict[str, str]:
        if auth["type"] == "noauth":
            return {}
        [token] = [one["value"] for one in auth["bearer"] if one["key"] == "token"]
        return {"Authorization": f"Bearer {self._filled(token)}"}

    def _body(self, body: Mapping[str, Any] | None, headers: dict[str, str]) -> bytes | None:
        if body is None:
            return None
        if body["mode"] == "urlencoded":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            return urlencode({one["key"]: self._filled(one["value"]) for one in body["urlencoded"]}).encode()
        return self._filled(body["raw"]).encode()

    def _filled(self, text: str) -> str:
        """`text` with its variables. Raises KeyError for one that is not known, and fails for one that is empty."""

        def value(match: re.Match[str]) -> str:
            name = match[1]
            found = str(uuid.uuid4()) if name == "$guid" else self.variables[name]
            assert found, f"{name} has no value yet"
            return found

        return re.sub(r"{{([$\w]+)}}", value, text)

    def _script(self, item: Mapping[str, Any], listen: str, answer: Mapping[str, Any] | None) -> str | None:
        """Runs the scripts of that kind; the name of the request that is to follow, if one says so."""
        following: str | None = None
        for event in item.get("event", ()):
            if event["listen"] != listen:
                continue
            state = {"variables": self.variables, "answer": answer, "name": item["name"]}
            source = "\n".join(event["script"]["exec"])
            guids = [str(uuid.uuid4()) for _ in range(9)]
            done = json.loads(str(self._engine.call("run", json.dumps(state), source, guids)))
            self.variables = done["variables"]
            self.tested += [Tested(item["name"], one["name"], one["failed"]) for one in done["tests"]]
            following = done["next"]
            time.sleep(done["waits"] / 1000)
        return following


def _exchange(request: urllib.request.Request) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(request, timeout=WITHIN_S) as response:
            return _told(response)
    except urllib.error.HTTPError as error:
        with error:
            return _told(error)


def _told(response: Any) -> dict[str, Any]:
    return {"status": response.status, "headers": dict(response.headers), "body": response.read().decode()}
