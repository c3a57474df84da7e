"""The one way lists are paged: by key, never by offset, with a signed cursor that fits only the list it came from."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query, Request
from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from orderkit.errors import CursorInvalid

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
SIGNATURE_BYTES = 16

R = TypeVar("R")
T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """Some items of a list, and the `cursor` for those after them; null when there are none."""

    items: list[T]
    next_cursor: str | None


def _digits(value: Any) -> Any:
    """Pydantic would take `2.0`, ` 2` and `0_2` for 2."""
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,9}", value):
        raise ValueError("is not a whole number")
    return value


class Paging:
    """The `limit` and `cursor` of a request.

    `of` names the list and its filters: `{"list": "orders", "status": "paid"}`. A cursor is good for the same `of` only.
    A position is whatever the list is sorted by, a text or a NamedTuple.
    """

    def __init__(self, limit: int, cursor: str | None, key: bytes) -> None:
        self.limit = limit
        self._cursor = cursor
        self._key = key

    def after(self, of: Mapping[str, Any], position: type[T]) -> T | None:
        """The position after which to go on; None at the start. Raises CursorInvalid."""
        if self._cursor is None:
            return None
        try:
            raw = base64.b64decode(self._cursor.encode("ascii"), b"-_", validate=True)
            signature, payload = raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]
            # The decoder passes over bits that no byte needs and takes `+/` for `-_`: only one text of a cursor is its own.
            untouched = base64.urlsafe_b64encode(raw).decode() == self._cursor
            if untouched and hmac.compare_digest(signature, self._sign(of, payload)):
                found: T = _adapter(position).validate_json(payload)
                return found
        except (binascii.Error, UnicodeEncodeError, ValidationError):
            pass
        raise CursorInvalid("the cursor is not one that this list gave for these filters; start without one")

    def page(
        self,
        of: Mapping[str, Any],
        found: Sequence[R],
        position: Callable[[R], Any],
        items: Callable[[Sequence[R]], list[T]],
    ) -> Page[T]:
        """The page of `found`, rows that were read with `limit` + 1, the last of which only tells that there are more.

        `position` is a row's in the list; `items` makes of the rows that are shown what is shown of them.
        """
        shown = found[: self.limit]
        more = len(found) > self.limit
        return Page(items=items(shown), next_cursor=self.cursor(of, position(shown[-1])) if more else None)

    def cursor(self, of: Mapping[str, Any], position: Any) -> str:
        """The cursor that goes on after `position`."""
        payload = _adapter(type(position)).dump_json(position)
        return base64.urlsafe_b64encode(self._sign(of, payload) + payload).decode()

    def _sign(self, of: Mapping[str, Any], payload: bytes) -> bytes:
        context = json.dumps(of, sort_keys=True, default=str).encode()
        return hmac.digest(self._key, context + b"\n" + payload, hashlib.sha256)[:SIGNATURE_BYTES]


_adapters: dict[Any, TypeAdapter[Any]] = {}  # one for each kind of position; making one takes 100 µs


def _adapter(position: Any) -> TypeAdapter[Any]:
    if position not in _adapters:
        _adapters[position] = TypeAdapter(position)
    return _adapters[position]


@lru_cache(maxsize=8)
def _derived_key(signing_key: str) -> bytes:
    """A key of its own, so that what signs cursors can never sign a token."""
    return hmac.digest(signing_key.encode(), b"orderkit cursor", hashlib.sha256)


async def paging(
    request: Request,
    # The bounds come first: behind another validator they would not be bounds in the document.
    limit: Annotated[
        int, Field(ge=1, le=MAX_LIMIT), BeforeValidator(_digits), Query(description="How many items at most.")
    ] = DEFAULT_LIMIT,
    cursor: Annotated[
        str | None, Query(max_length=1000, description="`next_cursor` of the page before, unchanged.")
    ] = None,
) -> Paging:
    """The dependency of every list."""
    return Paging(limit, cursor, _derived_key(request.app.state.runtime.settings.signing_key))
