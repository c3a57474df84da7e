"""Accounts without HTTP, and the passwords behind them."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from email import message_from_bytes, policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderkit import mail
from orderkit.auth import accounts, passwords
from orderkit.auth.models import ADMIN, CUSTOMER
from orderkit.auth.passwords import HashingThreads
from orderkit.db import Database
from orderkit.errors import Conflict, Invalid, Unavailable
from orderkit.ids import new_id
from orderkit.settings import Settings
from tests.factories import all_users, logs_in, make_user


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("Ada@Example.COM", "ada@example.com"),
        ("ada+shop@example.com", "ada+shop@example.com"),
        ("admin@orderkit.test", "admin@orderkit.test"),
        ("ada@bücher.com", "ada@xn--bcher-kva.com"),
    ],
)
def test_an_address_has_one_spelling(written: str, normal: str) -> None:
    assert accounts.normal_email(written) == normal
    assert accounts.normal_email(normal) == normal


@pytest.mark.parametrize("local", ["=?utf-8?q?x?=", "=?x?q?x?=", "a=?utf-8?b?eA==?=b", "=?"])
def test_an_address_that_readers_take_for_another_is_none(local: str) -> None:
    """What is an encoded word to RFC 2047 is, before an @, an address to RFC 5321."""
    with pytest.raises(Invalid) as refused:
        accounts.normal_email(f"{local}@example.com")
    assert [where for where, _ in refused.value.pointers] == ["#/email"]


@given(
    st.text("az09!#$%&'*+-/=?^_`{|}~.", min_size=1, max_size=20)
    | st.from_regex(r"=\?[a-z8-]*\?[qb]\?[a-z=]*\?=", fullmatch=True)
)
def test_a_mail_can_be_written_to_whatever_address_is_taken(local: str) -> None:
    try:
        address = accounts.normal_email(f"{local}@example.com")
    except Invalid:
        return
    message = mail.compose(Settings(_env_file=None), id=new_id(), to=address, subject="S", text="T")
    [back] = message_from_bytes(bytes(message), policy=policy.default)["To"].addresses
    assert back.addr_spec == address


def test_a_user_is_made_once(database: Database) -> None:
    made = accounts.create(database, "Ada@example.com", "Ada", "correct horse", ADMIN)
    assert (made.email, made.role) == ("ada@example.com", ADMIN)
    with pytest.raises(Conflict):
        accounts.create(database, "ADA@example.com", "Ada", "correct horse")
    assert [(one.id, one.email) for one in all_users(database)] == [(made.id, "ada@example.com")]


@pytest.mark.parametrize(
    ("email", "password", "role"),
    [("nonsense", "correct horse", CUSTOMER), ("a@example.com", "short", CUSTOMER), ("a@example.com", "x" * 8, "root")],
)
def test_what_makes_no_user_is_refused(database: Database, email: str, password: str, role: str) -> None:
    with pytest.raises(Invalid):
        accounts.create(database, email, "A", password, role)
    assert all_users(database) == []


def test_the_password_and_only_the_password_opens(database: Database) -> None:
    user = accounts.create(database, "ada@example.com", "Ada", "correct horse")
    found = logs_in(database, "ADA@example.com", "correct horse")
    assert found is not None
    assert found.id == user.id
    for password in ("", "correct hors", "Correct horse", "correct horse ", user.password_hash or "", "\0"):
        assert logs_in(database, "ada@example.com", password) is None


def test_nobody_is_someone_without_a_password(database: Database) -> None:
    make_user(database, email="guest@example.com", password=None)
    for password in ("", "None", "null"):
        assert logs_in(database, "guest@example.com", password) is None


def test_two_hashes_of_one_password_differ() -> None:
    first, second = passwords.hash_password("correct horse"), passwords.hash_password("correct horse")
    assert first != second
    assert passwords.matches("correct horse", first)
    assert passwords.matches("correct horse", second)
    assert not passwords.is_outdated(first)


def test_no_hash_matches_nothing() -> None:
    for stored in (None, "", "nonsense", "$argon2id$v=19$m=19456,t=2,p=1$broken"):
        assert not passwords.matches("correct horse", stored)


def test_hashing_uses_few_threads_and_keeps_the_request_in_mind() -> None:
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
    threads: set[int] = set()

    def act(n: int) -> tuple[int, str]:
        threads.add(threading.get_ident())
        return n, who.get()

    async def many() -> list[tuple[int, str]]:
        hashing = HashingThreads()
        who.set("ada")
        try:
            return list(await asyncio.gather(*(hashing.run(act, n) for n in range(20))))
        finally:
            hashing.close()

    assert asyncio.run(many()) == [(n, "ada") for n in range(20)]
    assert threading.get_ident() not in threads


def test_who_waits_is_counted_and_failures_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "MAX_WAITING", 2)
    release = threading.Event()

    def fail() -> None:
        release.wait(5)
        raise ValueError("no")

    async def crowd() -> list[BaseException | None]:
        hashing = HashingThreads()
        first = [asyncio.create_task(hashing.run(fail)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await hashing.run(fail)
        release.set()
        outcomes = await asyncio.gather(*first, return_exceptions=True)
        with pytest.raises(ValueError, match="no"):
            await hashing.run(fail)
        hashing.close()
        return list(outcomes)

    assert [type(one) for one in asyncio.run(crowd())] == [ValueError, ValueError]
