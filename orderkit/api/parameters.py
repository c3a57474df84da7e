"""Query parameters that are taken strictly: one that is misspelt, or given twice, is refused and never passed over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from fastapi import Request

from orderkit.api import problems
from orderkit.errors import Invalid


def refuse_unknown(request: Request, known: Collection[str]) -> None:
    """Raises Invalid: passed over, what is misspelt would have the answer be to another question."""
    names = [name for name, _value in request.query_params.multi_items()]
    wrong = [(name, "is not known here") for name in dict.fromkeys(names) if name not in known]
    wrong += [(name, "is given more than once") for name in sorted(known) if names.count(name) > 1]
    if wrong:
        raise Invalid(
            "the request has parameters that cannot be taken",
            pointers=[(problems.pointer(("query", name)), what) for name, what in wrong[: problems.MAX_POINTERS]],
        )


def only(*known: str) -> Callable[[Request], Awaitable[None]]:
    """The dependency of a route that takes these and no others."""

    async def check(request: Request) -> None:
        refuse_unknown(request, known)

    return check
