"""What a list of orders can be asked for, strictly: what is unknown, naive, reversed or given twice is refused."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Query, Request
from pydantic import BeforeValidator, Field

from orderkit.api.parameters import refuse_unknown
from orderkit.auth.accounts import normal_email
from orderkit.auth.callers import Caller
from orderkit.errors import Forbidden, Invalid
from orderkit.money import MAX_AMOUNT
from orderkit.orders.reading import Sort, Wanted
from orderkit.orders.states import OrderStatus

MAX_NUMBER = 2**63 - 1

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _instant(value: Any) -> Any:
    """Pydantic would take a date, and a number as seconds since 1970."""
    if not isinstance(value, str):
        return value
    if not _RFC_3339.fullmatch(value):
        raise ValueError(
            "is not a time of RFC 3339 with its zone, as 2026-11-21T14:00:00Z; in a URL a + is written %2B"
        )
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is no time that there is") from None


def _whole(value: Any) -> Any:
    """Pydantic would take `2.0`, ` 2` and `0_2` for 2."""
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,19}", value):
        raise ValueError("is not a whole number")
    return value


def _email(value: Any) -> Any:
    try:
        return normal_email(value)
    except Invalid as error:
        raise ValueError(error.pointers[0][1]) from None


Instant = Annotated[datetime, BeforeValidator(_instant)]
# The bounds come first: behind another validator they would not be bounds in the document.
Amount = Annotated[int, Field(ge=0, le=MAX_AMOUNT), BeforeValidator(_whole)]
Number = Annotated[int, Field(ge=1, le=MAX_NUMBER), BeforeValidator(_whole)]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a list of orders: which ones, whose by `email` if given, and in which order."""

    wanted: Wanted
    email: str | None
    sort: Sort
    descending: bool

    def of(self, caller: Caller, *, everyones: bool) -> Mapping[str, Any]:
        """What a cursor is good for: this caller, what they may see, and all that was asked for but the limit."""
        return {"list": "orders", "caller": caller.id, "everyones": everyones, **asdict(self)}

    def check(self, caller: Caller) -> None:
        """Raises Forbidden for somebody else's orders, by id or by address, whether there is such a user or not."""
        others_id = self.wanted.user_id not in (None, caller.id)
        if (others_id or self.email not in (None, caller.user.email)) and not caller.may("orders:read"):
            raise Forbidden("other people's orders need the permission orders:read")


async def asked(
    request: Request,
    status: Annotated[OrderStatus | None, Query()] = None,
    created_from: Annotated[Instant | None, Query(description="The first instant (RFC 3339, with its zone).")] = None,
    created_to: Annotated[Instant | None, Query(description="The instant before which it ends.")] = None,
    user_id: Annotated[UUID | None, Query(description="Whose; anybody but oneself for staff only.")] = None,
    email: Annotated[
        str | None,
        BeforeValidator(_email),
        Query(max_length=254, description="Whose, by the whole address, in whatever spelling; as `user_id`."),
    ] = None,
    min_total: Annotated[Amount | None, Query(description="In minor units, whatever the currency.")] = None,
    max_total: Annotated[Amount | None, Query(description="Itself included.")] = None,
    number: Annotated[Number | None, Query(description="The one with this number.")] = None,
    sort: Annotated[
        Sort, Query(description="`total` sorts by the number of minor units, whatever the currency.")
    ] = "created_at",
    order: Annotated[Literal["asc", "desc"], Query(description="Equals follow their ids, in the same order.")] = "desc",
) -> Asked:
    """The dependency of the list of orders. Raises Invalid."""
    refuse_unknown(request, KNOWN)
    if created_from is not None and created_to is not None and created_from > created_to:
        raise _reversed("created_to", "is before created_from")
    if min_total is not None and max_total is not None and min_total > max_total:
        raise _reversed("max_total", "is less than min_total")
    wanted = Wanted(
        user_id=user_id,
        status=None if status is None else status.value,
        created_from=created_from,
        created_to=created_to,
        min_total=min_total,
        max_total=max_total,
        number=number,
    )
    return Asked(wanted, email, sort, order == "desc")


KNOWN = ({*inspect.signature(asked).parameters} - {"request"}) | {"limit", "cursor"}
"""Names of query parameters; the last two are pagination's."""


def _reversed(name: str, detail: str) -> Invalid:
    return Invalid("the range is reversed", pointers=[(f"#/query/{name}", detail)])
