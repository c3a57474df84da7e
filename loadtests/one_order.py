"""The least that one paid order costs a database: the rows that orderkit keeps of it, written with nothing around them.

For PostgreSQL pgbench writes them, one transaction an order. For SQLite a plain loop does.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from uuid import UUID, uuid4

from sqlalchemy import make_url

from loadtests.stack import PRICE, Engine, sku

SCRIPT = Path(__file__).with_name("one_order.pgbench.sql")


@dataclass(frozen=True)
class Written:
    orders: int
    orders_a_second: float


def by_pgbench(engine: Engine, *, clients: int, seconds: int, products: int, customers: int) -> Written:
    """pgbench with prepared statements, one transaction an order. Exits if it fails or loses a transaction."""
    assert engine.programs is not None
    url = make_url(engine.url)
    host = url.query.get("host") or url.host or ""
    command = [
        str(engine.programs / "pgbench"),
        *("--no-vacuum", "--protocol=prepared", f"--client={clients}", f"--jobs={min(clients, os.cpu_count() or 1)}"),
        *(f"--time={seconds}", f"--file={SCRIPT}", f"--define=products={products}", f"--define=customers={customers}"),
        *(f"--host={host}", f"--username={url.username}", str(url.database)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    orders = re.search(r"number of transactions actually processed: (\d+)", done.stdout)
    rate = re.search(r"tps = ([\d.]+)", done.stdout)
    failed = re.search(r"number of failed transactions: (\d+)", done.stdout)
    if done.returncode or not orders or not rate or (failed and int(failed[1])):
        sys.exit(f"pgbench failed: {done.stderr.strip() or done.stdout}")
    return Written(int(orders[1]), float(rate[1]))


def by_sqlite(engine: Engine, *, seconds: int, products: int, customers: int) -> Written:
    """One connection, one transaction an order, as durable as orderkit's. In this process: nothing else is at work."""
    connection = sqlite3.connect(str(make_url(engine.url).database), isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-65536"):
        connection.execute(f"PRAGMA {pragma}")
    draw = Random(uuid4().int)
    orders, started = 0, time.perf_counter()
    until = started + seconds
    while time.perf_counter() < until:
        _write(connection, draw, products, customers)
        orders += 1
    elapsed = time.perf_counter() - started
    connection.close()
    return Written(orders, orders / elapsed)


def _write(connection: sqlite3.Connection, draw: Random, products: int, customers: int) -> None:
    user, order, payment, attempt, event = UUID(int=draw.randint(1, customers)).hex, *(uuid4().hex for _ in range(4))
    at, key, of = "2026-01-01 00:00:00.000000", uuid4().hex, sku(draw.randint(1, products))
    run = connection.execute
    run("BEGIN IMMEDIATE")
    run(
        "INSERT INTO idempotency_keys (user_id, key, fingerprint, resource_id, lease_until, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (user, key, "f" * 64, order, at, at),
    )
    name, price = run("SELECT name, unit_price FROM products WHERE sku = ?", (of,)).fetchone()
    run(
        "INSERT INTO orders (id, user_id, idempotency_key, status, currency, total, version, created_at, updated_at) "
        "VALUES (?, ?, ?, 'pending', 'GBP', ?, 1, ?, ?)",
        (order, user, key, price, at, at),
    )
    run("INSERT INTO order_items VALUES (?, 1, ?, ?, 1, ?, ?)", (order, of, name, price, price))
    history = "INSERT INTO order_history VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    run(history, (order, 1, None, "pending", user, "placed", "r" * 32, at))
    run(
        "INSERT INTO payments (id, order_id, status, method, amount, currency, refunded, attempts, run_at, created_at, "
        "updated_at) VALUES (?, ?, 'created', 'pm_card_visa', ?, 'GBP', 0, 0, ?, ?, ?)",
        (payment, order, price, at, at, at),
    )
    run("UPDATE products SET stock = stock - 1 WHERE sku = ?", (of,))
    run(
        "UPDATE payments SET status = 'captured', provider_reference = ?, attempts = 1, run_at = ?, updated_at = ? "
        "WHERE id = ? AND status IN ('created', 'unknown')",
        (f"ch_{payment}", at, at, payment),
    )
    run(
        "INSERT INTO payment_attempts VALUES (?, ?, 1, 'charge', 'captured', ?, ?, 0)",
        (attempt, payment, f"ch_{payment}", at),
    )
    run(
        "UPDATE orders SET status = 'paid', version = 2, updated_at = ? WHERE id = ? AND status = 'pending'",
        (at, order),
    )
    run(history, (order, 2, "pending", "paid", None, "payment captured", "r" * 32, at))
    payload = json.dumps({"user_id": user, "currency": "GBP", "total": PRICE, "reason": "payment captured"})
    run(
        "INSERT INTO outbox (id, order_id, sequence, type, payload, created_at) VALUES (?, ?, 2, 'order.paid', ?, ?)",
        (event, order, payload, at),
    )
    run(
        "UPDATE idempotency_keys SET status_code = 201, body = ? WHERE user_id = ? AND key = ? AND status_code IS NULL",
        ("b" * 620, user, key),
    )
    run("COMMIT")
