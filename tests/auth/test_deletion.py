"""Deleting an account, one's own and by staff, over HTTP: what goes, what stays, and who is left."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Text, cast, func, select
from sqlmodel import col

from orderkit import clock
from orderkit.auth import accounts, mails, sessions
from orderkit.auth.links import Purpose
from orderkit.auth.models import ADMIN, CUSTOMER, ApiKey, AuditEntry, LoginSession, User
from orderkit.db import Database
from orderkit.orders import erasure
from orderkit.orders.models import Order
from orderkit.schema import metadata
from orderkit.settings import Settings
from tests.client import Answer, Client, running
from tests.factories import logs_in, make_product, make_user
from tests.threads import at_once

Headers = dict[str, str]
EMAIL, PASSWORD = "canary-a@example.com", "correct horse"
FORM = {"username": EMAIL, "password": PASSWORD}
HOME = "10.11.12.13"
CANARIES = ("canary", EMAIL, HOME)
ADDRESS = {
    "name": "Canary Name",
    "line1": "1 Canary Row",
    "line2": "Canary floor",
    "city": "Canaryville",
    "postal_code": "CANARY-1",
    "country": "GB",
}


@pytest.fixture
def api(settings: Settings, database: Database) -> Any:
    with running(settings) as client:
        yield client


def delete_me(api: Client, who: Headers) -> Answer:
    return api.run(api.call("DELETE", "/users/me", headers=who, address=HOME))


def log_in(api: Client) -> Headers:
    agent = {"User-Agent": "Canary browser", "Content-Type": "application/x-www-form-urlencoded"}
    form = f"username={EMAIL.replace('@', '%40')}&password={PASSWORD.replace(' ', '+')}".encode()
    answer = api.run(api.call("POST", "/token", form, headers=agent, address=HOME))
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def order(api: Client, who: Headers, sku: str, key: str) -> Answer:
    body = {
        "items": [{"sku": sku, "quantity": 1}],
        "payment_method": "pm_card_visa",
        "shipping_address": ADDRESS,
        "note": "canary note",
    }
    return api.post("/orders", body, who | {"Idempotency-Key": key})


def mentions(database: Database) -> set[str]:
    """The columns of all tables that have one of the canaries in them, whatever the column's type."""
    found = set()
    with database.reading() as session:
        for table in metadata.sorted_tables:
            for column in table.columns:
                for word in CANARIES:
                    like = func.lower(cast(column, Text)).contains(word, autoescape=True)
                    if session.execute(select(column).where(like).limit(1)).first() is not None:
                        found.add(f"{table.name}.{column.name}")
    return found


def close(database: Database, order_id: str) -> None:
    with database.transaction() as session:
        session.get_one(Order, UUID(order_id)).status = "shipped"


def test_whoever_deletes_their_account_is_in_no_table_any_more(api: Client, database: Database) -> None:
    """Everything that was said of them anywhere goes, in one request, or with the last parcel.

    GDPR, article 17.
    """
    user = make_user(database, email=EMAIL, name="Canary Name", password=PASSWORD)
    sku, who = make_product(database).sku, log_in(api)
    profile = {"avatar_url": "https://canary.example.com/a.png", "bio": "a canary"}
    assert api.patch("/users/me", profile, who).status == 200
    key = {"name": "canary key", "permissions": ["orders:own"], "current_password": PASSWORD}
    assert api.run(api.call("POST", "/users/me/api-keys", key, headers=who, address=HOME)).status == 201
    assert api.post("/users/me/verification", headers=who).status == 202
    with database.transaction() as session:
        mails.ask(session.connection(), Purpose.RESET_PASSWORD, EMAIL)
    closed, still_open = (order(api, who, sku, key).json()["id"] for key in ("1", "2"))
    close(database, closed)
    assert mentions(database) >= {
        "users.email", "users.name", "users.search_name", "users.avatar_url", "users.bio", "sessions.user_agent",
        "sessions.address", "audit_log.source", "api_keys.name", "account_mails.email",
        "orders.shipping_address", "orders.note", "idempotency_keys.body",
    }  # fmt: skip

    assert delete_me(api, who).status == 204

    assert mentions(database) == {"orders.shipping_address", "orders.note"}, "of the parcel that is still to go"
    close(database, still_open)
    with clock.moved(erasure.SETTLED + timedelta(minutes=1)), database.transaction() as session:
        [waiting] = erasure.waiting(session.connection(), limit=10)
        erasure.go_on(session.connection(), waiting)
    assert mentions(database) == set()
    with database.reading() as session:
        row = session.get_one(User, user.id)
        assert (row.email, row.name) == (f"deleted-{user.id}@deleted.invalid", "deleted user")
        assert (row.password_hash, row.verified_at, row.search_name) == (None, None, None)
        assert None not in (row.deleted_at, row.erased_at)
        for model in (LoginSession, ApiKey):
            assert session.scalars(select(model)).all() == []


def test_after_it_every_token_and_key_is_refused_and_nobody_logs_in(api: Client, database: Database) -> None:
    """OWASP ASVS 5.0, V7.4: the next call is refused."""
    make_user(database, email=EMAIL, password=PASSWORD)
    who, other = log_in(api), log_in(api)
    made = api.post(
        "/users/me/api-keys", {"name": "k", "permissions": ["orders:own"], "current_password": PASSWORD}, who
    ).json()
    key = {"Authorization": f"Bearer {made['key']}"}
    sku = make_product(database).sku
    assert delete_me(api, who).status == 204
    refused = [api.get("/users/me", one) for one in (who, other, key)]
    refused += [order(api, one, sku, "1") for one in (who, other, key)]
    refused += [delete_me(api, who), api.form("/token", FORM)]
    assert [(one.status, one.code) for one in refused] == [(401, "unauthenticated")] * 8


def test_the_address_is_free_and_gets_nothing_of_the_old_account(api: Client, database: Database) -> None:
    old = make_user(database, email=EMAIL, name="Old", password=PASSWORD, verified_at=clock.now())
    who, sku = log_in(api), make_product(database).sku
    placed = order(api, who, sku, "1")
    delete_me(api, who)
    made = api.post("/register", {"email": EMAIL, "password": "another horse", "name": "New"}).json()
    assert made["id"] != str(old.id)
    assert api.form("/token", FORM).status == 401, "with the old password"
    token = api.form("/token", FORM | {"password": "another horse"}).json()["access_token"]
    fresh = {"Authorization": f"Bearer {token}"}
    assert api.get("/users/me", fresh).json()["verified"] is False
    assert api.get("/orders", fresh).json()["items"] == []
    assert api.get(f"/orders/{placed.json()['id']}", fresh).status == 404
    assert order(api, fresh, sku, "1").headers.get("idempotent-replayed") is None
    assert accounts.find_by_email(database, EMAIL).name == "New"  # type: ignore[union-attr]


def test_the_orders_stay_for_staff_and_open_ones_can_still_be_shipped(api: Client, database: Database) -> None:
    make_user(database, email=EMAIL, password=PASSWORD)
    who, sku = log_in(api), make_product(database).sku
    placed = order(api, who, sku, "1").json()
    delete_me(api, who)
    staff = api.token(make_user(database, role="support"))
    seen = api.get(f"/orders/{placed['id']}", staff).json()
    assert seen["shipping_address"] == ADDRESS, "it is still to be shipped"
    assert {**seen, "fulfillment": None} == {**placed, "fulfillment": None, "staff_note": None}
    assert [one["id"] for one in api.get("/orders", staff).json()["items"]] == [placed["id"]]


def test_deleted_twice_at_once_is_deleted_once(api: Client, database: Database) -> None:
    user = make_user(database, email=EMAIL, password=PASSWORD)
    first, second = log_in(api), log_in(api)
    answers = at_once(partial(delete_me, api, first), partial(delete_me, api, second))
    assert sorted(one.status for one in answers) == [204, 401]
    with database.reading() as session:
        mine = select(AuditEntry).where(col(AuditEntry.subject) == f"user:{user.id}")
        [entry] = session.scalars(mine).all()
    assert (entry.action, entry.actor_id, entry.detail) == ("user.left", user.id, {})


def test_the_last_active_admin_cannot_go_and_the_last_but_one_can(api: Client, database: Database) -> None:
    """Also where the last two go at once."""
    admins = [make_user(database, role=ADMIN, password=PASSWORD) for _ in range(3)]
    tokens = [api.token(one) for one in admins]
    answers = at_once(*(partial(delete_me, api, who) for who in tokens))
    assert sorted(one.status for one in answers) == [204, 204, 409]
    with database.reading() as session:
        roles = [session.get_one(User, one.id).role for one in admins]
    assert sorted(roles) == [ADMIN, CUSTOMER, CUSTOMER], "who is deleted is no admin any more"
    [left] = [who for who, answer in zip(tokens, answers, strict=True) if answer.status == 409]
    assert delete_me(api, left).code == "conflict"
    assert api.get("/users/me", left).json()["role"] == ADMIN


def test_a_key_does_not_delete_its_owner(api: Client, database: Database) -> None:
    who = api.token(make_user(database, password=PASSWORD))
    made = api.post(
        "/users/me/api-keys", {"name": "k", "permissions": ["orders:own"], "current_password": PASSWORD}, who
    ).json()
    assert delete_me(api, {"Authorization": f"Bearer {made['key']}"}).code == "forbidden"
    assert api.get("/users/me", who).status == 200


def test_a_login_that_was_under_way_is_dead(api: Client, database: Database) -> None:
    """OWASP ASVS 5.0, V7.4."""
    make_user(database, email=EMAIL, password=PASSWORD)
    who = log_in(api)
    checked = logs_in(database, EMAIL, PASSWORD)
    assert checked is not None
    delete_me(api, who)
    granted = sessions.start(database, checked, days=30)
    late = {"Authorization": f"Bearer {api.runtime.tokens.issue(checked.id, granted.session_id).token}"}
    assert api.get("/users/me", late).status == 401
    assert api.post("/token/refresh", {"refresh_token": granted.refresh_token}).status == 401
