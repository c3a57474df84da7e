"""Where the checks look: a stack that was started for them, the user's own database, and the checkout, where there is one."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from sqlalchemy import text

from orderkit.auth import accounts
from orderkit.auth.models import ADMIN
from orderkit.db import Database
from orderkit.demo.customers import Login, Reply, Shop, new_login
from orderkit.demo.processes import HOST, Processes, free_port
from orderkit.ids import new_id
from orderkit.print_pack.checks.checking import Fails, NotChecked, expect
from orderkit.print_pack.evidence import Piece
from orderkit.settings import Settings

READY_WITHIN_S = 30.0
CARD = "pm_card_visa"
PRICE = 1250
"""Of every product of the checks, in minor units."""
DB_TIMEOUT_S, PROVIDER_TIMEOUT_S = 2.0, 2.0
METRICS_TOKEN = "of-the-checks-alone"  # noqa: S105 - of a stack that lives for a minute
PACE = {
    "ORDERKIT_GATEWAY": "simulator",
    "ORDERKIT_GATEWAY_TIMEOUT": str(PROVIDER_TIMEOUT_S),
    "ORDERKIT_CARRIER_TIMEOUT": str(PROVIDER_TIMEOUT_S),
    "ORDERKIT_CARRIER_ATTEMPTS": "3",
    "ORDERKIT_RETRY_BASE": "0.2",
    "ORDERKIT_LEASE": "3",
    "ORDERKIT_DB_TIMEOUT": str(DB_TIMEOUT_S),
    "ORDERKIT_LOG_FORMAT": "json",
    "ORDERKIT_SLOW_QUERY": "0.0001",
    "ORDERKIT_METRICS_TOKEN": METRICS_TOKEN,
}
"""Settings of the stack: waits are short, every query is slow enough to be told of, and the logs can be read by a program."""


@dataclass(frozen=True, slots=True)
class Person:
    """An account and its token. `id` is as the API tells it."""

    login: Login
    id: str
    token: str


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


class Where(NamedTuple):
    """The ports of the stack, on the loopback."""

    serve: int
    simulate: int
    worker: int

    @classmethod
    def free(cls) -> Where:
        """Raises Unavailable where there are none."""
        return cls(free_port(), free_port(), free_port())

    @property
    def settings(self) -> dict[str, str]:
        """What the processes must know of each other."""
        return {
            "ORDERKIT_SIMULATOR_URL": f"http://{HOST}:{self.simulate}",
            "ORDERKIT_PUBLIC_URL": f"http://{HOST}:{self.serve}",
        }


class Live:
    """API, worker and simulator as processes on the loopback, on a SQLite file of their own. Needs `open` first."""

    def __init__(self, processes: Processes, http: aiohttp.ClientSession, where: Where) -> None:
        self.processes = processes
        self.home = processes.home
        self.database_file = self.home / "orderkit.db"
        self.api, self.simulator, self.worker = (
            f"http://{HOST}:{port}" for port in (where.serve, where.simulate, where.worker)
        )
        self._where = where
        self._shop = Shop(http, self.api, self.simulator, new_login("staff"))
        self.staff: Person
        self.sku = "CHECK-001"

    @cached_property
    def settings(self) -> Settings:
        """Of the stack's own database. No `.env`: the one that may lie here is the user's."""
        return Settings(_env_file=None, home=self.home, database_url=f"sqlite:///{self.database_file}", slow_query=0.0)

    async def open(self) -> None:
        """Starts everything, waits until it is ready, and puts one product on the shelf. Raises Died or Fails."""
        migrated = await self.command("migrate")
        expect(migrated.code == 0, f"orderkit migrate ended with {migrated.code}: {migrated.err[-200:]}")
        self.processes.start("simulate", "--port", str(self._where.simulate), "--store", str(self.home / "sim.db"))
        self.processes.start("serve", "--port", str(self._where.serve))
        self.processes.start("worker", "--metrics-port", str(self._where.worker))
        login = new_login("staff")
        await asyncio.to_thread(self._make_admin, login)
        async with asyncio.timeout(READY_WITHIN_S):
            while not await self._shop.ready():
                self.processes.check()
                await asyncio.sleep(0.1)
        self.staff = Person(login, "", await self.log_in(login))
        await self.product(self.sku)

    def _make_admin(self, login: Login) -> None:
        database = Database(self.settings)
        try:
            accounts.create(database, login.email, "Staff", login.password, ADMIN)
        finally:
            database.dispose()

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def ask(self, method: str, path: str, who: Person | None = None, **sent: Any) -> Reply:
        """One request to the API, or to another server where `path` is a URL. Raises Fails where no answer comes."""
        url = path if path.startswith("http") else self.api + path
        try:
            return await self._shop.ask(method, url, token=who.token if who else None, **sent)
        except aiohttp.ClientError as error:
            raise Fails(f"{method} {path} got no answer ({type(error).__name__})") from None

    async def must(self, status: int, method: str, path: str, who: Person | None = None, **sent: Any) -> Reply:
        """The same; raises Fails for an answer of another status."""
        reply = await self.ask(method, path, who, **sent)
        if reply.status != status:
            told = f" {reply.code}" if reply.code else ""
            raise Fails(f"{method} {path} was answered {reply.status}{told}, not {status}")
        return reply

    async def log_in(self, login: Login) -> str:
        return str((await self.tokens(login))["access_token"])

    async def tokens(self, login: Login) -> Any:
        form = {"grant_type": "password", "username": login.email, "password": login.password}
        return (await self.must(200, "POST", "/token", form=form)).body

    async def customer(self, name: str = "customer") -> Person:
        """A new account, logged in."""
        login = Login(f"{name}-{new_id().hex}@check.example", new_login(name).password)
        body = {"email": login.email, "password": login.password, "name": name.title()}
        made = await self.must(201, "POST", "/register", body=body)
        return Person(login, made.body["id"], await self.log_in(login))

    async def product(self, sku: str, *, stock: int = 1000, currency: str = "GBP") -> None:
        body = {"sku": sku, "name": "Tea cup", "unit_price": PRICE, "currency": currency, "stock": stock}
        await self.must(201, "POST", "/products", self.staff, body=body)

    async def order(
        self,
        who: Person | None,
        key: str | None = None,
        *,
        method: str = CARD,
        postal_code: str = "N1 7AA",
        headers: Mapping[str, str] | None = None,
        sku: str | None = None,
        quantity: int = 1,
        **more: Any,
    ) -> Reply:
        """Places one, under a new key unless told which."""
        address = {"name": "C", "line1": "1 Road", "city": "Town", "postal_code": postal_code, "country": "GB"}
        items = [{"sku": sku or self.sku, "quantity": quantity}]
        body = {"items": items, "payment_method": method, "shipping_address": address, **more}
        sent = {"Idempotency-Key": key or new_id().hex, **(headers or {})}
        return await self.ask("POST", "/orders", who, body=body, headers=sent)

    async def paid(self, who: Person, **more: Any) -> Any:
        """The body of the answer to an order that must be paid."""
        reply = await self.order(who, **more)
        if reply.status != 201:
            raise Fails(f"an order was answered {reply.status} {reply.code or ''}, not 201")
        return reply.body

    async def until(self, order_id: str, who: Person, *statuses: str, within_s: float = 20.0) -> Any:
        """The order, once it has one of those statuses. Raises Fails when it does not get there."""
        seen: Any = None
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while True:
                    seen = (await self.must(200, "GET", f"/orders/{order_id}", who)).body
                    if seen["status"] in statuses:
                        return seen
                    await asyncio.sleep(0.15)
        raise Fails(f"the order is {seen and seen['status']} after {within_s:g} s, not {' or '.join(statuses)}")

    async def captures(self, payment_id: str) -> int:
        """How often the provider took money for a payment, by its own ledger."""
        ledger = (await self.must(200, "GET", f"{self.simulator}/ledger")).body
        return sum(entry["key"] == payment_id for entry in ledger["captures"])

    async def metrics(self, url: str | None = None) -> str:
        headers = {"Authorization": f"Bearer {METRICS_TOKEN}"}
        return str((await self.must(200, "GET", f"{url or self.api}/metrics", headers=headers)).body)

    async def command(self, *arguments: str, stdin: str = "", **settings: str) -> Ran:
        """`orderkit …` on the stack's database, as a user would run it."""
        environment = {**self.processes.environment, **{f"ORDERKIT_{k.upper()}": v for k, v in settings.items()}}
        return await run(sys.executable, "-m", "orderkit", *arguments, cwd=self.home, env=environment, stdin=stdin)

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def lines(self, process: str) -> Iterator[dict[str, Any]]:
        """What a process has logged. Raises Fails for a line that is no JSON object."""
        for line in (self.home / f"{process}.log").read_text(errors="replace").splitlines():
            try:
                told = json.loads(line)
            except ValueError:
                told = None
            if not isinstance(told, dict):
                raise Fails(f"a line of {process} is no JSON object: {line[:60]}")
            yield told

    async def rows(self, statement: str, **values: object) -> list[Any]:
        """Read from the stack's database file."""

        def read() -> list[Any]:
            database = Database(self.settings)
            try:
                with database.reading() as session:
                    return list(session.connection().execute(text(statement), values).all())
            finally:
                database.dispose()

        return await asyncio.to_thread(read)


@dataclass
class Site:
    """All that checks look at. `why_not_live` says why there is no stack.

    `outcomes` is how tests of the repository went, by id: passed or not; None where they did not run. `has_tests`: there are
    some to be run, so that what is known of an earlier run does not count.
    """

    settings: Settings
    database: Database | None = None
    whose: str = "a new database"
    stack: Live | None = None
    why_not_live: str = "the stack was not started"
    coverage: Piece | None = None
    demo: Piece | None = None
    outcomes: Mapping[str, bool] | None = None
    has_tests: bool = False
    why_no_tests: str = "tests come with a checkout only, and there is no coverage evidence"

    @property
    def live(self) -> Live:
        """Raises Fails where the stack does not run."""
        if self.stack is None:
            raise Fails(self.why_not_live)
        return self.stack

    def connection_to(self) -> Database:
        """The database that the user has, else that of the stack. Raises NotChecked where there is neither."""
        if self.database is None:
            raise NotChecked("there is no database to look at")
        return self.database


async def run(*arguments: str, cwd: Path, env: Mapping[str, str], stdin: str = "") -> Ran:
    """A program to its end. One that is given up is killed."""
    process = await asyncio.create_subprocess_exec(
        *arguments,
        cwd=cwd,
        env=dict(env),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate(stdin.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ran(process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace"))
