"""Signing keys, as clients and several processes live with them: a new one takes over, an old one is good until it is retired."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

import jwt
import pytest

from orderkit.auth import audit_log, signing_keys, tokens
from orderkit.auth.audit_log import Actor
from orderkit.auth.models import User
from orderkit.db import Database
from orderkit.errors import Conflict, NotFound
from orderkit.ids import new_id
from orderkit.settings import Settings
from tests.client import Client, running
from tests.factories import make_product, make_user
from tests.threads import at_once

ACTOR = Actor(None, "a test")
PASSWORD = "a long enough password"
SLACK_S = 2.0
"""What a busy machine may take to do at once what is due."""


@pytest.fixture
def user(database: Database) -> User:
    return make_user(database, password=PASSWORD)


@pytest.fixture
def other(settings: Settings, api: Client) -> Iterator[Client]:
    """A second application on the same database, as another process would be."""
    with running(settings) as client:
        yield client


def log_in(api: Client, user: User) -> dict[str, Any]:
    answer = api.form("/token", {"username": user.email, "password": PASSWORD})
    assert answer.status == 200, answer
    told: dict[str, Any] = answer.json()
    return told


def bearer(told: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {told['access_token']}"}


def key_of(told: dict[str, Any]) -> str:
    return str(jwt.get_unverified_header(told["access_token"])["kid"])


def works(api: Client, told: dict[str, Any], sku: str) -> bool:
    """Whether a token is taken, on the order path and elsewhere; they must agree."""
    body = {"items": [{"sku": sku, "quantity": 1}], "payment_method": "pm_card_visa"}
    order = api.post("/orders", body, bearer(told) | {"Idempotency-Key": "one-key"})
    statuses = [api.get("/users/me", bearer(told)).status, order.status]
    assert statuses in ([200, 201], [401, 401]), statuses
    return statuses == [200, 201]


@pytest.fixture
def _only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are not read again each second."""
    monkeypatch.setattr(tokens, "RELOAD_S", 3600.0)


@pytest.mark.usefixtures("_only_when_asked")
def test_a_process_that_has_not_heard_of_a_new_key_takes_its_tokens_at_once(
    api: Client, database: Database, settings: Settings, user: User
) -> None:
    """OWASP ASVS 5.0 V13.3.4: keys rotate with overlap."""
    sku = make_product(database, stock=1000).sku
    with running(settings) as other:
        old = log_in(api, user)
        assert key_of(old) == key_of(log_in(other, user))
        other.run(other.runtime.tokens.reload())  # after the one that it begins with

        new_key = str(signing_keys.rotate(database, ACTOR))
        api.run(api.runtime.tokens.reload())
        new = log_in(api, user)

        assert key_of(new) == new_key != key_of(old)
        assert new_key not in other.runtime.tokens._keys
        assert works(other, new, sku)
        assert [works(one, old, sku) for one in (api, other)] == [True, True]
        assert key_of(log_in(other, user)) == new_key


def test_a_new_key_signs_everywhere_within_a_second(api: Client, other: Client, database: Database, user: User) -> None:
    """OWASP ASVS 5.0 V13.3.4."""
    new_key = str(signing_keys.rotate(database, ACTOR))
    until = time.monotonic() + tokens.RELOAD_S + SLACK_S
    while {next(iter(one.runtime.tokens._keys)) for one in (api, other)} != {new_key}:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert {key_of(log_in(one, user)) for one in (api, other)} == {new_key}


def test_a_retired_key_s_tokens_are_refused_everywhere_within_a_second_and_refresh_tokens_still_work(
    api: Client, other: Client, database: Database, user: User
) -> None:
    """OWASP ASVS 5.0 V13.3.4: then the old key is no longer good."""
    sku = make_product(database, stock=1000).sku
    old = log_in(api, user)
    assert [works(one, old, sku) for one in (api, other)] == [True, True]
    new_key = signing_keys.rotate(database, ACTOR)
    assert [str(one) for one in signing_keys.retire(database, ACTOR)] == [key_of(old)]

    until = time.monotonic() + tokens.RELOAD_S + SLACK_S
    while any(api_.get("/users/me", bearer(old)).status != 401 for api_ in (api, other)):
        assert time.monotonic() < until
        time.sleep(0.02)

    assert [works(one, old, sku) for one in (api, other)] == [False, False]
    assert api.get("/users/me", bearer(old)).headers["www-authenticate"] == 'Bearer error="invalid_token"'
    fresh = other.post("/token/refresh", {"refresh_token": old["refresh_token"]}).json()
    assert key_of(fresh) == str(new_key)
    assert [works(one, fresh, sku) for one in (api, other)] == [True, True]


def test_the_first_start_makes_the_key_that_signs(api: Client, database: Database, user: User) -> None:
    [listed] = signing_keys.listing(database)
    assert listed.signs
    assert key_of(log_in(api, user)) == str(listed.id)


@pytest.fixture
def _reading_before_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two at once, both have read which keys are good before one of them goes on, if nothing prevents it."""
    read, both = signing_keys._good, threading.Barrier(2, timeout=0.5)

    def read_and_wait(*arguments: Any, **more: Any) -> list[tuple[UUID, str]]:
        found = read(*arguments, **more)
        with suppress(threading.BrokenBarrierError):
            both.wait()
        return found

    monkeypatch.setattr(signing_keys, "_good", read_and_wait)


@pytest.fixture
def two_keys(database: Database) -> list[UUID]:
    signing_keys.load(database, "secret")
    signing_keys.rotate(database, ACTOR)
    return [one.id for one in signing_keys.listing(database)]


@pytest.mark.usefixtures("two_keys", "_reading_before_writing")
def test_two_who_retire_each_other_s_last_key_at_once_leave_one(database: Database, two_keys: list[UUID]) -> None:
    def retire(one: UUID) -> str:
        try:
            signing_keys.retire(database, ACTOR, one)
        except (Conflict, NotFound) as error:
            return error.code
        return "retired"

    told = at_once(*(lambda one=one: retire(one) for one in two_keys))

    assert sorted(told) == ["conflict", "retired"]
    assert [one.signs for one in signing_keys.listing(database)].count(True) == 1


@pytest.mark.usefixtures("two_keys", "_reading_before_writing")
def test_retiring_all_others_twice_at_once_is_done_and_told_once(database: Database) -> None:
    told = at_once(*[lambda: signing_keys.retire(database, ACTOR)] * 2)
    assert sorted(map(len, told)) == [0, 1]
    with database.reading() as session:
        actions = [one.action for one in audit_log.page(session.connection(), limit=10)]
    assert actions == ["signing_key.retired", "signing_key.made"]


@pytest.mark.usefixtures("two_keys", "_reading_before_writing")
def test_of_two_who_make_the_last_key_at_once_one_does(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than MAX_KEYS are not read, so that tokens of the oldest would be refused without its being retired."""
    monkeypatch.setattr(signing_keys, "MAX_KEYS", 3)

    def rotate() -> str:
        try:
            signing_keys.rotate(database, ACTOR)
        except Conflict as error:
            return error.code
        return "made"

    assert sorted(at_once(rotate, rotate)) == ["conflict", "made"]
    assert len(signing_keys.listing(database)) == 3


def test_a_key_that_is_not_there_cannot_be_retired(database: Database) -> None:
    signing_keys.load(database, "secret")
    with pytest.raises(NotFound):
        signing_keys.retire(database, ACTOR, new_id())
