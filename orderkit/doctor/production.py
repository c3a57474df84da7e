"""What production can do without, and seldom should."""

from __future__ import annotations

from collections.abc import Iterator

from orderkit.settings import Settings


def notes(settings: Settings) -> Iterator[tuple[str, str]]:
    """How it is, and what to do, each in a sentence; nothing in development."""
    if settings.env != "production":
        return
    if settings.resolved_database_url.startswith("sqlite"):
        yield "the database is SQLite: one machine, one writer at a time", "set ORDERKIT_DATABASE_URL to a PostgreSQL"
    if settings.redis_url is None:
        yield (
            "ORDERKIT_REDIS_URL is unset: each process counts failed logins and requests for itself",
            "set it to a Redis, if more than one process serves",
        )
    if settings.metrics_token is None:
        yield (
            "ORDERKIT_METRICS_TOKEN is unset: /metrics is open to whoever reaches it",
            "set it, or keep /metrics to the inside in the proxy",
        )
    if settings.allow_test_providers:
        yield (
            "ORDERKIT_ALLOW_TEST_PROVIDERS is set: builtin and simulator take no real money or parcels",
            "unset it where customers pay",
        )
