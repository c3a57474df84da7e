"""What the throttle counts, and where: in memory, in Redis, and in memory while Redis is away."""

from __future__ import annotations

import asyncio
import itertools
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from loguru import logger

from orderkit import clock, throttle
from orderkit.clock import now
from orderkit.errors import RateLimited, Unauthenticated, Unavailable
from orderkit.ids import new_id
from orderkit.settings import Settings
from orderkit.throttle import Throttle, network
from tests.servers import keep_redis

ACCOUNT, CLIENT = "ada@example.com", "192.0.2.7"
MINUTE = 60


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with too much to do may stop for a quarter of a second; that is not what is tested here."""
    monkeypatch.setattr(throttle, "REDIS_ANSWERS_IN_S", 10.0)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock by which windows end stands still."""
    at = now()
    monkeypatch.setattr(throttle, "now", lambda: at)


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> str | None:
    """The URL of a Redis, or None to count in memory."""
    url: str | None = request.getfixturevalue("redis_url") if request.param == "redis" else None
    return url


@pytest.fixture
def configured(tmp_path: Path) -> Callable[..., Settings]:
    """Settings with few failures allowed: 3 for one account, 5 from one address."""

    def settings(redis_url: str | None = None, **more: Any) -> Settings:
        given = {"login_failures_per_account": 3, "login_failures_per_address": 5, "rate_limit": 4} | more
        return Settings(_env_file=None, home=tmp_path / "home", redis_url=redis_url, **given)

    return settings


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Throttle]:
    opened = Throttle(settings)
    try:
        yield opened
    finally:
        await opened.close()


def run(work: Callable[[Throttle], Coroutine[Any, Any, None]], settings: Settings) -> None:
    async def within() -> None:
        async with opened(settings) as one:
            await work(one)

    asyncio.run(within())


async def fails(one: Throttle, account: str = ACCOUNT, client: str = CLIENT) -> None:
    with suppress(Unauthenticated):
        async with one.login(account, client):
            raise Unauthenticated("wrong")


async def succeeds(one: Throttle, account: str = ACCOUNT, client: str = CLIENT) -> None:
    async with one.login(account, client) as attempt:
        attempt.succeeded()


async def refused(one: Throttle, account: str = ACCOUNT, client: str = CLIENT) -> int:
    """The seconds of Retry-After."""
    with pytest.raises(RateLimited) as error:
        await succeeds(one, account, client)
    return int(error.value.headers["Retry-After"])


class TestLogins:
    def test_an_account_is_throttled_after_its_failures(
        self, configured: Callable[..., Settings], store: str | None
    ) -> None:
        async def work(one: Throttle) -> None:
            for _ in range(3):
                await fails(one)
            assert 14 * MINUTE < await refused(one) <= 15 * MINUTE
            await succeeds(one, "grace@example.com")

        run(work, configured(store))

    def test_what_failed_for_an_account_can_be_forgotten_and_what_came_from_its_address_is_not(
        self, configured: Callable[..., Settings], store: str | None
    ) -> None:
        async def work(one: Throttle) -> None:
            for _ in range(2):
                for _ in range(3):
                    await fails(one)
                    await fails(one, "grace@example.com", "198.51.100.7")
                await refused(one)
                await one.forget_failures(ACCOUNT)
                await succeeds(one)
                await refused(one, "grace@example.com", "203.0.113.7")
                await one.forget_failures("grace@example.com")
            await fails(one, "alan@example.com")
            await refused(one, "alan@example.com")

        run(work, configured(store, login_failures_per_address=7))

    def test_who_is_refused_hears_that_attempts_under_way_count_too(self, configured: Callable[..., Settings]) -> None:
        async def work(one: Throttle) -> None:
            async with one.login(ACCOUNT, CLIENT), one.login(ACCOUNT, CLIENT), one.login(ACCOUNT, CLIENT):
                with pytest.raises(RateLimited, match="too many logins failed or are under way") as error:
                    await succeeds(one)
            assert int(error.value.headers["Retry-After"]) > 0

        run(work, configured())

    def test_an_address_is_throttled_after_its_failures_whoever_they_were_for(
        self, configured: Callable[..., Settings], store: str | None
    ) -> None:
        async def work(one: Throttle) -> None:
            for number in range(5):
                await fails(one, f"{number}@example.com")
            assert 14 * MINUTE < await refused(one) <= 15 * MINUTE
            await succeeds(one, client="192.0.2.8")

        run(work, configured(store))

    def test_parallel_guesses_do_not_slip_through(self, configured: Callable[..., Settings], store: str | None) -> None:
        checked = 0

        async def guess(one: Throttle) -> None:
            nonlocal checked
            with suppress(Unauthenticated, RateLimited):
                async with one.login(ACCOUNT, CLIENT):
                    checked += 1
                    await asyncio.sleep(0.02)  # as hashing takes
                    raise Unauthenticated("wrong")

        async def work(one: Throttle) -> None:
            await asyncio.gather(*(guess(one) for _ in range(200)))

        run(work, configured(store, login_failures_per_account=10, login_failures_per_address=500))
        assert checked == 10

    def test_refused_attempts_count_for_nothing(self, configured: Callable[..., Settings], store: str | None) -> None:
        async def work(one: Throttle) -> None:
            for _ in range(3):
                await fails(one)
            for _ in range(20):
                await refused(one)
            await fails(one, "grace@example.com")  # the fourth from this address
            await succeeds(one, "grace@example.com")
            await refused(one)

        run(work, configured(store))

    def test_who_was_refused_while_others_were_looked_at_leaves_nothing_behind(
        self, configured: Callable[..., Settings], store: str | None
    ) -> None:
        async def work(one: Throttle) -> None:
            async with AsyncExitStack() as under_way:
                for number in range(5):
                    attempt = await under_way.enter_async_context(one.login(f"{number}@example.com", CLIENT))
                    attempt.succeeded()
                for _ in range(10):
                    await refused(one)
            for number in range(5):
                await fails(one, f"{number}@example.com")
            await refused(one)

        run(work, configured(store))

    def test_success_gives_the_attempt_back_and_clears_the_account(
        self, configured: Callable[..., Settings], store: str | None
    ) -> None:
        async def work(one: Throttle) -> None:
            for _ in range(20):
                await succeeds(one)
            for _ in range(2):
                await fails(one)
            await succeeds(one)
            for _ in range(3):
                await fails(one)  # the fifth from this address: its own are not forgotten
            await refused(one)
            await refused(one, "grace@example.com")

        run(work, configured(store))

    def test_an_attempt_without_a_verdict_does_not_count(
        self, configured: Callable[..., Settings], store: str | None
    ) -> None:
        async def work(one: Throttle) -> None:
            for _ in range(20):
                with pytest.raises(Unavailable):
                    async with one.login(ACCOUNT, CLIENT):
                        raise Unavailable("the database does not answer")
            await succeeds(one)

        run(work, configured(store))

    def test_a_right_password_counts_as_such_whatever_fails_after_it(
        self, configured: Callable[..., Settings], store: str | None
    ) -> None:
        async def right(one: Throttle) -> None:
            async with one.login(ACCOUNT, CLIENT) as attempt:
                attempt.succeeded()
                raise Unavailable("no session could be made")

        async def work(one: Throttle) -> None:
            for number in range(4):
                await fails(one, f"{number}@example.com")
            for _ in range(20):
                with pytest.raises(Unavailable):
                    await right(one)
            await fails(one)  # the fifth from this address
            await refused(one)

        run(work, configured(store))

    def test_it_is_over_when_the_window_is_and_refusals_do_not_prolong_it(
        self, configured: Callable[..., Settings]
    ) -> None:
        async def work(one: Throttle) -> None:
            for _ in range(3):
                await fails(one)
            with clock.moved(timedelta(minutes=14)):
                assert 1 <= await refused(one) <= MINUTE
            with clock.moved(timedelta(minutes=15)):
                await succeeds(one)

        run(work, configured())

    def test_in_redis_refusals_do_not_prolong_the_window_and_its_end_is_the_end(
        self, configured: Callable[..., Settings], redis_url: str
    ) -> None:
        async def work(one: Throttle) -> None:
            for _ in range(3):
                await fails(one)
            with redis.Redis.from_url(redis_url) as client:
                for key in client.scan_iter():  # 14 minutes and 59 seconds later
                    assert 14 * MINUTE < client.ttl(key) <= 15 * MINUTE
                    client.pexpire(key, 600)
            assert await refused(one) == 1
            await asyncio.sleep(0.65)
            await succeeds(one)

        run(work, configured(redis_url))

    def test_giving_back_after_the_window_leaves_no_credit(
        self, configured: Callable[..., Settings], redis_url: str
    ) -> None:
        async def work(one: Throttle) -> None:
            async with one.login(ACCOUNT, CLIENT) as attempt:
                with redis.Redis.from_url(redis_url) as client:
                    client.flushdb()
                attempt.succeeded()
            for number in range(5):
                await fails(one, f"{number}@example.com")
            await refused(one)

        run(work, configured(redis_url))

    def test_redis_is_told_no_address(self, configured: Callable[..., Settings], redis_url: str) -> None:
        async def work(one: Throttle) -> None:
            await fails(one)
            await one.request(one.address(CLIENT))

        run(work, configured(redis_url))
        with redis.Redis.from_url(redis_url, decode_responses=True) as client:
            keys = list(client.scan_iter())
        assert len(keys) == 3
        assert not any(part in key for key in keys for part in ("@", "example", "192.0"))


class TestRequests:
    @pytest.mark.usefixtures("held")
    def test_a_principal_has_so_many_a_minute(self, configured: Callable[..., Settings], store: str | None) -> None:
        async def work(one: Throttle) -> None:
            quotas = [await one.request("user:1") for _ in range(6)]
            assert [quota.retry_after > 0 for quota in quotas] == [False] * 4 + [True] * 2
            assert (await one.request("user:2")).retry_after == 0

        run(work, configured(store))

    @pytest.mark.usefixtures("held")
    def test_headers_are_those_of_the_draft(self, configured: Callable[..., Settings], store: str | None) -> None:
        """draft-ietf-httpapi-ratelimit-headers-10."""

        async def work(one: Throttle) -> None:
            first = dict((await one.request("user:1")).headers)
            assert first[b"ratelimit-policy"] == b'"default";q=4;w=60'
            named, left, until = first[b"ratelimit"].split(b";")
            assert (named, left) == (b'"default"', b"r=3")
            assert until.startswith(b"t=")
            for _ in range(3):
                last = dict((await one.request("user:1")).headers)
            assert last[b"ratelimit"] == b'"default";r=0;' + until
            over = dict((await one.request("user:1")).headers)
            assert over[b"ratelimit"] == b'"default";r=0;' + until
            assert over[b"retry-after"] == until.removeprefix(b"t=")

        run(work, configured(store))

    def test_after_the_seconds_it_said_the_count_begins_anew(
        self, configured: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        at = now()
        monkeypatch.setattr(throttle, "now", lambda: at)

        async def work(one: Throttle) -> None:
            nonlocal at
            for _ in range(9):
                quota = await one.request("user:1")
            assert 0 < quota.retry_after <= 60
            at += timedelta(seconds=quota.retry_after)
            assert (await one.request("user:1")).retry_after == 0

        run(work, configured())

    @pytest.mark.usefixtures("held")
    def test_windows_of_principals_end_at_different_times(self, configured: Callable[..., Settings]) -> None:
        async def work(one: Throttle) -> None:
            ends = {dict((await one.request(f"user:{number}")).headers)[b"ratelimit"] for number in range(40)}
            assert len(ends) > 10

        run(work, configured())

    def test_the_latest_keys_are_known(
        self, configured: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(throttle, "KNOWN_KEYS", 2)
        ids = [new_id() for _ in range(3)]

        async def work(one: Throttle) -> None:
            assert one.known_key("0") is None
            for name, key_id in (("0", ids[0]), ("1", ids[1]), ("0", ids[0]), ("2", ids[2])):
                one.remember_key(name, key_id)
            assert [one.known_key(name) for name in ("0", "1", "2")] == [ids[0], None, ids[2]]

        run(work, configured())

    def test_memory_forgets_windows_that_are_over(self, configured: Callable[..., Settings]) -> None:
        async def work(one: Throttle) -> None:
            for number in range(500):
                await one.request(f"user:{number}")
            with clock.moved(timedelta(minutes=3)):
                await one.request("user:1")
            assert len(one._counts._memory.storage) == len(one._counts._memory.expirations) == 1

        run(work, configured())


@pytest.mark.parametrize(
    ("given", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
        (None, ""),
    ],
)
def test_an_ipv6_address_counts_as_its_network(given: str | None, counted: str) -> None:
    assert network(given) == counted


class TestSeveralProcesses:
    @pytest.mark.usefixtures("held")
    def test_two_throttles_on_one_redis_count_together(
        self, configured: Callable[..., Settings], redis_url: str
    ) -> None:
        async def work(one: Throttle) -> None:
            async with opened(configured(redis_url)) as other:
                for each in (one, other, one):
                    await fails(each)
                await refused(one)
                await refused(other)
                left = [await each.request("user:1") for each in (one, other, one, other, one)]
                assert [quota.retry_after > 0 for quota in left] == [False] * 4 + [True]

        run(work, configured(redis_url))

    def test_parallel_guesses_at_two_processes_do_not_slip_through(
        self, configured: Callable[..., Settings], redis_url: str
    ) -> None:
        checked = 0

        async def guess(one: Throttle) -> None:
            nonlocal checked
            with suppress(Unauthenticated, RateLimited):
                async with one.login(ACCOUNT, CLIENT):
                    checked += 1
                    await asyncio.sleep(0.02)
                    raise Unauthenticated("wrong")

        async def work(one: Throttle) -> None:
            async with opened(configured(redis_url, **few)) as other:
                await asyncio.gather(*(guess(each) for each in itertools.islice(itertools.cycle((one, other)), 100)))

        few = {"login_failures_per_account": 10, "login_failures_per_address": 500}
        run(work, configured(redis_url, **few))
        assert checked == 10

    def test_without_redis_each_counts_for_itself(self, configured: Callable[..., Settings]) -> None:
        async def work(one: Throttle) -> None:
            async with opened(configured()) as other:
                for _ in range(3):
                    await fails(one)
                await refused(one)
                await succeeds(other)

        run(work, configured())


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{level} {message}", level="INFO")
    yield lines
    with suppress(ValueError):
        logger.remove(sink)


class TestRedisAway:
    @pytest.mark.integration
    @pytest.mark.usefixtures("held")
    def test_a_redis_that_dies_is_replaced_by_memory_and_used_again_when_it_is_back(
        self,
        configured: Callable[..., Settings],
        tmp_path_factory: pytest.TempPathFactory,
        monkeypatch: pytest.MonkeyPatch,
        logged: list[str],
    ) -> None:
        monkeypatch.setattr(throttle, "REDIS_LEFT_ALONE_S", 0.2)
        folder = tmp_path_factory.mktemp("r")  # short: a socket's name has at most 107 characters
        url, stop = keep_redis(folder)

        async def work(one: Throttle) -> None:
            nonlocal stop
            for _ in range(3):
                await fails(one)
            await refused(one)
            stop()
            for _ in range(3):
                await fails(one)  # in memory now, where there were none
            await refused(one)
            results = await asyncio.gather(*(one.request("user:1") for _ in range(100)))
            assert sum(quota.retry_after == 0 for quota in results) == 4
            (warning,) = [line for line in logged if line.startswith("WARNING")]
            told = re.fullmatch(r"WARNING Redis does not answer \((.+)\); each process counts for itself\n", warning)
            assert told is not None
            assert "Error" not in told[1], "in words"
            _, stop = keep_redis(folder)
            await asyncio.sleep(0.25)
            for _ in range(3):
                await fails(one)
            await refused(one)
            with redis.Redis.from_url(url) as client:
                assert client.dbsize() == 2
            assert logged[-1] == "INFO Redis answers again; requests and failed logins are counted there\n"

        try:
            run(work, configured(url))
        finally:
            stop()

    @pytest.mark.integration
    @pytest.mark.usefixtures("held")
    def test_a_redis_that_does_not_answer_costs_a_quarter_of_a_second_once(
        self, configured: Callable[..., Settings], logged: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(throttle, "REDIS_ANSWERS_IN_S", 0.25)

        async def work(one: Throttle) -> None:
            started = time.monotonic()
            results = await asyncio.gather(*(one.request("user:1") for _ in range(100)))
            assert 0.2 < time.monotonic() - started < 3  # one after the other it would be 25
            assert sum(quota.retry_after == 0 for quota in results) == 4
            started = time.monotonic()
            for _ in range(3):
                await fails(one)
            await refused(one)
            assert time.monotonic() - started < 1  # none of the eight questions waited
            assert len([line for line in logged if line.startswith("WARNING")]) == 1

        with socket.create_server(("127.0.0.1", 0)) as silent:
            run(work, configured(f"redis://127.0.0.1:{silent.getsockname()[1]}/0"))

    def test_a_count_is_given_back_only_where_it_was_taken(
        self, configured: Callable[..., Settings], redis_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(throttle, "REDIS_LEFT_ALONE_S", 0.05)

        async def work(one: Throttle) -> None:
            for number in range(4):
                await fails(one, f"{number}@example.com")
            one._counts._lost(TimeoutError())
            async with one.login(ACCOUNT, CLIENT) as attempt:  # taken in memory
                await asyncio.sleep(0.1)
                await one.request("user:1")  # finds Redis again
                attempt.succeeded()
            await fails(one)
            await refused(one)

        run(work, configured(redis_url))

    def test_a_url_without_a_port_is_fine(self, configured: Callable[..., Settings]) -> None:
        async def work(one: Throttle) -> None:
            pool = one._counts._pool
            assert pool is not None
            assert "port" not in pool.connection_kwargs
            assert pool.connection_kwargs["host"] == "localhost"

        run(work, configured("redis://localhost"))
