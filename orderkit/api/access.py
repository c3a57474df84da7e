"""Who may call what, as the routes themselves state it: the source of the table in docs/access.md, and of its tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from orderkit.api.dependencies import ANYONE, SESSION

FILES = ("/openapi.json", "/static/docs")
"""Of the documentation, which is for anyone; what FastAPI itself serves has nowhere to say so."""


class Access(NamedTuple):
    """One method of one address, and its rule: anyone, account, session, or the name of a permission; None if it has none.

    `also` is a permission that does as well.
    """

    method: str
    path: str
    who: str | None
    also: str | None = None


def rules(app: FastAPI) -> list[Access]:
    """The rule of every method of every route of `app`, in the order of paths."""
    found: list[Access] = []
    for context in iter_route_contexts(app.routes):
        route = getattr(context, "route", context)
        path = str(getattr(context, "path", route.path))
        methods = sorted(getattr(route, "methods", None) or ("GET",))
        if isinstance(route, APIRoute):
            stated = {*_stated(route.dependant), *_said(route.endpoint)}
            who, also = stated.pop() if len(stated) == 1 else (None, None)
        else:
            who, also = ANYONE if path in FILES else None, None
        found += [Access(method, path, who, also) for method in methods]
    return sorted(found, key=lambda one: (one.path, one.method))


API_KEY = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "okk_…",
    "description": "An API key, made at POST /users/me/api-keys. It can do what it was given, and never manages the account.",
}


def describe(app: FastAPI, openapi: dict[str, Any]) -> None:
    """Says in the document of `app` who may, and where an API key will do instead of a login, which FastAPI cannot know."""
    openapi["components"].setdefault("securitySchemes", {})["APIKey"] = API_KEY
    for one in rules(app):
        operation = openapi["paths"].get(one.path, {}).get(one.method.lower())
        if operation is None:
            continue
        operation["x-who-may"] = " or ".join(filter(None, (one.who, one.also)))
        if one.who not in (None, ANYONE, SESSION):
            operation["security"] = [*operation.get("security", []), {"APIKey": []}]


def _stated(dependant: Dependant) -> Iterator[tuple[str, str | None]]:
    yield from _said(dependant.call)
    for inner in dependant.dependencies:
        yield from _stated(inner)


def _said(what: object) -> Iterator[tuple[str, str | None]]:
    who = getattr(what, "who", None)
    if isinstance(who, str):
        yield who, getattr(what, "also", None)
