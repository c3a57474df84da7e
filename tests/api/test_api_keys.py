"""API keys over HTTP: shown once, limited to what they were given, good until they are not."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlmodel import col, select

from orderkit import clock
from orderkit.auth import api_keys
from orderkit.auth.models import ADMIN, ApiKey, AuditEntry, User
from orderkit.auth.permissions import OWN_ORDERS
from orderkit.db import Database
from tests.client import Answer, Client
from tests.engines import decided_by_the_request
from tests.factories import PASSWORD, make_product, make_user
from tests.threads import at_once

Headers = dict[str, str]
PATH = "/users/me/api-keys"


def make(api: Client, who: Headers, *permissions: str, **more: Any) -> Answer:
    body = {"name": "export", "permissions": list(permissions or (OWN_ORDERS,)), "current_password": PASSWORD} | more
    return api.post(PATH, body, who)


def bearer(made: Answer) -> Headers:
    assert made.status == 201, made
    return {"Authorization": f"Bearer {made.json()['key']}"}


def revoke(api: Client, who: Headers, key_id: str) -> Answer:
    return api.run(api.call("DELETE", f"{PATH}/{key_id}", headers=who))


def order(api: Client, who: Headers, sku: str, key: str = "1") -> Answer:
    body = {"items": [{"sku": sku, "quantity": 1}], "payment_method": "pm_card_visa"}
    return api.post("/orders", body, who | {"Idempotency-Key": key})


def test_a_key_is_shown_once_and_only_its_hash_is_kept(api: Client, database: Database, customer: Headers) -> None:
    """OWASP ASVS 5.0, V13.3: secrets are not stored as they are."""
    made = make(api, customer, name="nightly export").json()
    text = made.pop("key")
    assert re.fullmatch(r"okk_[a-z0-9]{8}_[A-Za-z0-9_-]{43}", text)
    assert made.keys() == {
        "id", "name", "prefix", "permissions", "created_at", "expires_at", "last_used_at", "revoked_at"
    }  # fmt: skip
    assert (made["name"], made["prefix"], made["permissions"]) == ("nightly export", text[:12], [OWN_ORDERS])
    listed = api.get(PATH, customer)
    assert listed.json() == {"items": [made], "next_cursor": None}
    with database.reading() as session:
        [stored] = session.scalars(select(ApiKey))
    assert text not in repr(stored)
    assert text[13:] not in repr(stored)
    assert stored.hash.encode() not in listed.body


def test_a_key_is_good_for_ninety_days_or_as_many_as_asked_for(api: Client, customer: Headers) -> None:
    for more, days in ({}, 90), ({"expires_in_days": 1}, 1), ({"expires_in_days": 365}, 365):
        made = make(api, customer, **more)
        times = [datetime.fromisoformat(made.json()[name]) for name in ("created_at", "expires_at")]
        assert times[1] - times[0] == timedelta(days=days)
        with clock.moved(timedelta(days=days, seconds=-30)):
            assert api.get("/users/me", bearer(made)).status == 200
        with clock.moved(timedelta(days=days, seconds=30)):
            refused = api.get("/users/me", bearer(made))
        assert (refused.status, refused.code) == (401, "unauthenticated")


@decided_by_the_request
@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": ""}, "#/name"),
        ({"name": "two\nlines"}, "#/name"),
        ({"name": "x" * 201}, "#/name"),
        ({"permissions": []}, "#/permissions"),
        ({"permissions": "orders:own"}, "#/permissions"),
        ({"permissions": ["orders:own", "orders:read"]}, "#/permissions/1"),
        ({"permissions": ["orders:eat", "orders:own"]}, "#/permissions/0"),
        ({"expires_in_days": 0}, "#/expires_in_days"),
        ({"expires_in_days": 366}, "#/expires_in_days"),
        ({"expires_in_days": True}, "#/expires_in_days"),
        ({"user_id": "somebody"}, "#/user_id"),
        ({"hash": "mine"}, "#/hash"),
    ],
)
def test_what_cannot_be_a_key_is_pointed_at(
    api: Client, customer: Headers, change: dict[str, Any], pointer: str
) -> None:
    """OWASP API Top 10 2023, API3: nothing but what is meant to be set can be."""
    refused = make(api, customer, **change)
    assert (refused.status, refused.code, refused.pointers) == (422, "validation_failed", [pointer])
    assert api.get(PATH, customer).json()["items"] == []


def test_a_key_can_do_what_it_was_given_and_nothing_else(api: Client, staff: Headers) -> None:
    """OWASP API Top 10 2023, API5: a key with less than its owner has is refused what it lacks."""
    reader = bearer(make(api, staff, "fulfillment:manage"))
    assert api.get("/dead-letters", reader).status == 200
    assert api.post("/products", {}, reader).code == "forbidden"
    assert api.get("/orders", reader).code == "forbidden"
    assert api.get("/users/me", reader).json()["permissions"] == ["fulfillment:manage"]
    assert api.get("/users/me", staff).json()["permissions"] != ["fulfillment:manage"]


def test_a_key_loses_what_its_owner_loses_at_once(api: Client, database: Database) -> None:
    """OWASP ASVS 5.0, V8.3.2: a change of what somebody may do counts at once."""
    user = make_user(database, role=ADMIN, password=PASSWORD)
    key = bearer(make(api, api.token(user), "fulfillment:manage"))
    assert api.get("/dead-letters", key).status == 200
    with database.transaction() as session:
        session.get_one(User, user.id).role = "creator"
    assert api.get("/dead-letters", key).code == "forbidden"


def test_an_order_can_be_placed_with_a_key_that_may_and_with_no_other(api: Client, database: Database) -> None:
    who, sku = api.token(make_user(database, role="analyst", password=PASSWORD)), make_product(database).sku
    placed = order(api, bearer(make(api, who, OWN_ORDERS)), sku)
    assert placed.status == 201
    assert order(api, bearer(make(api, who, "orders:read")), sku, "2").code == "forbidden"
    own = bearer(make(api, who, OWN_ORDERS))
    assert api.get(f"/orders/{placed.json()['id']}", own).status == 200
    assert [one["id"] for one in api.get("/orders", own).json()["items"]] == [placed.json()["id"]]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", PATH, None),
        ("POST", PATH, {"name": "more", "permissions": [OWN_ORDERS], "current_password": PASSWORD}),
        ("DELETE", f"{PATH}/0199b2d0-7c5e-7a3f-9d3e-0a6f3c1b2d4e", None),
        ("GET", "/users/me/sessions", None),
        ("DELETE", "/users/me/sessions", None),
    ],
)
def test_a_key_never_manages_the_account(
    api: Client, database: Database, staff: Headers, method: str, path: str, body: Any
) -> None:
    """A stolen key makes no further key, and does not outlive its end by way of one."""
    everything = api.get("/users/me", staff).json()["permissions"]
    key = bearer(make(api, staff, *everything, OWN_ORDERS))
    refused = api.run(api.call(method, path, body, headers=key))
    assert (refused.status, refused.code) == (403, "forbidden")
    with database.reading() as session:
        assert len(session.scalars(select(ApiKey)).all()) == 1


def test_a_revoked_key_is_refused_at_once_and_still_listed(api: Client, customer: Headers) -> None:
    """OWASP ASVS 5.0, V7.4: the next call is refused."""
    made = make(api, customer)
    assert api.get("/users/me", bearer(made)).status == 200
    for _ in range(2):
        assert revoke(api, customer, made.json()["id"]).status == 204
    refused = api.get("/users/me", bearer(made))
    assert (refused.status, refused.code) == (401, "unauthenticated")
    assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    [listed] = api.get(PATH, customer).json()["items"]
    assert listed["revoked_at"] is not None


def test_anothers_key_is_as_one_that_is_not_there(api: Client, database: Database, customer: Headers) -> None:
    """OWASP API Top 10 2023, API1."""
    made, other = make(api, customer), api.token(make_user(database, role=ADMIN, password=PASSWORD))
    absent = "0199b2d0-7c5e-7a3f-9d3e-0a6f3c1b2d4e"
    told = [revoke(api, other, key_id).json() for key_id in (made.json()["id"], absent)]
    assert [one["status"] for one in told] == [404, 404]
    details = [one["detail"].replace(key, "") for one, key in zip(told, (made.json()["id"], absent), strict=True)]
    assert details[0] == details[1]
    assert api.get(PATH, other).json()["items"] == []
    assert api.get("/users/me", bearer(made)).status == 200


def test_no_more_than_fifty_keys_are_good_at_once(
    api: Client, database: Database, customer: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert api_keys.MAX_GOOD == 50
    monkeypatch.setattr(api_keys, "MAX_GOOD", 3)
    statuses = [answer.status for answer in at_once(*[partial(make, api, customer)] * 6)]
    assert sorted(statuses) == [201] * 3 + [409] * 3
    assert make(api, customer).code == "conflict"
    first = api.get(PATH, customer).json()["items"][0]["id"]
    revoke(api, customer, first)
    assert make(api, customer, expires_in_days=1).status == 201
    assert make(api, customer).status == 409
    with database.transaction() as session:
        session.scalars(select(ApiKey).where(col(ApiKey.revoked_at).is_(None))).first().expires_at = clock.now()  # type: ignore[union-attr]
    assert make(api, customer).status == 201, "what has expired is not counted"


def test_keys_are_paged_newest_first(api: Client, customer: Headers) -> None:
    made = [make(api, customer, name=f"key {number}").json()["name"] for number in range(5)]
    seen: list[str] = []
    path = f"{PATH}?limit=2"
    while True:
        page = api.get(path, customer).json()
        seen += [one["name"] for one in page["items"]]
        if page["next_cursor"] is None:
            break
        path = f"{PATH}?limit=2&cursor={page['next_cursor']}"
    assert seen == made[::-1]


def test_the_last_use_of_a_key_is_known_to_the_minute(api: Client, customer: Headers) -> None:
    made = make(api, customer)
    assert made.json()["last_used_at"] is None
    seen = []
    for minutes in (0, 0.5, 2):
        with clock.moved(timedelta(minutes=minutes)):
            assert api.get("/users/me", bearer(made)).status == 200
            seen.append(api.get(PATH, customer).json()["items"][0]["last_used_at"])
    assert seen[0] is not None
    assert seen[0] == seen[1] < seen[2]


def test_making_and_revoking_are_in_the_audit_log_without_the_key(api: Client, database: Database) -> None:
    user = make_user(database, password=PASSWORD)
    who = api.token(user)
    made = make(api, who, name="canary name")
    revoke(api, who, made.json()["id"])
    revoke(api, who, made.json()["id"])
    with database.reading() as session:
        entries = session.scalars(select(AuditEntry).order_by(col(AuditEntry.at))).all()
    assert [(one.actor_id, one.source, one.action) for one in entries] == [
        (user.id, "127.0.0.1", "api_key.made"),
        (user.id, "127.0.0.1", "api_key.revoked"),
    ]
    assert {one.subject for one in entries} == {f"api_key:{made.json()['id']}"}
    assert entries[0].detail == {"user_id": str(user.id), "permissions": [OWN_ORDERS]}
    assert "canary" not in repr(entries)


def test_a_key_is_of_no_use_while_its_owner_is_banned(api: Client, database: Database) -> None:
    user = make_user(database, password=PASSWORD)
    key = bearer(make(api, api.token(user)))
    for banned_at, status in ((clock.now(), 401), (None, 200)):
        with database.transaction() as session:
            session.get_one(User, user.id).banned_at = banned_at
        assert api.get("/users/me", key).status == status
