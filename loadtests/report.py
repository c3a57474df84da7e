"""Customers on a stack of its own, and a short report of how they fared.

    python -m loadtests.report [--postgresql]

Migrates a new database, serves it, has locust's customers order and read for a bounded time, and writes Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from loadtests import arguments, stack
from loadtests.stack import ROOT, Counts, Stack
from orderkit import __version__
from orderkit.auth.passwords import hash_password
from orderkit.clock import now
from orderkit.print_pack import stamps

OUT = ROOT / "loadtests" / "out"
PRODUCTS = 50
GRACE_S = 30


@dataclass(frozen=True)
class Run:
    """What was asked for, what the customers were told, and what the database has. Times in milliseconds."""

    engine: str
    users: int
    started: datetime
    told: dict[str, Any]
    api_cpu: float
    kept: Counts

    @property
    def agrees(self) -> bool:
        """Whether each order that a customer was told of is there once, paid once, and took its pieces once."""
        placed = self.told["placed"]
        one_each = (self.kept.orders, self.kept.paid, self.kept.captured, self.kept.answered, self.kept.events)
        return set(one_each) == {placed} and self.kept.taken == self.told["pieces"]

    @property
    def failures(self) -> int:
        return sum(route["failures"] for route in self.told["routes"])


def main() -> int:
    chosen = _arguments()
    if find_spec("locust") is None:
        sys.exit("locust is not installed; pip install 'orderkit[load]', or in a checkout pip install -e '.[load]'")
    with stack.tidy_when_told_to_stop():
        run = _run(postgresql=chosen.postgresql, users=chosen.users, seconds=chosen.seconds)
    target = chosen.output or OUT / f"{run.started:%Y%m%dT%H%M%SZ}-{'postgresql' if chosen.postgresql else 'sqlite'}.md"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(markdown(run))
    print(markdown(run))
    print(f"written to {target}")
    if run.failures or not run.agrees:
        print("there were failures, or the database does not have what customers were told", file=sys.stderr)
        return 1
    return 0


def _run(*, postgresql: bool, users: int, seconds: int) -> Run:
    with ExitStack() as until_done:
        running = until_done.enter_context(Stack.migrated(sqlite=not postgresql))
        password = secrets.token_urlsafe(16)
        running.seed(products=PRODUCTS, users=1, password_hash=hash_password(password))
        process = until_done.enter_context(running.serving())
        before, used = running.counts(), stack.cpu_seconds(process)
        started = now()
        told = _have_customers(running, password, users, seconds)
        used = stack.cpu_seconds(process) - used
        return Run(running.engine.name, users, started, told, used, running.counts().since(before))


def _have_customers(running: Stack, password: str, users: int, seconds: int) -> dict[str, Any]:
    tally = running.within / "tally.json"
    command = [sys.executable, "-m", "locust", "--locustfile", str(ROOT / "loadtests" / "locustfile.py")]
    command += ["--headless", "--only-summary", "--host", f"http://{stack.HOST}:{running.port}"]
    command += ["--users", str(users), "--spawn-rate", str(users), "--run-time", f"{seconds}s", "--stop-timeout", "10"]
    told = {
        "LOAD_EMAIL": stack.email(1),
        "LOAD_PASSWORD": password,
        "LOAD_SKUS": ",".join(stack.sku(number) for number in range(1, PRODUCTS + 1)),
        "LOAD_TALLY": str(tally),
    }
    done = subprocess.run(
        command, env=os.environ | told, cwd=running.within, capture_output=True, text=True, timeout=seconds + GRACE_S
    )
    if not tally.exists():
        sys.exit(f"locust failed: {(done.stderr or done.stdout).strip()}")
    found: dict[str, Any] = json.loads(tally.read_text())
    return found


def markdown(run: Run) -> str:
    """The report."""
    told, kept = run.told, run.kept
    requests = sum(route["requests"] for route in told["routes"])
    facts = {
        "date": f"{run.started:%Y-%m-%d %H:%M} UTC",
        "orderkit": f"{__version__}, commit {stamps.revision()}",
        "machine": stamps.machine(),
        "database": run.engine,
        "server": "one process of `orderkit serve`, builtin gateway, logs to a file; no worker",
        "load": f"{run.users} customers without a pause for {told['seconds']:.1f} s, on the same machine",
        "requests": f"{requests} ({requests / told['seconds']:.0f} a second), {run.failures} failed",
        "orders": f"{told['placed']} placed and paid ({told['placed'] / told['seconds']:.0f} a second), "
        f"{told['replayed']} sent again and replayed",
        "API CPU": f"{run.api_cpu / max(1, requests) * 1e6:.0f} µs a request",
    }
    lines = ["# Load report", ""]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items()), ""]
    lines += ["| request | count | failed | p50 ms | p95 ms | p99 ms |", "|---|--:|--:|--:|--:|--:|"]
    lines += [
        f"| {route['method']} {route['name']} | {route['requests']} | {route['failures']} "
        f"| {route['p50']:.0f} | {route['p95']:.0f} | {route['p99']:.0f} |"
        for route in told["routes"]
    ]
    lines += ["", "| read from the database | | customers were told |", "|---|--:|--:|"]
    lines += [
        f"| {what} | {number} | {expected} |"
        for what, number, expected in (
            ("orders", kept.orders, told["placed"]),
            ("orders that are paid", kept.paid, told["placed"]),
            ("payments captured", kept.captured, told["placed"]),
            ("answers kept for their keys", kept.answered, told["placed"]),
            ("`order.paid` events", kept.events, told["placed"]),
            ("pieces taken from stock", kept.taken, told["pieces"]),
        )
    ]
    lines += ["", "They agree." if run.agrees else "**They do not agree.**"]
    lines += [f"- {error}" for error in told["errors"]]
    return "\n".join(lines) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.report", description=__doc__.splitlines()[0])
    parser.add_argument("--postgresql", action="store_true", help="on a PostgreSQL server of its own, not SQLite")
    parser.add_argument("--users", type=int, default=16, help="customers at once (16)")
    parser.add_argument("--seconds", type=int, default=20, help="for how long (20)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to write (loadtests/out/…)")
    return arguments.parsed(parser, users=500, seconds=600)


if __name__ == "__main__":
    sys.exit(main())
