"""A whole orderkit to send requests to: API, worker and simulator, each a process of its own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp
import pytest

from orderkit.auth import accounts
from orderkit.auth.models import ADMIN
from orderkit.db import Database
from tests.processes import Process, Processes

T = TypeVar("T")
PASSWORD = "a password for tests"


@dataclass
class Reply:
    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass
class Shop:
    """Speaks HTTP to one or more processes of the API, in turn, as one of its users."""

    addresses: list[str]
    simulator: str
    tokens: dict[str, str] = field(default_factory=dict)

    def all_at_once(self, requests: Sequence[Callable[[aiohttp.ClientSession, str], Awaitable[T]]]) -> list[T]:
        """Sends all requests at once, spread over the processes."""

        async def send() -> list[T]:
            connector = aiohttp.TCPConnector(limit=0)
            timeout = aiohttp.ClientTimeout(total=30)
            async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
                return await asyncio.gather(
                    *(
                        request(session, self.addresses[number % len(self.addresses)])
                        for number, request in enumerate(requests)
                    )
                )

        return asyncio.run(send())

    def order(
        self,
        key: str,
        items: list[tuple[str, int]],
        *,
        method: str = "pm_card_visa",
        postal_code: str = "AB1",
        **more: Any,
    ) -> Callable[[aiohttp.ClientSession, str], Awaitable[Reply]]:
        """A request that places an order, to be sent."""
        body = {
            "items": [{"sku": sku, "quantity": quantity} for sku, quantity in items],
            "payment_method": method,
            "shipping_address": {
                "name": "A",
                "line1": "1 Road",
                "city": "C",
                "postal_code": postal_code,
                "country": "GB",
            },
        }
        return self.call("POST", "/orders", body=body, key=key, **more)

    def call(
        self, method: str, path: str, *, body: Any = None, key: str | None = None, who: str = "customer"
    ) -> Callable[[aiohttp.ClientSession, str], Awaitable[Reply]]:
        headers = {"Authorization": f"Bearer {self.tokens[who]}"} if who in self.tokens else {}
        if key is not None:
            headers["Idempotency-Key"] = key

        async def send(session: aiohttp.ClientSession, address: str) -> Reply:
            async with session.request(method, address + path, json=body, headers=headers) as response:
                text = await response.text()
                return Reply(response.status, response.headers.copy(), json.loads(text) if text else None)

        return send

    def one(self, request: Callable[[aiohttp.ClientSession, str], Awaitable[Reply]]) -> Reply:
        [reply] = self.all_at_once([request])
        return reply

    def get(self, path: str, who: str = "customer") -> Any:
        reply = self.one(self.call("GET", path, who=who))
        assert reply.status == 200, reply
        return reply.body

    def make_product(self, sku: str, *, stock: int, unit_price: int = 500) -> None:
        body = {"sku": sku, "name": sku, "unit_price": unit_price, "currency": "GBP", "stock": stock}
        reply = self.one(self.call("POST", "/products", body=body, who="admin"))
        assert reply.status == 201, reply

    def ledger(self) -> dict[str, list[dict[str, Any]]]:
        """What the provider and the carrier have in their books."""
        books: dict[str, list[dict[str, Any]]] = self._ask_simulator("GET", "/ledger")
        return books

    def misbehave(self, target: str, mode: str, count: int) -> None:
        self._ask_simulator("POST", "/behavior", {"target": target, "mode": mode, "count": count})

    def deliver(self, key: str, **how: Any) -> Any:
        """Has the carrier report that a parcel is delivered; what it was answered."""
        return self._ask_simulator("POST", "/deliveries", {"key": key, **how})

    def heal(self) -> None:
        self._ask_simulator("DELETE", "/behavior")

    def _ask_simulator(self, method: str, path: str, body: Any = None) -> Any:
        async def send() -> Any:
            async with (
                aiohttp.ClientSession() as session,
                session.request(method, self.simulator + path, json=body) as response,
            ):
                assert response.status < 300, await response.text()
                text = await response.text()
                return json.loads(text) if text else None

        return asyncio.run(send())


def eventually(look: Callable[[], T], *, within_s: float = 20) -> T:
    """What `look` finds as soon as it is true; fails with its last finding when it never is."""
    until = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < until, f"still {found!r} after {within_s} s"
        time.sleep(0.05)
    return found


@pytest.fixture
def simulator(processes: Processes) -> str:
    process = processes.start("simulate", "--port", "0")
    address = process.address()
    # A short lease: what a killed process held is free again in moments.
    processes.env |= {"ORDERKIT_GATEWAY": "simulator", "ORDERKIT_SIMULATOR_URL": address, "ORDERKIT_LEASE": "2"}
    return address


@pytest.fixture
def apis(request: pytest.FixtureRequest, processes: Processes, simulator: str, engine_name: str) -> list[Process]:
    """The API: on PostgreSQL two processes, as behind a balancer; on SQLite one."""
    return [processes.start("serve", "--port", "0") for _ in range(2 if engine_name == "postgresql" else 1)]


@pytest.fixture
def shop(apis: list[Process], simulator: str, database: Database) -> Shop:
    """The API with a customer and an admin logged in."""
    for name, role in (("customer", "customer"), ("admin", ADMIN)):
        accounts.create(database, f"{name}@example.com", name, PASSWORD, role)
    shop = Shop([api.address() for api in apis], simulator)
    for name in ("customer", "admin"):
        shop.tokens[name] = _log_in(shop.addresses[0], f"{name}@example.com")
    return shop


@pytest.fixture
def worker(processes: Processes, simulator: str) -> Process:
    process = processes.start("worker")
    process.wait_for("the worker is up")
    return process


def _log_in(address: str, email: str) -> str:
    async def send() -> str:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{address}/token", data={"username": email, "password": PASSWORD}) as response,
        ):
            token: str = (await response.json())["access_token"]
            return token

    return asyncio.run(send())
