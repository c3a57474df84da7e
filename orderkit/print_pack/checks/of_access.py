"""Who somebody is, and what they may do."""

from __future__ import annotations

import base64
import json
from typing import Any

from orderkit.demo.customers import Login
from orderkit.ids import new_id
from orderkit.print_pack.checks.checking import Check, Fails, expect, same
from orderkit.print_pack.checks.site import Live, Person, Site

MINUTES = 15


async def _register(site: Site) -> str:
    who = await site.live.customer()
    [row] = await site.live.rows("SELECT password_hash FROM users WHERE email = :email", email=who.login.email)
    expect(row.password_hash.startswith("$argon2id$"), "the password is not kept as a hash of Argon2id")
    expect(who.login.password not in row.password_hash, "the password is in its hash")
    shown = (await site.live.must(200, "GET", "/users/me", who)).body
    expect(not any("password" in name for name in shown), "an account shows its password, or its hash")
    return f"kept as {row.password_hash.rpartition('$')[0].rpartition('$')[0]}, never shown"


async def _login(site: Site) -> str:
    tokens = await site.live.tokens((await site.live.customer()).login)
    claims = _claims(tokens["access_token"])
    same(claims["exp"] - claims["iat"], MINUTES * 60, "seconds that the token is good for")
    same(tokens["expires_in"], MINUTES * 60, "expires_in")
    expect("@" not in json.dumps(claims), "the token tells the address of its user")
    return f"a signed token of {MINUTES} minutes that says {', '.join(sorted(claims))}"


def _claims(token: str) -> Any:
    parts = token.split(".")
    expect(len(parts) == 3, "the access token is no JWT")
    return json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))


async def _wrong_password(site: Site) -> str:
    who = await site.live.customer()
    answers = []
    for email in (who.login.email, f"{new_id().hex}@check.example"):
        form = {"grant_type": "password", "username": email, "password": "not-the-password"}
        reply = await site.live.must(401, "POST", "/token", form=form)
        answers.append((reply.body["code"], reply.body["detail"]))
    same(answers[0], answers[1], "what a known and an unknown address are told")
    await site.live.log_in(who.login)
    return "401, the same for an address that nobody has"


async def _required(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    for path in ("/users/me", "/orders", "/dead-letters", "/analytics/status-counts", "/users"):
        reply = await live.must(401, "GET", path)
        expect("bearer" in reply.headers.get("WWW-Authenticate", "").lower(), f"{path} does not say how to log in")
    changed = who.token[:-2] + ("A" if who.token[-2] != "A" else "B") + who.token[-1]
    await live.must(401, "GET", "/users/me", Person(who.login, who.id, changed))
    same((await live.order(None)).status, 401, "an order without a token")
    return "401 without a token, and with one of which a letter was changed"


async def _roles(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    closed = ("/users", "/roles", "/dead-letters", "/analytics/status-counts", "/admin/audit-log")
    for path in closed:
        same((await live.ask("GET", path, who)).status, 403, f"{path} for a customer")
        same((await live.ask("GET", path, live.staff)).status, 200, f"{path} for staff")
    return f"403 for a customer at {len(closed)} addresses that staff are let in at"


async def _granted(site: Site) -> str:
    live, who = site.live, await site.live.customer()
    seen = []
    for role in ("customer", "analyst", "customer"):
        await live.must(200, "PATCH", f"/users/{who.id}", live.staff, body={"role": role})
        seen.append((await live.ask("GET", "/analytics/status-counts", who)).status)
    same(seen, [403, 200, 403], "a report, as customer, as analyst and as customer again")
    return "a role that is given or taken counts for the next request of the same token"


async def _refresh(site: Site) -> str:
    live = site.live
    login = (await live.customer()).login
    first = await live.tokens(login)
    second = await _refreshed(live, first["refresh_token"], 200)
    await _refreshed(live, first["refresh_token"], 401)
    await _refreshed(live, second["refresh_token"], 401)
    await live.must(401, "GET", "/users/me", Person(login, "", second["access_token"]))
    return "good once; used twice, it ends the session and all its tokens"


async def _refreshed(live: Live, token: str, status: int) -> Any:
    return (await live.must(status, "POST", "/token/refresh", body={"refresh_token": token})).body


async def _ownership(site: Site) -> str:
    live = site.live
    owner, other = await live.customer(), await live.customer("stranger")
    order = await live.paid(owner)
    for method, path in (("GET", ""), ("GET", "/timeline"), ("POST", "/cancel")):
        await live.must(404, method, f"/orders/{order['id']}{path}", other)
    listed = (await live.must(200, "GET", "/orders", other)).body["items"]
    same(listed, [], "the orders of somebody who has none")
    await live.must(200, "GET", f"/orders/{order['id']}", live.staff)
    return "another's order is answered like one that is not there; staff see it"


async def _throttled(site: Site) -> str:
    login = Login(f"{new_id().hex}@check.example", "not-the-password")
    form = {"grant_type": "password", "username": login.email, "password": login.password}
    for tried in range(1, 13):
        reply = await site.live.ask("POST", "/token", form=form)
        if reply.status == 429:
            expect(int(reply.headers.get("Retry-After", "0")) > 0, "429 does not say when to come again")
            return f"after {tried - 1} wrong passwords the next is told 429, and when to come again"
    raise Fails("twelve wrong passwords in a row are all looked at")


CHECKS = (
    Check(
        "access.register",
        "Registration keeps a password as an Argon2id hash only.",
        _register,
        (
            "orderkit/api/accounts.py",
            "orderkit/auth/passwords.py",
            "tests/api/test_accounts.py::test_the_password_is_stored_as_a_hash_only",
        ),
    ),
    Check(
        "access.login",
        "A login gives a signed JWT that is good for 15 minutes and names nobody.",
        _login,
        ("orderkit/auth/tokens.py", "tests/auth/test_tokens.py::test_a_token_says_no_more_than_whose_it_is"),
    ),
    Check(
        "access.wrong_password",
        "A wrong password is 401 and does not tell which addresses are known.",
        _wrong_password,
        ("orderkit/api/tokens.py", "tests/api/test_accounts.py::test_nobody_learns_whether_an_address_is_known"),
    ),
    Check(
        "access.required",
        "Without a good token the answer is 401.",
        _required,
        ("orderkit/api/dependencies.py", "tests/auth/test_tokens.py::test_every_changed_character_is_noticed"),
    ),
    Check(
        "access.roles",
        "Without the permission the answer is 403.",
        _roles,
        (
            "orderkit/api/access.py",
            "tests/security/test_access.py::test_every_method_of_every_route_lets_in_whom_its_rule_names_and_nobody_else",
        ),
    ),
    Check(
        "access.granted",
        "A role counts as it is now, not as it was at login.",
        _granted,
        ("orderkit/auth/roles.py", "tests/api/test_accounts.py::test_a_role_counts_as_it_is_now"),
    ),
    Check(
        "access.refresh",
        "A refresh token is good once; used twice, it ends the session.",
        _refresh,
        (
            "orderkit/auth/sessions.py",
            "tests/auth/test_sessions.py::test_a_refresh_token_used_twice_ends_its_session_at_once",
        ),
    ),
    Check(
        "access.ownership",
        "An order is its owner's and staff's, and nobody else can tell that it exists.",
        _ownership,
        (
            "orderkit/api/orders.py",
            "tests/security/test_access.py::test_another_s_order_is_answered_like_one_that_is_not_there",
        ),
    ),
    Check(
        "access.throttled",
        "Failed logins are throttled.",
        _throttled,
        ("orderkit/throttle.py", "tests/security/test_throttling.py"),
    ),
)
