"""The examples in the document of the API, all of one small shop. Tests execute each, and wrote down the answers."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from orderkit.api.examples import requests

ANSWERS = "answers.json"


@cache
def answers() -> dict[str, dict[str, Any]]:
    """What was answered to each operation's examples, by status; null where there is no body.

    Ids, times and secrets are those of `world`.
    """
    found: dict[str, dict[str, Any]] = json.loads(files(__name__).joinpath(ANSWERS).read_text(encoding="utf-8"))
    return found


def slug(summary: str) -> str:
    """The name of an example in the document."""
    return re.sub(r"[^a-z0-9]+", "_", summary.lower()).strip("_")


def describe(openapi: dict[str, Any]) -> None:
    """Puts into the document an example of every parameter, body and answer that can have one.

    Passes over what has none yet: it is a test that asks for one, and no route is to fail for it.
    """
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            _describe(f"{method.upper()} {path}", operation)


def _describe(name: str, operation: dict[str, Any]) -> None:
    for one in operation.get("parameters", ()):
        if one["in"] == "path" and one["name"] in requests.IN_PATHS:
            one.setdefault("description", requests.IN_PATHS[one["name"]][0])
        if (name, one["name"]) in requests.DESCRIBED:
            one["description"] = requests.DESCRIBED[name, one["name"]]
        example = requests.parameter(name, one["in"], one["name"])
        if example is not None:
            one["example"] = example
    for content in operation.get("requestBody", {}).get("content", {}).values():
        content["examples"] = {
            slug(summary): {"summary": summary, "value": body}
            for summary, body in requests.BODIES.get(name, {}).items()
        }
    for status, answer in answers().get(name, {}).items():
        for kind in ("application/json", "text/plain"):
            if kind in operation["responses"][status].get("content", {}):
                operation["responses"][status]["content"][kind]["example"] = answer
