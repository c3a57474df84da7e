"""Logging in, refreshing and logging out over HTTP: what ends a session ends it for the very next request, orders too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from sqlmodel import Session, select

from orderkit import clock
from orderkit.auth import sessions
from orderkit.auth.models import ADMIN, User
from orderkit.db import Database
from orderkit.orders.models import Order
from tests.client import Answer, Client
from tests.factories import make_product, make_user

PASSWORD = "a long enough password"
EMAIL = "ada@example.com"


@pytest.fixture
def user(database: Database) -> User:
    return make_user(database, email=EMAIL, password=PASSWORD)


@pytest.fixture
def sku(database: Database) -> str:
    return make_product(database, stock=1000).sku


def log_in(api: Client, **headers: str) -> dict[str, Any]:
    answer = api.form("/token", {"username": EMAIL, "password": PASSWORD}, headers)
    assert answer.status == 200, answer
    told: dict[str, Any] = answer.json()
    return told


def bearer(told: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {told['access_token']}"}


def order(api: Client, who: dict[str, str], sku: str, key: str) -> Answer:
    body = {"items": [{"sku": sku, "quantity": 1}], "payment_method": "pm_card_visa"}
    return api.post("/orders", body, who | {"Idempotency-Key": key})


def works(api: Client, who: dict[str, str], sku: str) -> bool:
    """Whether a token is taken, on the order path and elsewhere; they must agree."""
    statuses = [api.get("/users/me", who).status, order(api, who, sku, "one-key").status]
    assert statuses in ([200, 201], [401, 401]), statuses
    return statuses == [200, 201]


def test_a_login_gives_an_access_token_of_15_minutes_and_a_refresh_token(api: Client, user: User) -> None:
    """OWASP ASVS 5.0 V10.4.8."""
    told = log_in(api)
    assert told.keys() == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert (told["token_type"], told["expires_in"]) == ("bearer", 900)
    head = jwt.get_unverified_header(told["access_token"])
    assert head == {"alg": "HS256", "typ": "JWT", "kid": head["kid"]}


def test_a_refresh_gives_new_tokens_and_the_old_refresh_token_ends_the_session(
    api: Client, user: User, sku: str
) -> None:
    """RFC 9700, section 4.14.2."""
    first = log_in(api)
    second = api.post("/token/refresh", {"refresh_token": first["refresh_token"]}).json()
    assert second.keys() == first.keys()
    assert second["refresh_token"] != first["refresh_token"]
    assert works(api, bearer(second), sku)
    again = api.post("/token/refresh", {"refresh_token": first["refresh_token"]})
    assert (again.status, again.code) == (401, "unauthenticated")
    assert not works(api, bearer(first), sku)
    assert not works(api, bearer(second), sku)
    assert api.post("/token/refresh", {"refresh_token": second["refresh_token"]}).status == 401


def test_of_twenty_refreshes_at_once_one_succeeds(api: Client, user: User, sku: str) -> None:
    """RFC 9700, section 4.14.2."""
    body = {"refresh_token": log_in(api)["refresh_token"]}

    async def all_at_once() -> list[Answer]:
        return await asyncio.gather(*(api.call("POST", "/token/refresh", body) for _ in range(20)))

    answers = api.run(all_at_once())
    assert sorted(answer.status for answer in answers) == [200] + [401] * 19
    (won,) = [answer.json() for answer in answers if answer.status == 200]
    assert not works(api, bearer(won), sku)


def test_a_refresh_token_is_no_access_token_and_the_other_way_round(api: Client, user: User, sku: str) -> None:
    """OWASP ASVS 5.0 V9.2.2."""
    told = log_in(api)
    assert not works(api, {"Authorization": f"Bearer {told['refresh_token']}"}, sku)
    assert api.post("/token/refresh", {"refresh_token": told["access_token"]}).status == 401
    assert works(api, bearer(told), sku)


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_revoking_either_token_logs_out_for_the_very_next_request(api: Client, user: User, sku: str, kind: str) -> None:
    """RFC 7009; OWASP ASVS 5.0 V7.4.1."""
    told, other = log_in(api), log_in(api)
    assert works(api, bearer(told), sku)
    answer = api.form("/token/revoke", {"token": told[kind], "token_type_hint": kind})
    assert (answer.status, answer.body) == (200, b"")
    assert not works(api, bearer(told), sku)
    assert api.post("/token/refresh", {"refresh_token": told["refresh_token"]}).status == 401
    assert works(api, bearer(other), sku), "another login of the same user goes on"
    assert api.form("/token/revoke", {"token": told[kind]}).status == 200


@pytest.mark.parametrize(
    "token", ["nonsense", "okr_nonsense", "okr_" + "A" * 86, "a.b.c", "é", "a\0b", "x" * 4001, "okr_" + "A" * 60_000]
)
def test_revoking_what_is_no_token_is_fine_too(api: Client, token: str) -> None:
    """RFC 7009, section 2.2; of a hint that means nothing to us, section 2.1."""
    assert api.form("/token/revoke", {"token": token}).status == 200
    assert api.form("/token/revoke", {"token": token, "token_type_hint": "x" * 41}).status == 200


def test_logins_are_listed_to_their_owner_who_ends_one_or_all(
    api: Client, database: Database, user: User, sku: str
) -> None:
    """OWASP ASVS 5.0 V7.5.2."""
    stranger = api.token(make_user(database))
    first, second = log_in(api, **{"User-Agent": "phone"}), log_in(api, **{"User-Agent": "laptop"})
    listed = api.get("/users/me/sessions", bearer(second)).json()["items"]
    assert [(one["user_agent"], one["current"], one["address"]) for one in listed] == [
        ("laptop", True, "127.0.0.1"),
        ("phone", False, "127.0.0.1"),
    ]
    assert all("hash" not in name for one in listed for name in one)
    absent, others = (
        api.run(api.call("DELETE", f"/users/me/sessions/{one}", headers=stranger))
        for one in (listed[0]["id"][:-4] + "0000", listed[1]["id"])
    )
    assert (absent.status, others.status, absent.code) == (404, 404, others.code)

    ended = api.run(api.call("DELETE", f"/users/me/sessions/{listed[1]['id']}", headers=bearer(second)))
    assert ended.status == 204
    assert not works(api, bearer(first), sku)
    assert works(api, bearer(second), sku)

    third = log_in(api)
    assert api.run(api.call("DELETE", "/users/me/sessions", headers=bearer(third))).status == 204
    assert not any(works(api, bearer(one), sku) for one in (second, third))
    assert works(api, bearer(log_in(api)), sku)


def test_a_list_of_logins_is_paged_and_its_cursor_is_its_owners(api: Client, database: Database, user: User) -> None:
    for _ in range(4):
        sessions.start(database, user, days=30)
    who = bearer(log_in(api))
    page = api.get("/users/me/sessions?limit=2", who).json()
    assert len(page["items"]) == 2
    rest = api.get(f"/users/me/sessions?limit=100&cursor={page['next_cursor']}", who).json()
    assert len({one["id"] for one in page["items"] + rest["items"]}) == 5
    assert rest["next_cursor"] is None
    stranger = api.token(make_user(database))
    assert api.get(f"/users/me/sessions?cursor={page['next_cursor']}", stranger).code == "cursor_invalid"


def banned(session: Session, user: User) -> None:
    session.get_one(User, user.id).banned_at = clock.now()


def deleted(session: Session, user: User) -> None:
    session.get_one(User, user.id).deleted_at = clock.now()


def all_ended(session: Session, user: User) -> None:
    sessions.end_all(session.connection(), user.id)


@pytest.mark.parametrize("end", [banned, deleted, all_ended])
def test_what_ends_a_users_sessions_counts_for_the_next_request_and_the_next_order(
    api: Client, database: Database, user: User, sku: str, end: Callable[[Session, User], None]
) -> None:
    """OWASP ASVS 5.0 V7.4.2."""
    told = log_in(api)
    assert works(api, bearer(told), sku)
    with database.transaction() as session:
        end(session, user)
    assert not works(api, bearer(told), sku), "nor is the answer of an earlier order told again"
    fresh = order(api, bearer(told), sku, "another-key")
    assert (fresh.status, fresh.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')
    with database.reading() as session:
        assert len(session.scalars(select(Order)).all()) == 1


def test_of_a_batch_only_those_are_refused_whose_session_is_over(api: Client, database: Database, sku: str) -> None:
    everyone = [make_user(database) for _ in range(12)]
    holders = [api.token(one) for one in everyone]
    with database.transaction() as session:
        for one in everyone[::3]:
            session.get_one(User, one.id).banned_at = clock.now()

    async def all_at_once() -> list[Answer]:
        body = {"items": [{"sku": sku, "quantity": 1}], "payment_method": "pm_card_visa"}
        return await asyncio.gather(
            *(api.call("POST", "/orders", body, headers=who | {"Idempotency-Key": "k"}) for who in holders)
        )

    statuses = [answer.status for answer in api.run(all_at_once())]
    assert statuses == [401 if number % 3 == 0 else 201 for number in range(12)]
    assert [order(api, who, sku, "k").status for who in holders] == statuses


def test_a_refused_order_leaves_its_key_free(api: Client, database: Database, user: User, sku: str) -> None:
    told = log_in(api)
    with database.transaction() as session:
        banned(session, user)
    assert order(api, bearer(told), sku, "k").status == 401
    with database.transaction() as session:
        session.get_one(User, user.id).banned_at = None
    answer = order(api, bearer(log_in(api)), sku, "k")
    assert (answer.status, answer.headers.get("idempotent-replayed")) == (201, None)


def test_a_session_is_over_after_thirty_days(api: Client, user: User, sku: str) -> None:
    """OWASP ASVS 5.0 V7.3.2."""
    told = log_in(api)
    with clock.moved(timedelta(days=30, seconds=1)):
        assert api.post("/token/refresh", {"refresh_token": told["refresh_token"]}).status == 401


def test_a_token_from_before_sessions_is_refused(api: Client, user: User) -> None:
    claims = jwt.decode(log_in(api)["access_token"], options={"verify_signature": False})
    del claims["sid"]
    key_id, secret = next(iter(api.runtime.tokens._keys.items()))
    forged = jwt.encode(claims, secret, algorithm="HS256", headers={"kid": key_id})
    assert api.get("/users/me", {"Authorization": f"Bearer {forged}"}).status == 401


def test_bodies_that_are_no_refresh_are_refused(api: Client) -> None:
    for body, pointer in [
        ({}, "#/refresh_token"),
        ({"refresh_token": 5}, "#/refresh_token"),
        ({"refresh_token": ""}, "#/refresh_token"),
        ({"refresh_token": "x" * 4001}, "#/refresh_token"),
        ({"refresh_token": "x", "role": ADMIN}, "#/role"),
    ]:
        answer = api.post("/token/refresh", body)
        assert (answer.status, answer.pointers) == (422, [pointer])
    assert api.form("/token/revoke", {}).status == 422
