"""Who guesses or asks too often waits, and nobody waits for good."""

from __future__ import annotations

import asyncio
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

import pytest

from orderkit import throttle
from orderkit.auth import accounts
from orderkit.auth.callers import API_KEY_PREFIX, key_hash
from orderkit.auth.models import ApiKey, User
from orderkit.clock import now
from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.settings import Settings
from tests.client import Answer, Client, running
from tests.engines import on_sqlite
from tests.factories import make_product, make_user
from tests.processes import Process, Processes

RIGHT, WRONG = "a right password", "a wrong password"
MINUTE = 60


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with too much to do may stop for a quarter of a second; that is not what is tested here."""
    monkeypatch.setattr(throttle, "REDIS_ANSWERS_IN_S", 10.0)


@pytest.fixture
def ada(database: Database) -> User:
    return make_user(database, email="ada@example.com", password=RIGHT)


@pytest.fixture
def with_limits(settings: Settings, database: Database) -> Callable[..., AbstractContextManager[Client]]:
    """The API with some settings of its own."""
    return lambda **limits: running(settings.model_copy(update=limits))


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Holds the clock by which windows end, so that none does unless the test moves it, by seconds."""
    at = now()
    monkeypatch.setattr(throttle, "now", lambda: at)

    def move(by_s: float) -> None:
        nonlocal at
        at += timedelta(seconds=by_s)

    return move


async def logging_in(api: Client, email: str, password: str, address: str = "192.0.2.7") -> Answer:
    form = urlencode({"username": email, "password": password}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return await api.call("POST", "/token", form, headers=headers, address=address)


def log_in(api: Client, email: str, password: str, address: str = "192.0.2.7") -> Answer:
    return api.run(logging_in(api, email, password, address))


def retry_after(refused: Answer) -> int:
    """The seconds that an answer 429 says to wait."""
    assert (refused.status, refused.code) == (429, "rate_limited")
    return int(refused.headers["retry-after"])


class TestLogins:
    def test_after_ten_failures_an_account_waits_and_the_right_password_waits_too(self, api: Client, ada: User) -> None:
        """OWASP ASVS 5.0 V6.3.1."""
        assert [log_in(api, ada.email, WRONG).status for _ in range(10)] == [401] * 10
        assert 14 * MINUTE < retry_after(log_in(api, ada.email, WRONG)) <= 15 * MINUTE
        assert 14 * MINUTE < retry_after(log_in(api, ada.email, RIGHT)) <= 15 * MINUTE
        assert 14 * MINUTE < retry_after(log_in(api, ada.email, RIGHT, "198.51.100.7")) <= 15 * MINUTE

    def test_after_its_failures_an_address_waits_whoever_they_were_for(
        self, with_limits: Callable[..., AbstractContextManager[Client]], ada: User
    ) -> None:
        """OWASP ASVS 5.0 V6.3.1."""
        with with_limits(login_failures_per_address=5) as api:
            for number in range(5):
                assert log_in(api, f"{number}@example.com", WRONG).status == 401
            assert 14 * MINUTE < retry_after(log_in(api, ada.email, RIGHT)) <= 15 * MINUTE
            assert log_in(api, ada.email, RIGHT, "198.51.100.7").status == 200

    def test_all_addresses_of_an_ipv6_network_wait_together(
        self, with_limits: Callable[..., AbstractContextManager[Client]], ada: User
    ) -> None:
        """OWASP ASVS 5.0 V6.3.1: one customer has 2**64 addresses."""
        with with_limits(login_failures_per_address=3) as api:
            for number in range(3):
                assert log_in(api, f"{number}@example.com", WRONG, f"2001:db8::{number + 1}").status == 401
            retry_after(log_in(api, ada.email, RIGHT, "2001:db8::ffff:1"))
            assert log_in(api, ada.email, RIGHT, "2001:db8:0:1::1").status == 200

    def test_nobody_is_locked_out_for_good_and_trying_on_does_not_prolong_it(
        self, api: Client, ada: User, later: Callable[[float], None]
    ) -> None:
        """OWASP ASVS 5.0 V6.3.1, V6.1.1: a limit may not become a way to lock somebody out."""
        for _ in range(10):
            log_in(api, ada.email, WRONG)
        later(14 * MINUTE)
        assert 0 < retry_after(log_in(api, ada.email, WRONG)) <= MINUTE
        later(MINUTE + 1)
        assert log_in(api, ada.email, RIGHT).status == 200

    def test_an_unknown_account_waits_as_a_known_one_does(self, api: Client, ada: User) -> None:
        """OWASP ASVS 5.0 V6.3.8."""
        seen = []
        for email in (ada.email, "nobody@example.com", "no address"):
            answers = [log_in(api, email, WRONG) for _ in range(11)]
            bodies = [{**answer.json(), "request_id": None} for answer in answers]
            seen.append(([answer.status for answer in answers], [set(answer.headers) for answer in answers], bodies))
        assert seen[0] == seen[1] == seen[2]

    def test_another_spelling_of_an_address_is_no_new_account(
        self, with_limits: Callable[..., AbstractContextManager[Client]], ada: User
    ) -> None:
        """OWASP ASVS 5.0 V6.3.1."""
        with with_limits(login_failures_per_account=3) as api:
            for spelling in ("ada@example.com", "ADA@example.com", "Ada@EXAMPLE.com"):
                assert log_in(api, spelling, WRONG).status == 401
            retry_after(log_in(api, "aDA@Example.Com", RIGHT))

    def test_a_success_is_not_counted_and_clears_the_account_but_not_the_address(
        self, with_limits: Callable[..., AbstractContextManager[Client]], ada: User
    ) -> None:
        """OWASP ASVS 5.0 V6.3.1: who has an account may not guess those of others without end."""
        with with_limits(login_failures_per_account=2, login_failures_per_address=4) as api:
            for _ in range(6):
                assert log_in(api, ada.email, RIGHT).status == 200
            for _ in range(3):
                assert log_in(api, ada.email, WRONG).status == 401
                assert log_in(api, ada.email, RIGHT).status == 200
            assert log_in(api, "grace@example.com", WRONG).status == 401
            retry_after(log_in(api, ada.email, RIGHT))

    def test_of_two_hundred_guesses_at_once_ten_are_looked_at(
        self, api: Client, ada: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """OWASP ASVS 5.0 V6.3.1, V15.4.2: no gap between looking at the count and counting."""
        checked = []

        def is_theirs(user: User | None, password: str) -> bool:
            checked.append(password)
            time.sleep(0.02)
            return False

        monkeypatch.setattr(accounts, "is_theirs", is_theirs)

        async def guess() -> list[Answer]:
            addresses = [f"192.0.2.{number}" for number in range(200)]
            return await asyncio.gather(*(logging_in(api, ada.email, WRONG, one) for one in addresses))

        statuses = [answer.status for answer in api.run(guess())]
        assert (statuses.count(401), statuses.count(429)) == (10, 190)
        assert len(checked) == 10

    def test_two_processes_with_one_redis_count_together(
        self, with_limits: Callable[..., AbstractContextManager[Client]], ada: User, redis_url: str
    ) -> None:
        """OWASP ASVS 5.0 V6.3.1."""
        with with_limits(redis_url=redis_url) as one, with_limits(redis_url=redis_url) as other:
            for api in (one, other) * 5:
                assert log_in(api, ada.email, WRONG).status == 401
            for api in (one, other):
                retry_after(log_in(api, ada.email, RIGHT))


@pytest.fixture
def limited(
    with_limits: Callable[..., AbstractContextManager[Client]], later: Callable[[float], None]
) -> Iterator[Client]:
    """The API with 3 requests a minute for each principal, and a minute that does not end by itself."""
    with with_limits(rate_limit=3) as api:
        yield api


class TestRequests:
    def test_who_asks_too_often_waits_and_others_do_not(self, limited: Client, database: Database) -> None:
        """OWASP API4:2023."""
        ada, grace = (limited.token(make_user(database)) for _ in range(2))
        assert [limited.get("/users/me", ada).status for _ in range(4)] == [200, 200, 200, 429]
        assert 0 < retry_after(limited.get("/users/me", ada)) <= 60
        assert limited.get("/users/me", grace).status == 200
        assert limited.get("/products").status == 200

    def test_all_sessions_of_an_account_count_as_one(self, limited: Client, database: Database) -> None:
        """OWASP API4:2023."""
        user = make_user(database)
        assert [limited.get("/users/me", limited.token(user)).status for _ in range(4)] == [200, 200, 200, 429]

    def test_every_answer_says_what_is_left(self, limited: Client, database: Database) -> None:
        """draft-ietf-httpapi-ratelimit-headers-10."""
        ada = limited.token(make_user(database))
        answers = [
            limited.get("/users/me", ada),
            limited.get("/nowhere", ada),
            limited.post("/register", {"email": 1}, ada),
            limited.get("/users/me", ada),
        ]
        assert [answer.status for answer in answers] == [200, 404, 422, 429]
        assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"default";q=3;w=60'}
        wait = answers[-1].headers["retry-after"]
        left = [answer.headers["ratelimit"] for answer in answers]
        assert left == [f'"default";r={r};t={wait}' for r in (2, 1, 0, 0)]
        assert [("retry-after" in answer.headers) for answer in answers] == [False, False, False, True]

    def test_made_up_tokens_and_keys_are_no_principals(self, limited: Client) -> None:
        """OWASP API4:2023."""
        sent = ["Bearer x.y.z", f"Bearer {API_KEY_PREFIX}made_up", "Basic eA==", f"Bearer {API_KEY_PREFIX}another"]
        statuses = [limited.get("/users/me", {"Authorization": one}).status for one in sent]
        assert statuses == [401, 401, 401, 429]

    def test_of_two_tokens_the_one_that_is_used_counts(self, limited: Client, database: Database) -> None:
        """OWASP API4:2023."""
        ada, grace = (limited.token(make_user(database))["Authorization"] for _ in range(2))
        both = [("Authorization", ada), ("Authorization", grace)]
        assert [limited.get("/users/me", both).status for _ in range(4)] == [200, 200, 200, 429]
        assert limited.get("/users/me", {"Authorization": grace}).status == 200

    def test_an_api_key_counts_for_itself_once_it_was_found_good(self, limited: Client, database: Database) -> None:
        """OWASP API4:2023."""
        keys = [make_key(database, make_user(database)) for _ in range(2)]
        assert [limited.get("/users/me", key).status for key in keys] == [200, 200]  # two from this address
        assert [limited.get("/users/me", keys[0]).status for _ in range(4)] == [200, 200, 200, 429]
        assert limited.get("/users/me", keys[1]).status == 200
        assert [limited.get("/products").status for _ in range(2)] == [200, 429]

    def test_all_addresses_of_an_ipv6_network_count_as_one(self, limited: Client) -> None:
        """OWASP API4:2023."""
        get = partial(limited.call, "GET", "/products")
        answers = [limited.run(get(address=f"2001:db8::{number}")) for number in range(1, 5)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert limited.run(get(address="2001:db8:0:1::1")).status == 200

    def test_whoever_watches_over_it_is_not_counted(self, limited: Client) -> None:
        for path in ("/health/live", "/health/ready", "/metrics") * 5:
            answer = limited.get(path)
            assert answer.status == 200
            assert "ratelimit" not in answer.headers

    def test_a_refused_order_does_not_use_its_key_up(
        self, limited: Client, database: Database, later: Callable[[float], None]
    ) -> None:
        make_product(database, sku="TEA", stock=5)
        sent = limited.token(make_user(database)) | {"Idempotency-Key": "one"}
        order = {"items": [{"sku": "TEA", "quantity": 1}], "payment_method": "pm_card_visa"}
        while (refused := limited.get("/users/me", sent)).status != 429:
            assert refused.status == 200
        assert limited.post("/orders", order, sent).status == 429
        later(retry_after(refused))
        placed = limited.post("/orders", order, sent)
        assert placed.status == 201
        assert "idempotent-replayed" not in placed.headers

    def test_two_processes_with_one_redis_count_together(
        self,
        with_limits: Callable[..., AbstractContextManager[Client]],
        database: Database,
        redis_url: str,
        later: Callable[[float], None],
    ) -> None:
        """OWASP API4:2023."""
        user = make_user(database)
        limits = {"redis_url": redis_url, "rate_limit": 60}
        with with_limits(**limits) as one, with_limits(**limits) as other:
            tokens = [(api, api.token(user)) for api in (one, other)]
            left = [api.get("/users/me", token).headers["ratelimit"] for api, token in tokens * 2]
        found = [int(one.split(";")[1].removeprefix("r=")) for one in left]
        assert found == [59, 58, 57, 56]

    @on_sqlite
    def test_a_redis_that_is_away_fails_no_request(
        self, with_limits: Callable[..., AbstractContextManager[Client]], ada: User
    ) -> None:
        with with_limits(redis_url="redis://127.0.0.1:1", rate_limit=600) as api:
            assert api.get("/products").status == 200
            assert log_in(api, ada.email, RIGHT).status == 200

    @on_sqlite
    def test_development_has_no_limit_and_production_has_one(self, api: Client, settings: Settings) -> None:
        answer = api.get("/products")
        assert not [name for name in answer.headers if name.startswith("ratelimit")]
        assert settings.requests_per_minute == 0
        assert settings.model_copy(update={"env": "production"}).requests_per_minute == 600
        assert settings.model_copy(update={"env": "production", "rate_limit": 0}).requests_per_minute == 0


def make_key(database: Database, owner: User) -> Mapping[str, str]:
    """Headers of a request with an API key."""
    secret = f"{API_KEY_PREFIX}12345678_{new_id().hex}"
    key = ApiKey(
        user_id=owner.id,
        name="till",
        prefix="12345678",
        hash=key_hash(secret),
        permissions=[],
        expires_at=now() + timedelta(days=1),
    )
    with database.transaction() as session:
        session.add(key)
    return {"Authorization": f"Bearer {secret}"}


def asks(address: str, forwarded: str) -> int:
    """The status of a request to `address` that says it is from elsewhere."""
    headers = {"X-Forwarded-For": forwarded, "X-Real-IP": forwarded, "Forwarded": f"for={forwarded}"}
    request = urllib.request.Request(f"{address}/products", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


class TestForwardedAddresses:
    """One engine will do: it is about the server. 24 requests fall into two windows at most, and 10 are the limit in each."""

    @pytest.fixture
    def engine_name(self) -> str:
        return "sqlite"

    def statuses(self, process: Process) -> list[int]:
        address = process.address()
        return [asks(address, f"198.51.100.{number}") for number in range(1, 25)]

    @pytest.mark.parametrize(
        "env", [{}, {"FORWARDED_ALLOW_IPS": "*"}, {"ORDERKIT_TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.7"}]
    )
    def test_a_spoofed_address_is_ignored(self, processes: Processes, env: dict[str, Any]) -> None:
        """OWASP ASVS 5.0 V4.1.3, by which clients cannot set what a proxy sets; security checklist, line 33."""
        process = processes.start("serve", "--port", "0", ORDERKIT_RATE_LIMIT="10", **env)
        assert 429 in self.statuses(process)

    @pytest.mark.parametrize("proxies", ["127.0.0.1", "10.0.0.0/8, 127.0.0.0/8"])
    def test_a_trusted_proxy_is_believed_for_the_last_address_that_is_not_its_own(
        self, processes: Processes, proxies: str
    ) -> None:
        """OWASP ASVS 5.0 V4.1.3."""
        process = processes.start("serve", "--port", "0", ORDERKIT_RATE_LIMIT="10", ORDERKIT_TRUSTED_PROXIES=proxies)
        assert 429 not in self.statuses(process)
        address = process.address()
        spoofed = [asks(address, f"192.0.2.{number}, 203.0.113.9") for number in range(1, 25)]
        assert 429 in spoofed
