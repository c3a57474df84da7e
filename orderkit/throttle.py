"""How often somebody may ask, and how often a login may fail. Counted in Redis for all processes, else in each for itself.

All windows are fixed ones. A count is taken first and given back where it should not have been, so that it holds however many
ask at once. What lies in Redis names nobody: e-mail and network addresses are keyed hashes there.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import math
import time
import zlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import NamedTuple, TypeVar
from uuid import UUID

from limits.aio.storage import MemoryStorage, RedisStorage
from loguru import logger
from redis import RedisError
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from orderkit import reasons
from orderkit.clock import now
from orderkit.errors import Invalid, RateLimited, Unauthenticated
from orderkit.settings import Settings

T = TypeVar("T")

WINDOW_S = 60
"""Of the limit on all requests of one principal."""
REDIS_ANSWERS_IN_S = 0.25
"""Redis answers within a millisecond. When it does not, a request waits no longer than this."""
REDIS_LEFT_ALONE_S = 5.0
CONNECTIONS = 32
KNOWN_KEYS = 4096
"""API keys that are remembered, about 1 MB."""
SWEEP_S = 10.0

_PREFIX = "orderkit:throttle"
_WRONG = (Unauthenticated, Invalid)
"""Errors that say that a password was wrong. Any other, such as a database that does not answer, says nothing about it."""


class Quota(NamedTuple):
    """What is left of a principal's requests. `retry_after` is in seconds, 0 for a request that may pass."""

    headers: tuple[tuple[bytes, bytes], ...]
    retry_after: int


class Attempt:
    """A login under way. It counts as failed unless `succeeded` is called before it is over."""

    def __init__(self) -> None:
        self.was_right = False

    def succeeded(self) -> None:
        """The password was right."""
        self.was_right = True


class Throttle:
    """Belongs to one event loop; `close` it there.

    Never fails a request: while Redis is away or slow, each process counts for itself.
    """

    def __init__(self, settings: Settings) -> None:
        self.per_minute = settings.requests_per_minute
        """Requests of one principal; 0 for no limit. Then `request` need not be asked."""
        self._per_account = settings.login_failures_per_account
        self._per_address = settings.login_failures_per_address
        self._mails_per_address = settings.mails_per_address
        self._window_s = 60 * settings.login_window_minutes
        self._counts = _Counts(settings.redis_url)
        self._secret = hmac.digest(settings.signing_key.encode(), b"orderkit throttle", "sha256")
        self._keys: OrderedDict[str, UUID] = OrderedDict()
        self._policy = (b"ratelimit-policy", f'"default";q={self.per_minute};w={WINDOW_S}'.encode())

    async def close(self) -> None:
        """Closes the connections to Redis."""
        await self._counts.close()

    @asynccontextmanager
    async def login(self, account: str, client: str | None) -> AsyncIterator[Attempt]:
        """Around the check of a password of `account` that came from the address `client`.

        `account` is the e-mail address in its one spelling, known or not. A wrong password raises Unauthenticated or Invalid
        within, or simply does not call `succeeded`. Raises RateLimited, before anything is checked, when too many failed
        or are under way; that attempt does not count.
        """
        by_account, by_address = self._hidden("account", account), self._hidden("address", network(client))
        address = await self._take(by_address, self._per_address)
        try:
            taken = await self._take(by_account, self._per_account)
        except RateLimited:
            await self._counts.give_back(address)
            raise
        attempt = Attempt()
        try:
            yield attempt
        except Exception as error:
            if not isinstance(error, _WRONG) and not attempt.was_right:
                await self._counts.give_back(taken)
                await self._counts.give_back(address)
            raise
        finally:
            if attempt.was_right:
                # The address only gets its own back: who has one account may not make a clean sheet for guessing others.
                await self._counts.clear(taken)
                await self._counts.give_back(address)

    async def forget_failures(self, account: str) -> None:
        """Begins the count of `account` anew: its owner has a new password, and is not to wait for what others guessed."""
        await self._counts.forget(self._hidden("account", account))

    async def mail(self, client: str | None) -> None:
        """Counts a mail that is asked for from the address `client`, whoever is to get it. Raises RateLimited.

        How many one mailbox gets is another limit, which needs no counting here.
        """
        await self._take(self._hidden("mail", network(client)), self._mails_per_address, "mails were asked for")

    async def _take(self, key: str, limit: int, what: str = "logins failed or are under way") -> _Count:
        taken = await self._counts.take(key, self._window_s)
        if taken.value > limit:
            wait = max(1, math.ceil(await self._counts.seconds_left(taken)))
            await self._counts.give_back(taken)
            raise RateLimited(f"too many {what}; try again later", headers={"Retry-After": str(wait)})
        return taken

    async def request(self, principal: str) -> Quota:
        """Counts a request of `principal`, refused ones too."""
        # Windows begin at the full minute, shifted for each principal, or all would come back in the same second. So
        # their end is known without asking Redis, which an order would notice.
        at = now().timestamp() + zlib.crc32(principal.encode()) % WINDOW_S
        count = await self._counts.take(f"request/{principal}/{int(at // WINDOW_S)}", WINDOW_S)
        wait = max(1, math.ceil(WINDOW_S - at % WINDOW_S))
        left = max(0, self.per_minute - count.value)
        headers = (self._policy, (b"ratelimit", f'"default";r={left};t={wait}'.encode()))
        if count.value <= self.per_minute:
            return Quota(headers, 0)
        return Quota((*headers, (b"retry-after", str(wait).encode())), wait)

    def address(self, client: str | None) -> str:
        """The principal of a request by nobody that is known; `client` is the address it came from."""
        return self._hidden("address", network(client))

    def remember_key(self, key_hash: str, key_id: UUID) -> None:
        """An API key, by its hash, was found to be good. The latest KNOWN_KEYS of them are remembered."""
        self._keys[key_hash] = key_id
        self._keys.move_to_end(key_hash)
        if len(self._keys) > KNOWN_KEYS:
            self._keys.popitem(last=False)

    def known_key(self, key_hash: str) -> UUID | None:
        """The id of an API key that this process found to be good before, so that made-up ones are not principals."""
        return self._keys.get(key_hash)

    def _hidden(self, kind: str, text: str) -> str:
        return f"{kind}:{hmac.digest(self._secret, text.encode(errors='replace'), 'sha256').hex()[:32]}"


@lru_cache(maxsize=4096)
def network(client: str | None) -> str:
    """What stands for a client's address: an IPv4 address, or the /64 of an IPv6 one, all of which one customer has."""
    try:
        found = ipaddress.ip_address(client or "")
    except ValueError:
        return (client or "")[:64]  # a socket file, or whatever a trusted proxy says
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))


class _Count(NamedTuple):
    """A count that was taken: of which key, how many there are with it, and where it is kept."""

    key: str
    window_s: int
    value: int
    in_redis: bool


class _Counts:
    """Counts that end with their windows, in Redis while it answers, else in memory."""

    def __init__(self, redis_url: str | None) -> None:
        self._memory = _Memory()
        self._pool: ConnectionPool | None = None
        if redis_url is not None:
            self._pool = ConnectionPool.from_url(
                redis_url,
                max_connections=CONNECTIONS,
                socket_timeout=REDIS_ANSWERS_IN_S,
                socket_connect_timeout=REDIS_ANSWERS_IN_S,
                retry=Retry(NoBackoff(), 0),
            )
            self._client = Redis(connection_pool=self._pool)
            self._redis = RedisStorage(
                "async+redis://",
                implementation="redispy",
                key_prefix=_PREFIX,
                connection_pool=self._pool,  # type: ignore[arg-type]  # passed on to redis-py as it is
            )
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._away = False
        self._left_alone_until = 0.0

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.disconnect()

    async def take(self, key: str, window_s: int) -> _Count:
        """One more. The window begins with the first."""
        if self._pool is not None:
            value = await self._ask(lambda redis: redis.incr(key, window_s))
            if value is not None:
                return _Count(key, window_s, value, True)
        return _Count(key, window_s, await self._memory.incr(key, window_s), False)

    async def give_back(self, count: _Count) -> None:
        """One less, where it was taken. If that is away, it ends with its window."""
        if count.in_redis:
            left = await self._ask(lambda redis: redis.incr(count.key, count.window_s, -1))
        else:
            left = await self._memory.incr(count.key, count.window_s, -1)
        if left is not None and left < 0:  # its window was over already, and the next may not begin with a credit
            await self.clear(count)

    async def clear(self, count: _Count) -> None:
        """None at all, as if the window had not begun."""
        if count.in_redis:
            await self._ask(lambda redis: redis.clear(count.key))
        else:
            await self._memory.clear(count.key)

    async def forget(self, key: str) -> None:
        """None at all, wherever they were taken."""
        await self._memory.clear(key)
        if self._pool is not None:
            await self._ask(lambda redis: redis.clear(key))

    async def seconds_left(self, count: _Count) -> float:
        """Until its window ends."""
        if count.in_redis:
            # The library's get_expiry tells whole seconds, rounded down or up.
            left_ms = await self._ask(lambda _: self._client.pttl(f"{_PREFIX}:{count.key}"))
            return count.window_s if left_ms is None else left_ms / 1000
        return self._memory.expirations.get(count.key, 0.0) - now().timestamp()

    async def _ask(self, ask: Callable[[RedisStorage], Awaitable[T]]) -> T | None:
        """What Redis answers; None while it is away, or left alone because it was."""
        async with (
            self._turns
        ):  # not more at once than it has connections, and whoever waits here sees that it went away
            if time.monotonic() < self._left_alone_until:
                return None
            probing = self._away
            if probing:  # one tries, and the others go on without
                self._left_alone_until = time.monotonic() + REDIS_LEFT_ALONE_S
            try:
                async with asyncio.timeout(REDIS_ANSWERS_IN_S):
                    answer = await ask(self._redis)
            except (RedisError, OSError, TimeoutError) as error:
                self._lost(error)
                return None
        if probing:
            self._away, self._left_alone_until = False, 0.0
            logger.info("Redis answers again; requests and failed logins are counted there")
        return answer

    def _lost(self, error: Exception) -> None:
        self._left_alone_until = time.monotonic() + REDIS_LEFT_ALONE_S
        if not self._away:
            self._away = True
            # Not its text, which may quote the URL.
            told = "Redis does not answer ({}); each process counts for itself"
            logger.bind(**reasons.facts(error)).warning(told, reasons.in_words(error))


class _Memory(MemoryStorage):
    """As the library's, which looks through all its keys after each count: 1 ms with 10,000 of them. This seldom does.

    And it goes by our clock.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sweep_at = 0.0

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        at = now().timestamp()
        if at >= self._sweep_at:
            self._sweep_at = at + SWEEP_S
            for over in [one for one, end in self.expirations.items() if end <= at]:
                await self.clear(over)
        if self.expirations.get(key, 0.0) <= at:
            await self.clear(key)
        value = self.storage[key] + amount  # nothing here waits, so nobody comes between
        if value == amount:
            self.expirations[key] = at + expiry
        self.storage[key] = value
        return value
