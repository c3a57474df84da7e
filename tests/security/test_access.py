"""Who may do what: every method of every address, for every kind of caller, by the rules that the routes themselves state."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from orderkit.api import access
from orderkit.api.access import Access
from orderkit.api.dependencies import ACCOUNT, ANYONE, SESSION
from orderkit.app import create_app
from orderkit.auth import callers, sessions
from orderkit.auth.callers import API_KEY_PREFIX
from orderkit.auth.models import ADMIN, CUSTOMER, ApiKey, User
from orderkit.auth.permissions import OWN_ORDERS, PERMISSIONS, SCOPES
from orderkit.clock import moved, now
from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.settings import Settings
from tests.client import Answer, Client
from tests.factories import GRANTS, PASSWORD, make_product, make_user
from tests.shop import Shop

Headers = dict[str, str]

ROLES = (CUSTOMER, *GRANTS)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
SAFE = ("GET", "HEAD")
AT_ONCE = 8

# ── callers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Kind(NamedTuple):
    """A kind of caller: how to become one who is to meet the rule `who`, which rules let them in, and what others answer."""

    headers: Callable[[str], Headers]
    let_in_by: Callable[[str], bool]
    refusal: int


def bearer(secret: str) -> Headers:
    return {"Authorization": f"Bearer {secret}"}


def make_key(
    database: Database,
    owner: User,
    scopes: list[str],
    *,
    expires_at: datetime | None = None,
    revoked_at: datetime | None = None,
) -> Headers:
    """Headers of a request with an API key of `owner`, good for a day unless told otherwise."""
    key = f"{API_KEY_PREFIX}{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}"
    row = ApiKey(
        user_id=owner.id,
        name="a key",
        prefix=key[:12],
        hash=callers.key_hash(key),
        permissions=scopes,
        expires_at=expires_at or now() + timedelta(days=1),
        revoked_at=revoked_at,
    )
    with database.transaction() as session:
        session.add(row)
    return bearer(key)


def kinds(api: Client, database: Database) -> Iterator[tuple[str, Kind]]:
    """Everybody who might call."""

    def user(role: str = ADMIN, **more: Any) -> User:
        return make_user(database, role=role, **more)

    def expired(_who: str) -> Headers:
        with moved(-timedelta(minutes=20)):
            return api.token(user())

    def of_ended_session(_who: str) -> Headers:
        owner = user()
        headers = api.token(owner)
        with database.transaction() as session:
            sessions.end_all(session.connection(), owner.id)
        return headers

    def key(scopes: Callable[[str], list[str]], role: str = ADMIN, **more: Any) -> Callable[[str], Headers]:
        return lambda who: make_key(database, user(role), scopes(who), **more)

    def needed(who: str) -> list[str]:
        return [who] if who in SCOPES else [OWN_ORDERS]

    def by(*whom: str) -> Callable[[str], bool]:
        return lambda who: who in whom

    known, nobody = (ANYONE, ACCOUNT), by(ANYONE)
    yield "nobody", Kind(lambda _: {}, nobody, 401)
    yield "garbage token", Kind(lambda _: bearer("garbage"), nobody, 401)
    yield "another scheme", Kind(lambda _: {"Authorization": "Basic YTpi"}, nobody, 401)
    yield "expired token", Kind(expired, nobody, 401)
    yield "token of an ended session", Kind(of_ended_session, nobody, 401)
    yield "banned admin", Kind(lambda _: api.token(user(banned_at=now())), nobody, 401)
    yield "deleted admin", Kind(lambda _: api.token(user(deleted_at=now())), nobody, 401)
    for role in ROLES:
        let_in = by(*known, SESSION, OWN_ORDERS, *GRANTS.get(role, ()))
        yield role, Kind(lambda _, role=role: api.token(user(role)), let_in, 403)  # type: ignore[misc]
    yield "key without scopes", Kind(key(lambda _: []), by(*known), 403)
    yield "key with just the scope", Kind(key(needed), by(*known, *SCOPES), 403)
    yield "key with all but the scope", Kind(key(lambda who: [*(SCOPES.keys() - {who})]), by(*known), 403)
    yield "key of somebody who may not", Kind(key(needed, CUSTOMER), by(*known, OWN_ORDERS), 403)
    yield "expired key", Kind(key(needed, expires_at=now()), nobody, 401)
    yield "revoked key", Kind(key(needed, revoked_at=now()), nobody, 401)
    yield "key of a banned admin", Kind(lambda who: make_key(database, user(banned_at=now()), needed(who)), nobody, 401)


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────────


def address(path: str) -> str:
    """`path` with ids of what does not exist."""
    return re.sub(r"\{\w+\}", lambda _: str(new_id()), path)


def order_of(sku: str) -> dict[str, Any]:
    return {"items": [{"sku": sku, "quantity": 1}], "payment_method": "pm_card_visa"}


def test_every_route_states_one_rule(settings: Settings) -> None:
    """OWASP API Security Top 10 2023, API5: denied unless said otherwise; no route is open because it was forgotten."""
    stated = access.rules(create_app(settings))
    assert len(stated) > 30
    assert [rule for rule in stated if rule.who not in (ANYONE, ACCOUNT, SESSION, *SCOPES)] == []


def test_a_key_that_only_reads_orders_sees_everyones_and_places_none(api: Client, database: Database) -> None:
    """OWASP ASVS 5.0 V8.2.1: no more than is needed."""
    sku = make_product(database).sku
    buyer = api.token(make_user(database))
    placed = api.post("/orders", order_of(sku), buyer | {"Idempotency-Key": "1"}).json()
    key = make_key(database, make_user(database, role="support"), ["orders:read"])
    assert [one["id"] for one in api.get("/orders", key).json()["items"]] == [placed["id"]]
    assert api.get(f"/orders/{placed['id']}", key).status == 200
    assert api.post("/orders", order_of(sku), key | {"Idempotency-Key": "1"}).status == 403


BAD_BODIES = [b"", b"{", b"[]", b"\xff", b"x" * 60_000]


def test_whoever_may_not_is_told_so_whatever_they_send(api: Client, database: Database) -> None:
    """OWASP API Security Top 10 2023, API5: a stranger learns nothing of what a route takes."""
    stranger = api.token(make_user(database))
    for rule in access.rules(api.app):
        if rule.who in (ANYONE, ACCOUNT, SESSION, OWN_ORDERS) or rule.method in SAFE:
            continue
        for body in BAD_BODIES:
            for headers, status in ({}, 401), (stranger, 403):
                answer = api.run(api.call(rule.method, address(rule.path), body, headers=headers))
                assert answer.status == status, (rule, body[:10])


def test_a_route_without_a_rule_is_seen(settings: Settings) -> None:
    """OWASP API Security Top 10 2023, API5."""
    app = create_app(settings)

    @app.get("/forgotten")
    def forgotten() -> None: ...

    assert Access("GET", "/forgotten", None) in access.rules(app)


def heads(rules: list[Access]) -> list[Access]:
    """The rules of HEAD, which the edge answers as GET but for the body."""
    return [rule._replace(method="HEAD") for rule in rules if rule.method == "GET"]


def test_every_method_of_every_route_lets_in_whom_its_rule_names_and_nobody_else(
    api: Client, database: Database
) -> None:
    """OWASP API Security Top 10 2023, API5; OWASP ASVS 5.0 V8.3.1.

    Without a token, or with one that is not good: 401. Without the permission: 403. Else whatever else is wrong is told:
    the ids are of what does not exist, and the body is empty. Only an order is one, since it is its claim that asks who
    orders.
    """
    every = access.rules(api.app)
    # HEAD once for each kind of rule: the edge makes a GET of it before any rule is looked at.
    of_each_kind = {(rule.who, rule.also): rule for rule in heads(every)}
    rules = [(rule, str(rule.who)) for rule in (*every, *of_each_kind.values())]
    sku = make_product(database, stock=10_000).sku
    surprises: list[str] = []

    async def ask(name: str, kind: Kind, rule: Access, who: str, headers: Headers) -> None:
        body = order_of(sku) if (rule.method, rule.path) == ("POST", "/orders") else {}
        sent = headers | {"Idempotency-Key": new_id().hex}
        answer = await api.call(rule.method, address(rule.path), None if rule.method in SAFE else body, headers=sent)
        let_in = kind.let_in_by(who) or (rule.also is not None and name == "key with all but the scope")
        right = answer.status not in (401, 403) if let_in else answer.status == kind.refusal
        if not right or answer.status >= 500 or (body and let_in and answer.status != 201):
            surprises.append(f"{rule.method} {rule.path} ({who}) for {name}: {answer.status}")

    async def ask_all(asked: list[tuple[str, Kind, Access, str, Headers]]) -> None:
        for start in range(0, len(asked), AT_ONCE):
            await asyncio.gather(*(ask(*one) for one in asked[start : start + AT_ONCE]))

    asked = []
    for name, kind in kinds(api, database):
        once: dict[str, Headers] = {}
        for rule, who in rules:
            # Whoever is let in may end their session, or their account: each gets one of their own.
            own = rule.method not in SAFE and kind.let_in_by(who) and who != ANYONE
            headers = kind.headers(who) if own or who not in once else once[who]
            once.setdefault(who, kind.headers(who) if own else headers)
            asked.append((name, kind, rule, who, headers))
    api.run(ask_all(asked))

    assert surprises == []


def test_an_address_takes_no_method_but_those_that_have_a_rule(api: Client, database: Database) -> None:
    """OWASP ASVS 5.0 V4.1.4: everything else is 405, TRACE too, whoever asks."""
    rules = access.rules(api.app)
    rules += heads(rules)
    patterns = [(rule.method, re.compile(re.sub(r"\{\w+\}", "[^/]+", rule.path))) for rule in rules]
    admin = api.token(make_user(database, role=ADMIN))
    surprises = []
    for path in sorted({rule.path for rule in rules}):
        where = address(path) + ("/favicon.png" if path == "/static/docs" else "")
        taken = {method for method, pattern in patterns if pattern.fullmatch(where)} or set(SAFE)
        for method in METHODS:
            if method in taken:
                continue
            for headers in ({}, admin):
                answer = api.run(api.call(method, where, {}, headers=headers))
                if answer.status != 405 or not answer.headers["allow"]:
                    surprises.append(f"{method} {path}: {answer.status}")
    assert surprises == []


# ── ways around ──────────────────────────────────────────────────────────────────────────────────────────────────────


def closed(api: Client) -> list[Access]:
    """Whatever is not for anyone."""
    return [rule for rule in access.rules(api.app) if rule.who != ANYONE]


SPELLINGS: dict[str, Callable[[str], str]] = {
    "trailing slash": lambda path: f"{path}/",
    "double slash": lambda path: f"/{path}",
    "double slashes within": lambda path: path.replace("/", "//"),
    "upper case": str.upper,
    "a dot": lambda path: f"/.{path}",
    "dots": lambda path: f"/health/..{path}",
    "encoded dots": lambda path: f"/health/%2e%2e{path}",
    "an encoded slash": lambda path: f"/%2f{path[1:]}",
    "a semicolon": lambda path: f"{path};.css",
    "a line break": lambda path: f"{path}%0a",
    "a backslash": lambda path: path.replace("/", "\\"),
    "a NUL": lambda path: f"{path}%00",
    "files": lambda path: f"/static/docs/..{path}",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_of_an_address_opens_it(api: Client, database: Database, spelling: str) -> None:
    """OWASP API Security Top 10 2023, API5: a rule belongs to a route, not to how an address is written."""
    customer = api.token(make_user(database))
    surprises = []
    for rule in closed(api):
        where = SPELLINGS[spelling](address(rule.path))
        for headers in ({}, customer):
            answer = api.run(api.call(rule.method, where, None if rule.method in SAFE else {}, headers=headers))
            if not 400 <= answer.status < 500:
                surprises.append(f"{rule.method} {where}: {answer.status}")
    assert surprises == []


def test_no_header_or_parameter_makes_a_method_another(api: Client, database: Database) -> None:
    """OWASP API Security Top 10 2023, API5."""
    customer = api.token(make_user(database))
    names = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")
    surprises = []
    for rule in closed(api):
        where = address(rule.path)
        override = customer | dict.fromkeys(names, rule.method)
        for method in ("GET", "POST"):
            plain = api.run(api.call(method, where, {}, headers=customer))
            for path, headers in ((where, override), (f"{where}?_method={rule.method}", customer)):
                answer = api.run(api.call(method, path, {}, headers=headers))
                if answer.status not in (plain.status, 422):  # a list refuses a parameter that it does not know
                    surprises.append(f"{method} {path} as {rule.method}: {answer.body!r}, not {plain.body!r}")
    assert surprises == []


def test_a_token_counts_in_its_header_only(api: Client, database: Database) -> None:
    """RFC 9700, section 4.3.2: in an address it would be in logs and histories; in a cookie, any site could send it."""
    token = api.token(make_user(database, role=ADMIN))["Authorization"].removeprefix("Bearer ")
    for where in (f"?access_token={token}", f"?token={token}", f"?authorization=Bearer%20{token}"):
        assert api.get(f"/roles{where}").status == 401
    for headers in (
        {"Cookie": f"access_token={token}; token={token}"},
        {"X-Access-Token": token},
        {"X-Api-Key": token},
    ):
        assert api.get("/roles", headers).status == 401
    assert api.get("/roles", bearer(token)).status == 200


@pytest.mark.parametrize("name", ["X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Forwarded-Path"])
def test_no_header_makes_an_address_another(api: Client, name: str) -> None:
    """OWASP API Security Top 10 2023, API5."""
    for rule in closed(api):
        assert api.get("/problems/forbidden", {name: address(rule.path)}).json()["code"] == "forbidden"
        assert api.get("/dead-letters", {name: "/problems/forbidden"}).status == 401


# ── power that changes ───────────────────────────────────────────────────────────────────────────────────────────────


def put(api: Client, headers: Headers, role: str, *permissions: str) -> Answer:
    return api.run(api.call("PUT", f"/roles/{role}/permissions", {"permissions": permissions}, headers=headers))


def test_a_demoted_admin_s_live_token_and_key_lose_their_power_at_once(api: Client, database: Database) -> None:
    """OWASP ASVS 5.0 V8.3.2."""
    boss = api.token(make_user(database, role=ADMIN, password=PASSWORD))
    admin = make_user(database, role=ADMIN)
    both = (api.token(admin), make_key(database, admin, sorted(PERMISSIONS)))
    assert [api.get("/dead-letters", headers).status for headers in both] == [200, 200]

    assert api.patch(f"/users/{admin.id}", {"role": CUSTOMER}, boss).status == 200

    for headers in both:
        assert {api.get(path, headers).status for path in ("/dead-letters", "/roles", "/admin/audit-log")} == {403}
        assert put(api, headers, ADMIN, "roles:manage").status == 403
        assert api.patch(f"/users/{admin.id}", {"role": ADMIN}, headers).status == 403
        assert api.get("/users/me", headers).json()["permissions"] == []


def test_a_role_that_is_changed_counts_for_the_next_request_of_a_live_token_and_key(
    api: Client, database: Database
) -> None:
    """OWASP ASVS 5.0 V8.3.2."""
    admin = api.token(make_user(database, role=ADMIN))
    analyst = make_user(database, role="analyst")
    both = (api.token(analyst), make_key(database, analyst, ["fulfillment:manage"]))

    def statuses() -> list[int]:
        return [api.get("/dead-letters", headers).status for headers in both]

    assert statuses() == [403, 403]
    assert put(api, admin, "analyst", "fulfillment:manage").status == 200
    assert statuses() == [200, 200]
    assert put(api, admin, "analyst").status == 200
    assert statuses() == [403, 403]


def test_who_takes_a_permission_from_their_own_role_lacks_it_and_cannot_give_it(
    api: Client, database: Database
) -> None:
    """OWASP ASVS 5.0 V8.3.2; and what somebody does not have, they do not give."""
    assert put(api, api.token(make_user(database, role=ADMIN)), "moderator", "audit:read", "roles:manage").status == 200
    moderator = api.token(make_user(database, role="moderator"))
    assert api.get("/admin/audit-log", moderator).status == 200
    assert put(api, moderator, "moderator", "roles:manage").status == 200
    assert api.get("/admin/audit-log", moderator).status == 403
    for role in ("moderator", "support"):
        assert put(api, moderator, role, "roles:manage", "audit:read").status == 403


# ── what is another's ────────────────────────────────────────────────────────────────────────────────────────────────

_OWN = {"x-request-id", "traceparent"}


def shape(answer: Answer, its_id: UUID) -> tuple[int, dict[str, str], str]:
    """All of an answer but the ids in it, of what was asked for and of the request."""
    body = answer.body.decode().replace(str(its_id), "ID").replace(answer.headers["x-request-id"], "REQUEST")
    return answer.status, {name: value for name, value in answer.headers.items() if name not in _OWN}, body


def same_as_absent(api: Client, method: str, path: str, there: UUID, headers: Headers) -> int:
    """The status of the answer about `there`, which is the same answer as about what does not exist."""
    absent = new_id()
    answers = [shape(api.run(api.call(method, path.format(one), headers=headers)), one) for one in (there, absent)]
    assert answers[0] == answers[1]
    return answers[0][0]


def test_another_s_order_is_answered_like_one_that_is_not_there(
    api: Client, database: Database, settings: Settings
) -> None:
    """OWASP API Security Top 10 2023, API1; OWASP ASVS 5.0 V8.2.2."""
    order = Shop(database, settings).paid()
    other = make_user(database)
    of_staff_without = make_user(database, role="moderator")
    for headers in (api.token(other), make_key(database, other, [OWN_ORDERS]), api.token(of_staff_without)):
        assert same_as_absent(api, "GET", "/orders/{}", order.id, headers) == 404
        assert api.get("/orders", headers).json()["items"] == []
    owner = api.token(make_user(database, role="support"))
    assert api.get(f"/orders/{order.id}", owner).status == 200


def test_another_s_session_is_answered_like_one_that_is_not_there_and_goes_on(api: Client, database: Database) -> None:
    """OWASP API Security Top 10 2023, API1; OWASP ASVS 5.0 V8.2.2."""
    owner, other = make_user(database), make_user(database, role=ADMIN)
    headers = api.token(owner)
    [its] = api.get("/users/me/sessions", headers).json()["items"]
    assert same_as_absent(api, "DELETE", "/users/me/sessions/{}", UUID(its["id"]), api.token(other)) == 404
    assert api.get("/users/me", headers).status == 200


def test_another_s_api_key_is_answered_like_one_that_is_not_there_and_stays_good(
    api: Client, database: Database
) -> None:
    """OWASP API Security Top 10 2023, API1; OWASP ASVS 5.0 V8.2.2."""
    owner, other = make_user(database), make_user(database, role=ADMIN)
    key = make_key(database, owner, [OWN_ORDERS])
    [its] = api.get("/users/me/api-keys", api.token(owner)).json()["items"]
    assert same_as_absent(api, "DELETE", "/users/me/api-keys/{}", UUID(its["id"]), api.token(other)) == 404
    assert api.get("/users/me/api-keys", api.token(other)).json()["items"] == []
    assert api.get("/orders", key).status == 200


@pytest.mark.parametrize("role", [CUSTOMER, "analyst"])
def test_a_dead_letter_is_refused_alike_whether_it_is_there_or_not(
    api: Client, database: Database, settings: Settings, role: str
) -> None:
    """OWASP API Security Top 10 2023, API1; OWASP ASVS 5.0 V8.2.2."""
    shop = Shop(database, settings)
    letter = shop.dead()
    for headers, status in ((api.token(make_user(database, role=role)), 403), ({}, 401)):
        assert same_as_absent(api, "GET", "/dead-letters/{}", letter.id, headers) == status
        for act in ("retry", "discard"):
            assert same_as_absent(api, "POST", f"/dead-letters/{{}}/{act}", letter.id, headers) == status
    assert shop.letter().resolution is None
