"""The document of the API as a collection for Postman (format 2.1): one folder for each resource, and the whole journey first."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from orderkit.api.examples import world
from orderkit.cli import postman_journey
from orderkit.cli.postman_journey import Step

SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
JSON, FORM = "application/json", "application/x-www-form-urlencoded"

VARIABLES: dict[str, tuple[str, str]] = {
    "baseUrl": ("http://127.0.0.1:8000", "Where `orderkit serve` listens."),
    "adminEmail": ("admin@example.com", "Made by: orderkit users create admin@example.com --admin"),
    "adminPassword": ("", "Set it before the journey."),
    "adminToken": ("", "Set by the journey: the admin's access token."),
    "email": (world.EMAIL, "The journey registers a new address each time."),
    "password": (world.PASSWORD, "The customer's."),
    "token": ("", "The access token that every request is sent with; set by logging in."),
    "refreshToken": ("", "Set by logging in."),
    "sku": (world.SKU, "The product; the journey makes one of its own."),
    "userId": ("", "Set by registering."),
    "orderId": ("", "Set by placing an order."),
    "etag": ("*", "Set by reading an order: the version that a change is made for."),
    "refundId": ("", "Set by refunding."),
    "letterId": ("", "Set by the journey: a dead letter."),
    "sessionId": ("", "Set by listing one's logins."),
    "keyId": ("", "Set by making an API key."),
    "fulfillmentId": (world.FULFILLMENT_ID, "The key that the carrier knows a parcel by."),
} | dict.fromkeys(postman_journey.OWN_VARIABLES, ("", "Set by the journey."))

IN_PATHS = {
    "order_id": "{{orderId}}",
    "refund_id": "{{refundId}}",
    "sku": "{{sku}}",
    "user_id": "{{userId}}",
    "letter_id": "{{letterId}}",
    "session_id": "{{sessionId}}",
    "key_id": "{{keyId}}",
}
"""Parameters of paths that are variables; the others have the example of the document."""

IN_HEADERS = {"Idempotency-Key": "{{$guid}}", "If-Match": "{{etag}}"}
IN_BODIES = {
    world.SKU: "{{sku}}",
    world.EMAIL: "{{email}}",
    world.PASSWORD: "{{password}}",
    world.REFRESH_TOKEN: "{{refreshToken}}",
    world.FULFILLMENT_ID: "{{fulfillmentId}}",
}

_KEEP = 'pm.collectionVariables.set("{}", pm.response.json().{});'
KEPT: dict[str, dict[str, str]] = {
    "POST /register": {"userId": "id"},
    "POST /token": {"token": "access_token", "refreshToken": "refresh_token"},
    "POST /token/refresh": {"token": "access_token", "refreshToken": "refresh_token"},
    "POST /orders": {"orderId": "id"},
    "POST /orders/{order_id}/refunds": {"refundId": "id"},
    "POST /users/me/api-keys": {"keyId": "id"},
    "GET /users/me/sessions": {"sessionId": "items[0].id"},
}
"""What the requests of the folders keep of an answer that succeeded, for those that come after."""

STAFF = re.compile(r"^(?!orders:own)\w+:\w+")

Json = dict[str, Any]


def collection(openapi: Mapping[str, Any]) -> Json:
    """The collection. `openapi` is the document, with its examples."""
    folders: list[Json] = [_journey(openapi)]
    for tag in openapi["tags"]:
        items = [
            _item(openapi, method.upper(), path, operation)
            for path, operations in openapi["paths"].items()
            for method, operation in operations.items()
            if tag["name"] in operation["tags"]
        ]
        folders.append({"name": tag["name"], "description": tag["description"], "item": items})
    return {
        "info": {
            "name": openapi["info"]["title"],
            "description": f"{openapi['info']['description']}\n\nMade of the OpenAPI document: `orderkit openapi --postman`.",
            "version": openapi["info"]["version"],
            "schema": SCHEMA,
        },
        "auth": _bearer("{{token}}"),
        "variable": [
            {"key": name, "value": value, "type": "string", "description": what}
            for name, (value, what) in VARIABLES.items()
        ],
        "item": folders,
    }


def _bearer(token: str) -> Json:
    return {"type": "bearer", "bearer": [{"key": "token", "value": token, "type": "string"}]}


def _script(listen: str, lines: Sequence[str]) -> Json:
    return {"listen": listen, "script": {"type": "text/javascript", "exec": list(lines)}}


# ── by resource ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _item(openapi: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> Json:
    name = f"{method} {path}"
    request: Json = {
        "method": method,
        "header": [],
        "url": _url(path, operation),
        "description": _told(openapi, operation),
    }
    if not operation.get("security"):
        request["auth"] = {"type": "noauth"}
    elif STAFF.match(operation["x-who-may"]):
        request["auth"] = _bearer("{{adminToken}}")
    for one in _parameters(operation, "header"):
        value = IN_HEADERS.get(one["name"], one["example"])
        header = {"key": one["name"], "value": value, "description": one["description"]}
        request["header"].append(header if one["required"] else header | {"disabled": True})
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        body = next(iter(content["examples"].values()))["value"]
        if kind == JSON:
            request["header"].append({"key": "Content-Type", "value": JSON})
        request["body"] = _body(kind, body)
    item: Json = {"name": operation["summary"], "request": request, "response": _saved(operation)}
    if name in KEPT:
        keeping = [f"    {_KEEP.format(variable, member)}" for variable, member in KEPT[name].items()]
        item["event"] = [_script("test", ["if (pm.response.code < 300) {", *keeping, "}"])]
    return item


def _parameters(operation: Mapping[str, Any], where: str) -> list[Json]:
    return [one for one in operation.get("parameters", ()) if one["in"] == where]


def _url(path: str, operation: Mapping[str, Any], **values: str) -> Json:
    """The address, with `:name` for parameters of the path; those of the query are listed, and left out until switched on."""
    steps = [re.sub(r"^{(\w+)}$", r":\1", step) for step in path.strip("/").split("/")]
    url: Json = {"raw": "{{baseUrl}}/" + "/".join(steps), "host": ["{{baseUrl}}"], "path": steps}
    found = [
        {"key": one["name"], "value": str(one.get("example", "")), "description": one["description"], "disabled": True}
        for one in _parameters(operation, "query")
    ]
    if found:
        url["query"] = found
    named = [
        {
            "key": one["name"],
            "value": values.get(one["name"]) or IN_PATHS.get(one["name"], one["example"]),
            "description": one["description"],
        }
        for one in _parameters(operation, "path")
    ]
    return url | ({"variable": named} if named else {})


def _body(kind: str, value: Any) -> Json:
    if kind == FORM:
        fields = [{"key": name, "value": _with_variables(one), "type": "text"} for name, one in value.items()]
        return {"mode": "urlencoded", "urlencoded": fields}
    text = _with_variables(json.dumps(value, indent=2, ensure_ascii=False))
    return {"mode": "raw", "raw": text, "options": {"raw": {"language": "json"}}}


def _with_variables(text: str) -> str:
    for shown, variable in IN_BODIES.items():
        text = text.replace(shown, variable)
    return text


def _told(openapi: Mapping[str, Any], operation: Mapping[str, Any]) -> str:
    """What it does, who may, and what it answers."""
    answers = []
    for status, response in operation["responses"].items():
        if "$ref" in response:
            response = openapi["components"]["responses"][response["$ref"].rsplit("/", 1)[-1]]
        codes = response.get("content", {}).get("application/problem+json", {}).get("examples", {})
        answers.append(f"- {status} " + (", ".join(f"`{code}`" for code in codes) or HTTPStatus(int(status)).phrase))
    return "\n".join((operation["description"], "", f"Who may: {operation['x-who-may']}.", "", *answers))


def _saved(operation: Mapping[str, Any]) -> list[Json]:
    """The answers of the document's examples, as Postman shows them beside a request."""
    found = []
    for status, response in operation["responses"].items():
        example = response.get("content", {}).get(JSON, {}).get("example")
        if example is not None:
            found.append(
                {
                    "name": response["description"],
                    "status": HTTPStatus(int(status)).phrase,
                    "code": int(status),
                    "_postman_previewlanguage": "json",
                    "header": [{"key": "Content-Type", "value": JSON}],
                    "body": json.dumps(example, indent=2, ensure_ascii=False),
                }
            )
    return found


# ── the journey ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _journey(openapi: Mapping[str, Any]) -> Json:
    steps = [_step(openapi, number, step) for number, step in enumerate(postman_journey.STEPS, 1)]
    return {"name": postman_journey.NAME, "description": postman_journey.DESCRIPTION, "item": steps}


def _step(openapi: Mapping[str, Any], number: int, step: Step) -> Json:
    """A step as a request. Raises KeyError for one that is not in the document, or answered as it does not say."""
    method, path = step.operation.split(" ")
    operation = openapi["paths"][path][method.lower()]
    operation["responses"][str(step.status)]
    url = _url(path, operation, **step.path)
    url.pop("query", None)
    if step.query:
        url["query"] = [{"key": name, "value": value} for name, value in step.query.items()]
        url["raw"] += "?" + "&".join(f"{name}={value}" for name, value in step.query.items())
    headers = [{"key": name, "value": value} for name, value in step.headers.items()]
    request: Json = {"method": method, "header": headers, "url": url, "description": operation["description"]}
    if step.who != postman_journey.CUSTOMER:
        request["auth"] = {"type": "noauth"} if step.who is None else _bearer(step.who)
    if step.form:
        request["body"] = _body(FORM, step.form)
    elif step.body:
        headers.append({"key": "Content-Type", "value": JSON})
        request["body"] = {"mode": "raw", "raw": step.body, "options": {"raw": {"language": "json"}}}
    events = [_script("prerequest", step.before)] if step.before else []
    answered = f'pm.test("answers {step.status}", () => pm.response.to.have.status({step.status}));'
    events.append(_script("test", [answered, *step.after]))
    return {"name": f"{number:02} {step.name}", "event": events, "request": request, "response": []}
