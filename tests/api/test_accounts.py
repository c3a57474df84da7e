"""Registering, logging in, and being known."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlmodel import col, select

from orderkit import clock
from orderkit.auth import accounts, passwords
from orderkit.auth.models import ADMIN, CUSTOMER, User
from orderkit.auth.permissions import PERMISSIONS
from orderkit.db import Database
from tests.client import Client
from tests.factories import make_user

ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ada Lovelace"}


def users(database: Database) -> list[User]:
    with database.reading() as session:
        return list(session.scalars(select(User).order_by(col(User.email))))


def test_whoever_registers_can_log_in_and_see_their_account(api: Client) -> None:
    made = api.post("/register", ADA)
    assert made.status == 201
    assert made.json().keys() == {"id", "email", "name", "role", "created_at"}
    assert made.json().items() >= {"email": "ada@example.com", "name": "Ada Lovelace", "role": CUSTOMER}.items()
    token = api.form("/token", {"grant_type": "password", "username": ADA["email"], "password": ADA["password"]})
    assert token.status == 200
    assert token.json().keys() == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert (token.json()["token_type"], token.json()["expires_in"]) == ("bearer", 900)
    mine = api.get("/users/me", {"Authorization": f"Bearer {token.json()['access_token']}"})
    profile = {"avatar_url": None, "bio": None, "verified": False}
    assert mine.json() == made.json() | profile | {"permissions": []}


@pytest.mark.slow_hashes
def test_the_password_is_stored_as_a_hash_only(api: Client, database: Database) -> None:
    answer = api.post("/register", ADA)
    (stored,) = users(database)
    assert stored.password_hash is not None
    assert stored.password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert ADA["password"] not in repr(stored)
    assert b"hash" not in answer.body
    assert ADA["password"].encode() not in answer.body


@pytest.mark.parametrize("spelling", ["ada@example.com", "ADA@EXAMPLE.COM", "Ada@Example.Com"])
def test_an_address_is_one_however_it_is_written(api: Client, database: Database, spelling: str) -> None:
    api.post("/register", ADA | {"email": spelling})
    assert [user.email for user in users(database)] == ["ada@example.com"]
    for other in ("ada@example.com", "aDA@eXAMPLE.com"):
        assert api.form("/token", {"username": other, "password": ADA["password"]}).status == 200


def test_a_taken_address_answers_as_a_free_one_and_stores_nothing(api: Client, database: Database) -> None:
    first = api.post("/register", ADA)
    second = api.post("/register", {"email": "ADA@example.com", "password": "another one", "name": "Mallory"})
    assert (second.status, second.json().keys()) == (201, first.json().keys())
    assert second.headers.keys() == first.headers.keys()
    assert second.json()["id"] != first.json()["id"]
    assert [(user.name, str(user.id)) for user in users(database)] == [("Ada Lovelace", first.json()["id"])]
    assert api.form("/token", {"username": "ada@example.com", "password": "another one"}).status == 401


def test_of_eight_who_register_one_address_at_once_one_gets_it(api: Client, database: Database) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda n: api.post("/register", ADA | {"name": f"No {n}"}), range(8)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 8
    (stored,) = users(database)
    assert str(stored.id) in {answer.json()["id"] for answer in answers}


def test_what_cannot_be_an_account_is_refused(api: Client, database: Database) -> None:
    for field, value in [
        ("email", "ada"),
        ("email", "ada@"),
        ("email", "@example.com"),
        ("email", "a b@example.com"),
        ("email", "ada@example..com"),
        ("email", "ada@example.com\n"),
        ("email", "Ada <ada@example.com>"),
        ("email", "ädä@example.com"),
        ("email", "a" * 65 + "@example.com"),
        ("email", "a@" + "b" * 260 + ".com"),
        ("password", "seven77"),
        ("password", "x" * 129),
        ("name", ""),
        ("name", " "),
        ("name", "x" * 201),
    ]:
        answer = api.post("/register", ADA | {field: value})
        assert (answer.status, answer.code, answer.pointers) == (422, "validation_failed", [f"#/{field}"])
        assert users(database) == []


@pytest.mark.parametrize("password", ["x" * 8, "x" * 128, "pässwörd 🍵", " " * 8, "$argon2id$v=19$"])
def test_a_password_is_taken_whole_as_it_is(api: Client, password: str) -> None:
    api.post("/register", ADA | {"password": password})
    assert api.form("/token", {"username": ADA["email"], "password": password}).status == 200
    assert api.form("/token", {"username": ADA["email"], "password": password[:-1]}).status == 401
    assert api.form("/token", {"username": ADA["email"], "password": password + "x"}).status == 401


def test_nobody_learns_whether_an_address_is_known(api: Client, database: Database) -> None:
    make_user(database, email="ada@example.com", password="correct horse")
    make_user(database, email="guest@example.com", password=None)
    refused = [
        api.form("/token", {"username": name, "password": "wrong one"}, {"X-Request-ID": "same"})
        for name in ("ada@example.com", "nobody@example.com", "guest@example.com", "not an address", "")
        if name
    ]
    assert {answer.status for answer in refused} == {401}
    assert len({answer.body for answer in refused}) == 1
    assert len({tuple(sorted(answer.headers.keys())) for answer in refused}) == 1


@pytest.mark.slow_hashes
def test_as_much_work_is_done_for_an_unknown_address(
    api: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_user(database, email="ada@example.com", password="correct horse")
    hashed: list[str] = []
    verify = passwords._argon2id.verify

    def counting(password: str, stored: str) -> bool:
        hashed.append(stored)
        return bool(verify(password, stored))

    monkeypatch.setattr(passwords._argon2id, "verify", counting)
    for name in ("ada@example.com", "nobody@example.com", "not an address"):
        api.form("/token", {"username": name, "password": "wrong one"})
    assert [text.split("$")[1:4] for text in hashed] == [["argon2id", "v=19", "m=19456,t=2,p=1"]] * 3


def test_a_token_is_good_for_as_long_as_it_says(api: Client, database: Database) -> None:
    who = api.token(make_user(database))
    with clock.moved(timedelta(minutes=14, seconds=58)):
        assert api.get("/users/me", who).status == 200
    with clock.moved(timedelta(minutes=15, seconds=1)):
        answer = api.get("/users/me", who)
    assert (answer.status, answer.code) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_a_token_of_an_account_that_is_gone_is_no_longer_good(api: Client, database: Database) -> None:
    user = make_user(database)
    who = api.token(user)
    with database.transaction() as session:
        session.get_one(User, user.id).deleted_at = clock.now()
    answer = api.get("/users/me", who)
    assert (answer.status, answer.code) == (401, "unauthenticated")


def test_a_role_counts_as_it_is_now(api: Client, database: Database) -> None:
    user = make_user(database, role=ADMIN)
    who = api.token(user)
    assert api.get("/users/me", who).json()["permissions"] == sorted(PERMISSIONS)
    with database.transaction() as session:
        session.get_one(User, user.id).role = CUSTOMER
    assert api.get("/users/me", who).json()["permissions"] == []
    assert api.post("/products", {}, who).code == "forbidden"


def test_a_flood_of_logins_is_refused_before_it_starves_the_rest(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "MAX_WAITING", 4)
    goes_on = threading.Event()

    def is_theirs(_user: User | None, _password: str) -> bool:
        return not goes_on.wait(20)

    monkeypatch.setattr(accounts, "is_theirs", is_theirs)

    async def attempt(number: int) -> int:
        form = f"username=nobody{number}@example.com&password=wrong".encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return (await api.call("POST", "/token", form, headers=headers)).status

    async def flood() -> list[int]:
        attempts = asyncio.as_completed([attempt(number) for number in range(24)])
        refused = [await next(attempts) for _ in range(20)]
        goes_on.set()
        return refused + [await one for one in attempts]

    assert api.run(flood()) == [503] * 20 + [401] * 4
    assert api.form("/token", {"username": "nobody@example.com", "password": "wrong"}).status == 401
