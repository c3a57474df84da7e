"""The document of the API as it is published: what FastAPI finds, and what only we can say.

Answers that several operations give alike are told once, under `components`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from orderkit.api import access, examples, headers, problems, refusing

TAGS = {
    "orders": "Placing, reading, changing and cancelling orders, and the story of each.",
    "refunds": "Giving money back, all or a part.",
    "products": "The catalog, its prices in other currencies, and stock.",
    "accounts": "Registering, logging in and out, and one's own account.",
    "API keys": "Keys for programs, made by whoever they act for.",
    "users": "Other people's accounts.",
    "dead letters": "Parcels that the carrier did not take, for a person to decide about.",
    "reports": "What was sold, to whom, and what became of it; as JSON or CSV.",
    "webhooks": "What the carrier calls.",
    "roles": "What each role may do, and who changed it.",
    "system": "How the installation is.",
    "health": "Whether a process lives and can serve, and its numbers.",
    "errors": "What each `code` of a problem document means.",
}

SUMMARIES = {
    "me": "See one's own account",
    "change_me": "Change one's own account",
    "delete_me": "Delete one's own account",
    "live": "Is the process alive?",
    "ready": "Can it serve?",
    "scrape": "Metrics",
    "refresh": "Refresh a token",
    "revoke": "Log out",
    "spending": "What one user spent",
    "sales_report": "What was sold",
    "top_selling": "What sold most",
    "list_entries": "Read the audit log",
    "make_api_key": "Make an API key",
    "list_api_keys": "List API keys",
    "revoke_api_key": "Revoke an API key",
    "get_system": "See how the installation is",
    "get_timeline": "The story of an order",
}
"""By name of operation; the others are called as they are named."""


def name_of(route: APIRoute) -> str:
    """The operationId: what the function is called, which no two operations share."""
    return route.name


def complete(app: FastAPI, openapi: dict[str, Any]) -> None:
    """Makes of FastAPI's document of `app` the one that is published."""
    openapi["tags"] = [{"name": name, "description": what} for name, what in TAGS.items()]
    for operations in openapi["paths"].values():
        for operation in operations.values():
            name = operation["operationId"]
            operation["summary"] = SUMMARIES.get(name) or name.replace("_", " ").capitalize()
    refusing.describe(openapi)
    access.describe(app, openapi)
    headers.describe(openapi)
    examples.describe(openapi)
    _share(openapi)
    for operations in openapi["paths"].values():
        for operation in operations.values():
            operation["responses"] = dict(sorted(operation["responses"].items()))


def _share(openapi: dict[str, Any]) -> None:
    """Moves refusals that several operations have alike to `components`, named by their codes."""
    alike: defaultdict[str, list[tuple[dict[str, Any], str]]] = defaultdict(list)
    for operations in openapi["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                alike[json.dumps(response, sort_keys=True)].append((operation["responses"], status))
    shared: dict[str, Any] = {}
    for places in alike.values():
        responses, status = places[0]
        response = responses[status]
        codes = response.get("content", {}).get(problems.MEDIA_TYPE, {}).get("examples")
        name = "_or_".join(codes or ())
        if len(places) == 1 or not codes or name in shared:
            continue
        shared[name] = response
        for responses, status in places:
            responses[status] = {"$ref": f"#/components/responses/{name}"}
    openapi["components"]["responses"] = dict(sorted(shared.items()))
