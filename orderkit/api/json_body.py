"""Reading bodies, strictly. What is not JSON is refused with 400, what is JSON and cannot be taken with 422; never a 500.

Python's own reader takes NaN, the second of two equal members, and strings that no database stores. This one does not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine, Iterator
from typing import Annotated, Any

from fastapi import Request, Response, params
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from orderkit import names
from orderkit.api import problems
from orderkit.api.dependencies import Rule
from orderkit.errors import BodyMalformed, Invalid, WrongMediaType

MAX_DEPTH = 32
"""Arrays and objects within each other. The deepest body of this API has three; a reader's stack ends near a thousand."""

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


class Body(BaseModel):
    """A request body: unknown members are refused, and nothing is converted.

    `true`, `"5"` and `5.0` are no integers. Every integer field of a subclass has bounds, and every string a length.
    """

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


OneLine = Annotated[str, Field(min_length=1, max_length=names.MAX_LENGTH), AfterValidator(names.check)]
"""A name: 1 to 200 characters, something to be seen among them, and no line breaks."""

Reason = Annotated[str, Field(min_length=1, max_length=names.MAX_LENGTH), AfterValidator(names.check_reason)]
"""Why somebody did something: like a name, and no card number."""


def absent() -> Any:
    """Default factory of a member that may be left out and may not be null: a default of None would say that it may."""
    return None


def parse(body: bytes) -> Any:
    """The value of a JSON text. Raises BodyMalformed, or Invalid for a number or a string out of bounds.

    One pass of the C scanner; the value is walked only where the text has an escape or nests enough to need it.
    """
    if not body:
        raise BodyMalformed("the body is empty; send a JSON object")
    try:
        value = _decoder.decode(body.decode())
    except UnicodeDecodeError:
        raise BodyMalformed("the body is not UTF-8") from None
    except RecursionError:
        raise BodyMalformed("the body nests too deeply") from None
    except json.JSONDecodeError as error:
        raise BodyMalformed(f"the body is not JSON: {error.msg} at character {error.pos}") from None
    except ValueError:  # an integer of more than 4,300 digits, which Python refuses to read
        raise Invalid("a number is out of bounds", pointers=[("#", "has a number that is out of bounds")]) from None
    if b"\\u" in body or body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        _check(value, ())
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BodyMalformed(f"the member {json.dumps(twice[:64])} is there twice")
    return found


def _not_a_number(name: str) -> Any:
    raise BodyMalformed(f"the body is not JSON: {name} is not a number")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise Invalid("a number is out of bounds", pointers=[("#", f"{text[:32]} is out of bounds")])
    return value


# Made once: json.loads with hooks would make a decoder for every body.
_decoder = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_not_a_number, parse_float=_float)


def _check(value: Any, place: tuple[int | str, ...]) -> None:
    if len(place) >= MAX_DEPTH and isinstance(value, dict | list):
        raise BodyMalformed("the body nests too deeply")
    if isinstance(value, str):
        _check_text(value, place)
    elif isinstance(value, dict):
        for name, member in value.items():
            _check_text(name, place)
            _check(member, (*place, name))
    elif isinstance(value, list):
        for number, member in enumerate(value):
            _check(member, (*place, number))


def _check_text(text: str, place: tuple[int | str, ...]) -> None:
    # Neither fits into a PostgreSQL text. They arrive only as \u escapes: raw, they are not JSON or not UTF-8.
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise Invalid(
            "a string has a character that cannot be stored",
            pointers=[(problems.pointer(place), "has a NUL or half of a surrogate pair")],
        )


async def read(request: Request) -> Any:
    """The JSON body of `request`. Raises WrongMediaType, BodyMalformed, Invalid, or BodyTooLarge from the edge."""
    body = await request.body()
    if body:
        _check_media_type(request, JSON)
    return parse(body)


def _check_media_type(request: Request, expected: str) -> None:
    found = request.headers.get("content-type", "")
    if found.partition(";")[0].strip().lower() != expected:
        raise WrongMediaType(f"send the body as {expected}" + ("" if found else "; it came without a Content-Type"))


def invalid(error: ValidationError) -> Invalid:
    """What to raise when a body that was read by hand does not fit its model."""
    return Invalid("the body has values that cannot be taken", pointers=problems.pointers(error.errors()))


def documented(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route that reads `model` by hand."""
    return {"requestBody": {"required": True, "content": {JSON: {"schema": _inlined(model.model_json_schema())}}}}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` without `$defs`: in an OpenAPI document a `#/$defs/…` would point nowhere."""
    definitions = schema.pop("$defs", {})

    def resolve(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                return resolve(definitions[part["$ref"].rsplit("/", 1)[-1]])
            return {name: resolve(member) for name, member in part.items()}
        return [resolve(one) for one in part] if isinstance(part, list) else part

    resolved: dict[str, Any] = resolve(schema)
    return resolved


class StrictRoute(APIRoute):
    """A route whose body, where it declares one, is read by `parse`, or must be a form in UTF-8.

    Before that it asks whether the caller may at all: a stranger hears 401 or 403, whatever they sent.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        if self.body_field is None:
            return handler
        is_form = isinstance(self.body_field.field_info, params.Form)
        required = self.body_field.field_info.is_required()
        rules = list(_rules(self.dependant))

        async def strict(request: Request) -> Response:
            for rule in rules:
                await rule.admit(request)
            if is_form:
                await _check_form(request)
            elif required or await request.body():
                # FastAPI asks request.json() for this. Raised from within, our errors would become its own 400.
                request._json = await read(request)
            return await handler(request)

        return strict


def _rules(dependant: Dependant) -> Iterator[Rule]:
    if isinstance(dependant.call, Rule):
        yield dependant.call
    for inner in dependant.dependencies:
        yield from _rules(inner)


async def _check_form(request: Request) -> None:
    body = await request.body()  # kept by the request, which parses the form from it
    if body:
        _check_media_type(request, FORM)
    try:
        body.decode("ascii")
    except UnicodeDecodeError:
        raise BodyMalformed("the form is not percent-encoded") from None
