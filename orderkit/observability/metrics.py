"""What is counted, for Prometheus.

One process keeps its numbers in memory. Several (`serve --workers N`) write them to files in a folder that
PROMETHEUS_MULTIPROC_DIR names, and whichever is scraped adds all up; prometheus-client reads that variable when it is first
imported, so `serve` sets it before it starts its workers.
"""

from __future__ import annotations

import os

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nobody asks for

http_requests = Counter("orderkit_http_requests_total", "Requests answered.", ["method", "route", "status"])
http_seconds = Histogram(
    "orderkit_http_request_seconds",
    "Seconds from a request's head to the end of its answer.",
    ["method", "route"],
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
orders = Counter("orderkit_orders_total", "Orders placed over HTTP, by what their request was told.", ["outcome"])
provider_calls = Counter(
    "orderkit_provider_calls_total", "Calls to payment provider and carrier.", ["provider", "operation", "outcome"]
)


def exposition() -> bytes:
    """All numbers, of all processes that share FOLDER, in Prometheus' text format."""
    if not os.environ.get(FOLDER):
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
