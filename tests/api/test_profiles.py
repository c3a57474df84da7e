"""What one says of oneself, what anyone may see of it, and changing one's password."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from sqlmodel import col, select

from orderkit import clock
from orderkit.auth.models import ADMIN, AuditEntry, User
from orderkit.db import Database
from tests.client import Answer, Client
from tests.engines import decided_by_the_request
from tests.factories import logs_in, make_user
from tests.threads import at_once

Headers = dict[str, str]
PASSWORD, NEW = "correct horse", "battery staple"


def change(api: Client, who: Headers, **what: Any) -> Answer:
    return api.patch("/users/me", what, who)


def new_password(api: Client, who: Headers, current: str = PASSWORD, new: str = NEW) -> Answer:
    return api.post("/users/me/password", {"current_password": current, "new_password": new}, who)


@pytest.fixture
def ada(database: Database) -> User:
    return make_user(database, email="ada@example.com", name="Ada", password=PASSWORD)


# ── the profile ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_sent_is_changed_and_what_is_absent_stays(api: Client, ada: User) -> None:
    who = api.token(ada)
    avatar = "https://example.com:8443/a%20b.png?size=2#x"
    first = change(api, who, name="Ada L.", avatar_url=avatar, bio="Two\nlines 🍵").json()
    assert (first["name"], first["avatar_url"], first["bio"]) == ("Ada L.", avatar, "Two\nlines 🍵")
    assert change(api, who, bio="One").json() == first | {"bio": "One"}
    assert change(api, who, bio=None).json() == first | {"bio": None}
    assert change(api, who, avatar_url=None).json() == first | {"bio": None, "avatar_url": None}
    assert change(api, who).json() == api.get("/users/me", who).json() == first | {"bio": None, "avatar_url": None}
    assert first.keys() == {
        "id", "email", "name", "role", "avatar_url", "bio", "verified", "created_at", "permissions"
    }  # fmt: skip


@decided_by_the_request
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": None}, "#/name"),
        ({"name": " "}, "#/name"),
        ({"name": "two\nlines"}, "#/name"),
        ({"bio": ""}, "#/bio"),
        ({"bio": "x" * 501}, "#/bio"),
        ({"bio": "a\ttab"}, "#/bio"),
        ({"bio": "\x1b[31m"}, "#/bio"),
        ({"bio": "\x85"}, "#/bio"),
        ({"avatar_url": ""}, "#/avatar_url"),
        ({"avatar_url": "http://example.com/a.png"}, "#/avatar_url"),
        ({"avatar_url": "javascript:alert(1)"}, "#/avatar_url"),
        ({"avatar_url": "data:text/html,x"}, "#/avatar_url"),
        ({"avatar_url": "//example.com/a.png"}, "#/avatar_url"),
        ({"avatar_url": "https://"}, "#/avatar_url"),
        ({"avatar_url": "https:///a.png"}, "#/avatar_url"),
        ({"avatar_url": "https://example.com:port/"}, "#/avatar_url"),
        ({"avatar_url": "https://[::1/"}, "#/avatar_url"),
        ({"avatar_url": "https://ada:secret@example.com/"}, "#/avatar_url"),
        ({"avatar_url": 'https://example.com/"onload="x'}, "#/avatar_url"),
        ({"avatar_url": "https://example.com/a b"}, "#/avatar_url"),
        ({"avatar_url": "https://example.com/a\n"}, "#/avatar_url"),
        ({"avatar_url": "https://example.com/" + "x" * 481}, "#/avatar_url"),
        ({"role": ADMIN}, "#/role"),
        ({"email": "other@example.com"}, "#/email"),
        ({"verified": True}, "#/verified"),
        ({"permissions": []}, "#/permissions"),
        ({"token_version": 7}, "#/token_version"),
    ],
)
def test_what_cannot_be_said_of_oneself_is_pointed_at(
    api: Client, ada: User, body: dict[str, Any], pointer: str
) -> None:
    """OWASP API Top 10 2023, API3: nothing but name, picture and bio can be set, and no address that a page would run."""
    who = api.token(ada)
    before = api.get("/users/me", who).json()
    refused = change(api, who, **body)
    assert (refused.status, refused.code, refused.pointers) == (422, "validation_failed", [pointer])
    assert api.get("/users/me", who).json() == before


def test_a_bio_and_an_address_may_be_five_hundred_characters(api: Client, ada: User) -> None:
    url = "https://example.com/" + "x" * 480
    answer = change(api, api.token(ada), bio="🍵" * 500, avatar_url=url)
    assert (len(answer.json()["bio"]), answer.json()["avatar_url"]) == (500, url)


def test_anyone_sees_the_public_profile_and_no_more(api: Client, database: Database, ada: User) -> None:
    """OWASP API Top 10 2023, API3: the address and the role are nobody else's business."""
    change(api, api.token(ada), bio="Mathematics")
    with database.transaction() as session:
        session.get_one(User, ada.id).verified_at = clock.now()
    seen = api.get(f"/users/{ada.id}").json()
    assert seen.pop("created_at")
    expected = {"id": str(ada.id), "name": "Ada", "avatar_url": None, "bio": "Mathematics", "verified": True}
    assert seen == expected


def test_a_key_sees_its_owners_account_and_does_not_change_it(api: Client, ada: User) -> None:
    made = api.post(
        "/users/me/api-keys", {"name": "k", "permissions": ["orders:own"], "current_password": PASSWORD}, api.token(ada)
    ).json()
    key = {"Authorization": f"Bearer {made['key']}"}
    assert api.get("/users/me", key).json()["email"] == "ada@example.com"
    assert change(api, key, name="Mallory").code == "forbidden"
    assert new_password(api, key).code == "forbidden"


# ── the password ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_password_ends_all_other_sessions(api: Client, database: Database, ada: User) -> None:
    """OWASP ASVS 5.0, V6.2.3 (the current one is asked for) and V7.4.3 (other sessions end)."""
    here, there = api.token(ada), api.token(ada)
    assert new_password(api, here).status == 204
    assert api.get("/users/me", here).status == 200
    assert api.get("/users/me", there).status == 401
    assert logs_in(database, ada.email, PASSWORD) is None
    assert logs_in(database, ada.email, NEW) is not None
    with database.reading() as session:
        [entry] = session.scalars(select(AuditEntry)).all()
    assert (entry.action, entry.subject, entry.actor_id) == ("user.password_changed", f"user:{ada.id}", ada.id)


def test_a_wrong_current_password_changes_nothing(api: Client, database: Database, ada: User) -> None:
    """OWASP ASVS 5.0, V6.2.3."""
    here, there = api.token(ada), api.token(ada)
    refused = new_password(api, here, current="wrong horse")
    assert (refused.status, refused.code, refused.pointers) == (422, "validation_failed", ["#/current_password"])
    assert api.get("/users/me", there).status == 200
    assert logs_in(database, ada.email, PASSWORD) is not None


@pytest.mark.parametrize("new", ["short", "x" * 129, "password123", "ada@example.com", "orderkit2026!"])
def test_a_password_that_could_not_be_registered_cannot_be_changed_to(api: Client, ada: User, new: str) -> None:
    """OWASP ASVS 5.0, V6.2."""
    refused = new_password(api, api.token(ada), new=new)
    assert (refused.status, refused.code, refused.pointers) == (422, "validation_failed", ["#/new_password"])


def test_guessing_the_current_password_is_throttled_as_a_login_is(api: Client, database: Database, ada: User) -> None:
    """OWASP ASVS 5.0, V6.3.1: a stolen token is no way to try passwords."""
    who = api.token(ada)
    allowed = api.runtime.settings.login_failures_per_account
    guesses = [new_password(api, who, current=f"wrong {number}").status for number in range(allowed)]
    assert guesses == [422] * allowed
    for refused in (new_password(api, who), api.form("/token", {"username": ada.email, "password": PASSWORD})):
        assert (refused.status, refused.code) == (429, "rate_limited")
        assert int(refused.headers["retry-after"]) > 0
    assert logs_in(database, ada.email, PASSWORD) is not None


def test_a_refused_new_password_is_no_failed_login(api: Client, ada: User) -> None:
    who = api.token(ada)
    for _ in range(api.runtime.settings.login_failures_per_account + 2):
        assert new_password(api, who, new="short").status == 422
    assert new_password(api, who).status == 204


def test_of_two_changes_at_once_one_counts(api: Client, database: Database, ada: User) -> None:
    """Each was decided on the old password, which the first puts an end to, and to the session of the second."""
    here, there = api.token(ada), api.token(ada)
    answers = at_once(
        partial(new_password, api, here, new="battery staple 1"),
        partial(new_password, api, there, new="battery staple 2"),
    )
    assert [one.status for one in answers].count(204) == 1
    assert {one.status for one in answers} <= {204, 401, 409, 422}
    winner = 1 + [one.status for one in answers].index(204)
    assert logs_in(database, ada.email, f"battery staple {winner}") is not None
    with database.reading() as session:
        changed = select(AuditEntry).where(col(AuditEntry.action) == "user.password_changed")
        assert len(session.scalars(changed).all()) == 1


def test_passwords_are_in_no_answer(api: Client, ada: User) -> None:
    """OWASP ASVS 5.0, V14.2."""
    who = api.token(ada)
    for answer in (new_password(api, who, current="wrong canary"), new_password(api, who, new="canary1")):
        assert b"canary" not in answer.body
