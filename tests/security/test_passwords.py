"""Passwords: which are taken, how they are kept, and that neither logging in nor registering tells anything else."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
from typing import Any

import pytest
from passlib.hash import argon2
from sqlmodel import col, select

from orderkit import clock
from orderkit.auth import accounts, passwords
from orderkit.auth.models import User
from orderkit.auth.passwords import HashingThreads
from orderkit.db import Database
from orderkit.errors import Invalid
from orderkit.ids import new_id
from tests.client import Client
from tests.factories import all_users, logs_in, make_user
from tests.threads import at_once

GOOD = "correct horse"
COMMON = ("password1234", "1234567890", "Password1234", "QWERTYUIOP", "iloveyou", "sunshine", "trustno1")
GUESSABLE = ("orderkit", "OrderKit", "orderkit2026!", "wonderful.ada", "Wonderful.Ada@Example.com", "wonderful.ada99")
ADA = {"email": "wonderful.ada@example.com", "password": GOOD, "name": "Ada"}

pytestmark = pytest.mark.slow_hashes

outdated = argon2.using(type="ID", memory_cost=64, time_cost=1, parallelism=1)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every hash that was made or compared with since."""
    passwords.hash_password(GOOD)  # passlib finds its backend at the first
    found: list[str] = []
    for name in ("hash", "verify"):
        real = getattr(passwords._argon2id, name)

        def counting(password: str, *stored: str, real: Any = real, name: str = name) -> Any:
            found.append(name)
            return real(password, *stored)

        monkeypatch.setattr(passwords._argon2id, name, counting)
    return found


def stored(database: Database, user: User) -> str:
    with database.reading() as session:
        return session.get_one(User, user.id).password_hash or ""


def log_in(api: Client, password: str = GOOD) -> int:
    return api.form("/token", {"username": "ada@example.com", "password": password}).status


def user_with(database: Database, email: str, hashed: str | None, field: str | None = None) -> User:
    """A user with this hash, and with `field` set to now."""
    user = make_user(database, email=email)
    user.password_hash = hashed
    if field:
        setattr(user, field, clock.now())
    with database.transaction() as session:
        session.merge(user)
    return user


# ── which are taken ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("length", [0, 1, 7, 129, 200])
def test_a_password_has_8_to_128_characters(length: int) -> None:
    """OWASP ASVS 5.0 V6.2.1 and V6.2.9."""
    with pytest.raises(Invalid, match="8 to 128 characters") as refused:
        passwords.check("é" * length, pointer="#/new_password")
    assert [pointer for pointer, _ in refused.value.pointers] == ["#/new_password"]


@pytest.mark.parametrize(
    "password", ["é" * 8, "ab" * 64, "pässwörd 🍵", "  spaces  ", "x y z 1 2", "ﬁve wörds of Ünicode"]
)
def test_any_characters_will_do(password: str) -> None:
    """OWASP ASVS 5.0 V6.2.5: no rule about which kinds of characters there must be."""
    passwords.check(password, about=(ADA["email"], ADA["name"]))


@pytest.mark.parametrize("password", COMMON)
def test_common_passwords_are_refused_however_they_are_capitalised(password: str) -> None:
    """OWASP ASVS 5.0 V6.2.4."""
    with pytest.raises(Invalid, match="most common"):
        passwords.check(password)


def test_the_list_has_the_3000_most_common_and_more() -> None:
    """OWASP ASVS 5.0 V6.2.4 asks for at least the 3,000 most common that fit the rules of length."""
    assert len(passwords._common()) > 10_000
    assert all(one == one.casefold() and len(one) >= passwords.MIN_LENGTH for one in passwords._common())


@pytest.mark.parametrize("password", GUESSABLE)
def test_a_password_is_not_the_account_or_this_place(password: str) -> None:
    """OWASP ASVS 5.0 V6.2.11 and V6.1.2: context-specific words."""
    with pytest.raises(Invalid, match="too easy to guess"):
        passwords.check(password, about=(ADA["email"], ADA["name"]))


@pytest.mark.parametrize("password", ["not-orderkit", "wonderful.adam", "83749284", "!!!!!!!!§"])
def test_a_password_that_only_resembles_the_account_is_taken(password: str) -> None:
    """OWASP ASVS 5.0 V6.2.5: what is refused is said by the rules, and nothing else is."""
    passwords.check(password, about=(ADA["email"], ADA["name"], ""))


@pytest.mark.parametrize("character", ["\0", "\ud800"])
def test_what_cannot_be_hashed_is_refused_and_no_failure(character: str) -> None:
    """OWASP ASVS 5.0 V2.2.1."""
    with pytest.raises(Invalid, match="cannot be hashed"):
        passwords.check(f"{character}{GOOD}")


@pytest.mark.parametrize("password", COMMON[:2] + GUESSABLE[:3] + ("short", "x" * 129))
def test_an_account_is_made_with_no_such_password_either(database: Database, hashed: list[str], password: str) -> None:
    """OWASP ASVS 5.0 V6.2.4, for accounts that the command line makes."""
    with pytest.raises(Invalid) as refused:
        accounts.create(database, ADA["email"], ADA["name"], password)
    assert [pointer for pointer, _ in refused.value.pointers] == ["#/password"]
    assert hashed == []
    assert all_users(database) == []


# ── registering ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("password", ["password1234", "orderkit2026!", "wonderful.ada"])
def test_registering_refuses_it_before_any_work_alike_for_taken_and_free_addresses(
    api: Client, database: Database, hashed: list[str], password: str
) -> None:
    """OWASP ASVS 5.0 V6.2.4 and V6.3.8."""
    same = {"X-Request-ID": "same"}
    free = api.post("/register", ADA | {"password": password}, same)
    make_user(database, email=ADA["email"])
    taken = api.post("/register", ADA | {"password": password}, same)
    assert (free.status, free.code, free.pointers) == (422, "validation_failed", ["#/password"])
    assert (taken.status, taken.body) == (free.status, free.body)
    assert password.encode() not in free.body
    assert hashed == []


def test_registering_does_the_same_work_for_taken_and_free_addresses(api: Client, hashed: list[str]) -> None:
    """OWASP ASVS 5.0 V6.3.8."""
    free = api.post("/register", ADA)
    assert hashed == ["hash"]
    taken = api.post("/register", ADA | {"password": "another one"})
    assert hashed == ["hash", "hash"]
    assert (free.status, taken.status) == (201, 201)
    assert free.json().keys() == taken.json().keys()


@pytest.mark.parametrize("password", ["x" * 127 + "1", "pässwörd 🍵", "  spaces  "])
def test_no_character_of_a_password_is_left_out(api: Client, password: str) -> None:
    """OWASP ASVS 5.0 V6.2.8: as received, neither cut off nor changed in case."""
    assert api.post("/register", ADA | {"password": password}).status == 201
    assert api.form("/token", {"username": ADA["email"], "password": password}).status == 200
    for other in (password[:-1], password[1:], password + " ", password.swapcase() + "x", password.upper() + "\0"):
        assert api.form("/token", {"username": ADA["email"], "password": other}).status == 401


# ── how they are kept ────────────────────────────────────────────────────────────────────────────────────────────────


def test_hashes_are_argon2id_with_at_least_owasps_parameters(database: Database) -> None:
    """OWASP ASVS 5.0 V11.4.2; OWASP Password Storage Cheat Sheet: 19 MiB, two passes, one lane."""
    user = accounts.create(database, "ada@example.com", "Ada", GOOD)
    found = re.fullmatch(r"\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$\S{22}\$\S{43}", stored(database, user))
    assert found is not None
    memory_kib, passes, lanes = map(int, found.groups())
    assert memory_kib >= 19 * 1024
    assert passes >= 2
    assert lanes == 1


def test_one_password_of_two_users_has_two_hashes(database: Database) -> None:
    """OWASP ASVS 5.0 V11.4.2: salted."""
    users = [accounts.create(database, f"{name}@example.com", name, GOOD) for name in "ab"]
    assert len({stored(database, user) for user in users}) == 2


@pytest.mark.parametrize(
    "weaker",
    [
        argon2.using(type="ID", memory_cost=64, time_cost=2, parallelism=1),
        argon2.using(type="ID", memory_cost=19456, time_cost=1, parallelism=1),
        argon2.using(type="I", memory_cost=19456, time_cost=2, parallelism=1),
    ],
    ids=["less memory", "fewer passes", "another kind"],
)
def test_a_hash_of_old_parameters_is_made_anew_at_the_next_login(api: Client, database: Database, weaker: Any) -> None:
    """OWASP ASVS 5.0 V11.4.2: what is kept keeps up with what is asked for."""
    user = user_with(database, "ada@example.com", weaker.hash(GOOD))
    assert log_in(api) == 200
    renewed = stored(database, user)
    assert renewed != user.password_hash
    assert not passwords.is_outdated(renewed)
    assert passwords.matches(GOOD, renewed)
    assert log_in(api) == 200
    assert stored(database, user) == renewed, "a login with a hash of today's changes nothing"


def test_when_the_parameters_rise_the_hashes_of_today_are_made_anew(
    api: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OWASP ASVS 5.0 V11.4.2."""
    user = accounts.create(database, "ada@example.com", "Ada", GOOD)
    raised = argon2.using(type="ID", memory_cost=24576, time_cost=3, parallelism=1)
    monkeypatch.setattr(passwords, "_argon2id", raised)
    assert log_in(api) == 200
    assert "m=24576,t=3,p=1" in stored(database, user)


@pytest.mark.parametrize("password", ["wrong one", GOOD + " ", GOOD.upper()])
def test_a_failed_login_makes_no_hash_anew(api: Client, database: Database, hashed: list[str], password: str) -> None:
    """OWASP ASVS 5.0 V11.4.2: only who knows the password gives it a new hash."""
    user = user_with(database, "ada@example.com", outdated.hash(GOOD))
    assert log_in(api, password) == 401
    assert stored(database, user) == user.password_hash
    assert hashed == ["verify"]


def test_logins_at_once_make_one_hash_anew_and_all_succeed(api: Client, database: Database) -> None:
    """OWASP ASVS 5.0 V11.4.2."""
    user = user_with(database, "ada@example.com", outdated.hash(GOOD))
    assert at_once(*[lambda: log_in(api)] * 4) == [200] * 4
    assert not passwords.is_outdated(stored(database, user))
    assert log_in(api) == 200


def test_a_login_does_not_fail_for_want_of_time_to_make_its_hash_anew(
    api: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever else wants to log in comes first; the hash is made anew the next time."""
    user = user_with(database, "ada@example.com", outdated.hash(GOOD))

    def matches_as_the_last_that_may(password: str, stored: str | None, real: Any = passwords.matches) -> bool:
        found = bool(real(password, stored))
        monkeypatch.setattr(passwords, "MAX_WAITING", 0)
        return found

    with monkeypatch.context() as crowded:
        crowded.setattr(passwords, "matches", matches_as_the_last_that_may)
        assert log_in(api) == 200
    assert stored(database, user) == user.password_hash
    monkeypatch.undo()
    assert log_in(api) == 200
    assert not passwords.is_outdated(stored(database, user))


def test_a_password_that_was_changed_meanwhile_is_not_put_back(
    api: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OWASP ASVS 5.0 V6.2.2: a change counts, whatever login was under way."""
    user = user_with(database, "ada@example.com", outdated.hash(GOOD))
    real = passwords.hash_password

    def slow(password: str) -> str:
        with database.transaction() as session:
            session.get_one(User, user.id).password_hash = real("changed meanwhile")
        return real(password)

    monkeypatch.setattr(passwords, "hash_password", slow)
    log_in(api)
    assert passwords.matches("changed meanwhile", stored(database, user))


# ── logging in tells nothing ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("field", ["banned_at", "deleted_at"])
def test_nobody_logs_in_as_a_banned_or_deleted_user(database: Database, hashed: list[str], field: str) -> None:
    """OWASP ASVS 5.0 V7.4.2 and V6.3.8: refused after the same work, and nothing is made anew."""
    user = user_with(database, "ada@example.com", outdated.hash(GOOD), field)
    assert logs_in(database, "ada@example.com", GOOD) is None
    assert hashed == ["verify"]
    assert stored(database, user) == user.password_hash


def test_every_refused_login_has_one_answer_and_costs_one_comparison(
    api: Client, database: Database, hashed: list[str]
) -> None:
    """OWASP ASVS 5.0 V6.3.8."""
    right = passwords.hash_password(GOOD)
    user_with(database, "known@example.com", right)
    user_with(database, "banned@example.com", right, "banned_at")
    user_with(database, "deleted@example.com", right, "deleted_at")
    user_with(database, "guest@example.com", None)
    hashed.clear()
    tried = {
        "known@example.com": "wrong one",
        "banned@example.com": GOOD,
        "deleted@example.com": GOOD,
        "guest@example.com": GOOD,
        "unknown@example.com": GOOD,
        "no address": GOOD,
    }
    answers = [
        api.form("/token", {"username": name, "password": password}, {"X-Request-ID": "same"})
        for name, password in tried.items()
    ]
    assert {answer.status for answer in answers} == {401}
    assert len({answer.body for answer in answers}) == 1
    assert len({frozenset(answer.headers) for answer in answers}) == 1
    assert hashed == ["verify"] * len(tried)


def test_a_password_is_never_in_an_answer(api: Client, database: Database) -> None:
    """OWASP ASVS 5.0 V14.2.6."""
    made = api.post("/register", ADA)
    refused = api.post("/register", ADA | {"password": GOOD * 20})
    login = api.form("/token", {"username": ADA["email"], "password": GOOD})
    with database.reading() as session:
        kept = session.exec(select(col(User.password_hash))).one()
    assert kept is not None
    for answer in (made, refused, login):
        assert GOOD.encode() not in answer.body
        assert kept.encode() not in answer.body


# ── hashing does not starve orders ───────────────────────────────────────────────────────────────────────────────────


def test_at_most_half_of_the_processors_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checklist of the project: hashing is bounded in concurrency. OWASP ASVS 5.0 V11.4.2 makes it slow."""
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    busy, most = 0, 0
    counting = threading.Lock()
    pause = threading.Event()

    def act() -> None:
        nonlocal busy, most
        with counting:
            busy += 1
            most = max(most, busy)
        pause.wait(0.02)
        with counting:
            busy -= 1

    async def many() -> None:
        hashing = HashingThreads()
        await asyncio.gather(*(hashing.run(act) for _ in range(12)))
        hashing.close()

    asyncio.run(many())
    assert most == 2


def test_hashing_gives_way_to_everything_else() -> None:
    """Checklist of the project: hashing cannot starve orders."""

    async def niceness() -> int:
        hashing = HashingThreads()
        try:
            return await hashing.run(os.getpriority, os.PRIO_PROCESS, 0)
        finally:
            hashing.close()

    before = os.getpriority(os.PRIO_PROCESS, 0)
    # Only Linux has a priority for each thread.
    assert asyncio.run(niceness()) == (passwords.NICENESS if sys.platform == "linux" else before)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before, "the threads of requests keep theirs"


def test_no_hashing_thread_writes_to_the_database(
    api: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checklist of the project: SQLite has one writer at a time, and orders would wait for one that gives way to all."""
    user_with(database, "ada@example.com", outdated.hash(GOOD))
    writing: list[str] = []
    transaction = Database.transaction

    def noticed(self: Database) -> Any:
        writing.append(threading.current_thread().name)
        return transaction(self)

    monkeypatch.setattr(Database, "transaction", noticed)
    assert api.post("/register", ADA).status == 201
    assert api.post("/register", ADA).status == 201
    assert len(writing) == 2
    login = api.form("/token", {"username": "ada@example.com", "password": GOOD}).json()
    assert len(writing) == 4, "one for the session, one for the new hash"
    who = {"Authorization": f"Bearer {login['access_token']}"}
    new = {"current_password": GOOD, "new_password": "battery staple"}
    assert api.post("/users/me/password", new, who).status == 204
    assert len(writing) == 5
    assert not [one for one in writing if one.startswith("hashing")]


def test_hashing_works_where_no_priority_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checklist of the project: logging in is worth more than the order of the queue."""

    def refuse(*_: int) -> None:
        raise PermissionError(1, "not allowed")

    monkeypatch.setattr(os, "setpriority", refuse)

    async def one() -> str:
        hashing = HashingThreads()
        try:
            return await hashing.run(lambda: str(new_id()))
        finally:
            hashing.close()

    assert len(asyncio.run(one())) == 36
