"""The page that says who may do what, made of the routes as they state it and of a freshly migrated database."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from orderkit.api import access
from orderkit.api.access import Access
from orderkit.api.dependencies import ACCOUNT, ANYONE, SESSION
from orderkit.app import create_app
from orderkit.auth import roles
from orderkit.auth.permissions import OWN_ORDERS, PERMISSIONS, SCOPES
from orderkit.auth.roles import Described
from orderkit.db import Database
from orderkit.migrating import migrate
from orderkit.settings import load_settings

YES = "●"

HEAD = """\
# Who may do what

Routes ask for permissions, never for roles. Which role has which permissions is data: change it with
`orderkit roles grant` and `revoke`, or `PUT /roles/{name}/permissions`; it counts from the next request on, and the audit
log says who did it (`orderkit roles history`, `GET /admin/audit-log`). This page shows a fresh installation.

Written by: `orderkit roles matrix -o docs/access.md`
"""

PERMISSIONS_HEAD = f"""\
## Roles

`{OWN_ORDERS}`, to place orders and to see and cancel one's own, is every account's; an API key has it if it was made with it.
With `orders:read` the same addresses show everyone's orders.
"""

ROUTES_HEAD = """\
## Routes

**needs** is `anyone`; `account`: somebody who is known, by an access token or an API key; `session`: somebody who logged in,
and no API key; or a permission. An **API key** has the permissions it was made with (*scope*) as far as its owner has them.
Without a token, or with one that is not good, the answer is 401; without the permission 403; what is another's is 404, as is
what does not exist. `/metrics` has a token of its own where `ORDERKIT_METRICS_TOKEN` is set.
"""


def text() -> str:
    """The page. Migrates a database of its own, in a temporary folder, to see what roles may do at first."""
    with tempfile.TemporaryDirectory(prefix="orderkit-") as folder:
        fresh = load_settings(home=Path(folder), database_url=f"sqlite:///{Path(folder) / 'fresh.db'}")
        database = Database(fresh)
        try:
            migrate(database)
            with database.reading() as session:
                found = roles.listing(session.connection())
        finally:
            database.dispose()
        return page(found, access.rules(create_app(fresh)))


def page(known: Sequence[Described], rules: Sequence[Access]) -> str:
    """The page for these roles and routes; those who may least come first."""
    ordered = sorted(known, key=lambda one: (len(one.permissions), one.name))
    return "\n".join((HEAD, PERMISSIONS_HEAD, _permissions(ordered), ROUTES_HEAD, _routes(ordered, rules)))


def _permissions(ordered: Sequence[Described]) -> str:
    described = [f"- **{one.name}**: {one.description}" for one in ordered]
    rows = [
        (f"`{name}`", told, *(_mark(name in one.permissions) for one in ordered)) for name, told in PERMISSIONS.items()
    ]
    names = [one.name for one in ordered]
    return "\n".join((*described, "", *_table(("permission", "what it allows", *names), rows, centred=names), ""))


def _routes(ordered: Sequence[Described], rules: Iterable[Access]) -> str:
    names = [one.name for one in ordered]
    rows = []
    for rule in rules:
        by_role = [_mark(_may(rule.who, one.permissions)) for one in ordered]
        needs = " or ".join(f"`{one}`" if one in SCOPES else str(one) for one in (rule.who, rule.also) if one)
        rows.append((rule.method, f"`{rule.path}`", needs, _mark(rule.who == ANYONE), *by_role, _api_key(rule.who)))
    head = ("method", "path", "needs", "no token", *names, "API key")
    return "\n".join((*_table(head, rows, centred=("no token", *names, "API key")), ""))


def _may(who: str | None, permissions: Collection[str]) -> bool:
    return who in (ANYONE, ACCOUNT, SESSION, OWN_ORDERS) or who in permissions


def _api_key(who: str | None) -> str:
    return "*scope*" if who in SCOPES else _mark(who in (ANYONE, ACCOUNT))


def _mark(there: bool) -> str:
    return YES if there else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, centred: Collection[str]) -> list[str]:
    rule = [":-:" if name in centred else "---" for name in head]
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]
