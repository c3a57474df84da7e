"""Names that people look for, and where they are; and the folder tree with what each folder is, as its own code says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orderkit

WIDTH = 92
"""Characters of a line of the tree: what fits the width of a page."""


@dataclass(frozen=True, slots=True)
class Place:
    """What somebody looks for, as other projects may call it, and the files and folders that are it here."""

    sought: str
    at: tuple[str, ...]


PLACES: tuple[Place, ...] = (
    Place("`main.py`, the application", ("orderkit/app.py", "orderkit/cli/main.py")),
    Place("`config.py`, settings", ("orderkit/settings.py", ".env.example")),
    Place("routes, controllers", ("orderkit/api",)),
    Place("middleware", ("orderkit/api/edge.py",)),
    Place("dependencies, current user", ("orderkit/api/dependencies.py", "orderkit/api/access.py")),
    Place("error handler", ("orderkit/api/problems.py", "orderkit/errors.py")),
    Place("database session, engine", ("orderkit/db.py",)),
    Place("models", ("orderkit/orders/models.py", "orderkit/auth/models.py", "orderkit/schema.py")),
    Place("migrations", ("migrations/versions",)),
    Place("services, business logic", ("orderkit/orders", "orderkit/payments", "orderkit/fulfillment")),
    Place("state machine", ("orderkit/orders/states.py",)),
    Place("idempotency", ("orderkit/idempotency.py",)),
    Place("security: hashing, tokens", ("orderkit/auth/passwords.py", "orderkit/auth/tokens.py")),
    Place("roles, permissions", ("orderkit/auth/permissions.py", "docs/access.md")),
    Place("worker, tasks, queue", ("orderkit/worker/due.py", "orderkit/worker/tasks.py")),
    Place("retries, dead letters", ("orderkit/retry.py", "orderkit/fulfillment/dead_letters.py")),
    Place("outbox, events", ("orderkit/events/outbox.py", "orderkit/worker/relay.py")),
    Place(
        "external clients", ("orderkit/http_client.py", "orderkit/payments/gateways", "orderkit/fulfillment/carriers")
    ),
    Place("logging, metrics, tracing", ("orderkit/observability",)),
    Place("reports, SQL", ("orderkit/analytics", "orderkit/explain")),
    Place("unit tests", ("tests/money", "tests/orders/test_pricing.py")),
    Place("integration tests", ("tests/api", "tests/journeys")),
    Place("regression tests", ("tests/regressions",)),
    Place("fixtures, factories", ("tests/conftest.py", "tests/factories")),
    Place("Docker, CI", ("Dockerfile", "compose.yaml", ".github/workflows/ci.yml", "check")),
    Place("alerts, dashboard", ("deploy/prometheus/rules.yml", "deploy/grafana/orderkit.json")),
    Place("decisions, runbook", ("docs/decisions", "docs/runbook.md")),
)

AROUND: tuple[tuple[str, str], ...] = (
    ("migrations/", "One history of the schema, for SQLite and PostgreSQL."),
    ("tests/", "By domain; journeys through real processes, regressions, security, architecture."),
    ("loadtests/", "What it takes and how fast, against the database's own limit."),
    ("deploy/", "Alerts, a scrape configuration and a dashboard."),
    ("docs/", "Pages, most of them generated or held by a test; decisions/ says why."),
    ("print-pack/", "Templates of this pack, and the evidence that is kept."),
)
"""Folders beside the package, which an installation does not have."""


def tree() -> str:
    """The folders, with what each is in a line."""
    root = Path(orderkit.__file__).resolve().parent
    rows = [("orderkit/", _said_of(root))]
    rows += [(f"  {folder.name}/", _said_of(folder)) for folder in _packages(root)]
    rows += AROUND
    width = max(len(name) for name, _said in rows) + 1
    return "\n".join(f"{name:{width}} {brief(said, WIDTH - width - 1)}" for name, said in rows)


def modules() -> tuple[str, ...]:
    """The modules at the top of the package, which everything else stands on."""
    root = Path(orderkit.__file__).resolve().parent
    return tuple(path.name for path in sorted(root.glob("*.py")) if not path.name.startswith("_"))


def _packages(root: Path) -> Iterator[Path]:
    for folder in sorted(root.iterdir()):
        if (folder / "__init__.py").is_file() and not folder.name.startswith("_"):
            yield folder


def _said_of(folder: Path) -> str:
    """The first line of what a package says of itself."""
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    line = said.partition("\n")[0].removeprefix("orderkit: ")
    return line[:1].upper() + line[1:]


def brief(said: str, room: int) -> str:
    """As much of a sentence as has room, up to where it can end."""
    if len(said) <= room:
        return said
    ends = [end.start() for end in re.finditer(r"[,;:.](?= )", said) if end.start() < room]
    return f"{said[: ends[-1]]}." if ends else f"{said[: room - 1]}…"
