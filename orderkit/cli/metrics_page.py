"""The page that says what is measured, made of the metrics as they are declared."""

from __future__ import annotations

from collections.abc import Iterable

from orderkit.observability import metrics
from orderkit.observability.metrics import Metric
from orderkit.system import numbers

HEAD = """\
# What is measured

`GET /metrics` of the API tells it in Prometheus' text format, and so does the worker where it is given a port:
`orderkit worker --metrics-port 9100`, or `ORDERKIT_WORKER_METRICS_PORT`. With `ORDERKIT_METRICS_TOKEN` set, both ask for it as a
bearer token. There are [alert rules](../deploy/prometheus/rules.yml),
[a scrape configuration](../deploy/prometheus/prometheus.yml) and [a dashboard for Grafana](../deploy/grafana/orderkit.json), and
[the runbook](runbook.md) says what to do about each alert.

- `orderkit serve --workers N` has N processes, and whichever is scraped tells the numbers of all: counters and histograms are
  added up, and each gauge says below how. What a process counted stays when it ends, its gauges do not.
- A worker is one process and tells its own numbers. Several are several targets.
- What is read from the database is read when somebody scrapes, at most every 5 s, on a connection of its own, and never by a
  request. API and worker read the same, so take `max` of it, not `sum`. While the database is away, `orderkit_database_up` is 0,
  the rest of that table is absent, and everything else is told as always.
- Labels take their values from closed sets: no caller can make up a series, and none names a user, an order or an address. Series
  that are known beforehand are there from the start, at 0.
- Counters begin anew with their process. Money is counted once, after the transaction that settled it; a process that dies
  in between leaves it uncounted, and the books right. Reports are made from the books.

Written by: `orderkit system metrics -o docs/metrics.md`
"""

COUNTED = "## Counted as it happens\n"
READ = "## Read from the database, or known, at each scrape\n"
LABELS = "## Labels whose values are not listed above\n"

_KINDS = {"livemax": "the largest of several processes", "livesum": "the sum of several processes"}


def text() -> str:
    """The page."""
    labels = [f"| `{name}` | {told} |" for name, told in metrics.LABELS.items()]
    return "\n".join(
        (
            *(HEAD, COUNTED, *_table(metrics.METRICS), "", READ, *_table(numbers.METRICS), "", LABELS),
            *("| label | values |", "| --- | --- |", *labels, ""),
        )
    )


def _table(told: Iterable[Metric]) -> Iterable[str]:
    yield "| metric | kind | labels | told by | |"
    yield "| --- | --- | --- | --- | --- |"
    for one in told:
        several = _KINDS.get(metrics.several(one.name), "")
        kind = f"{one.kind}: {several}" if several else one.kind
        yield f"| `{one.name}` | {kind} | {_labels(one)} | {', '.join(one.of)} | {one.help} |"


def _labels(one: Metric) -> str:
    listed = (
        f"`{name}`" + (f" ({', '.join(f'`{value}`' for value in values)})" if values else "")
        for name, values in one.labels.items()
    )
    return ", ".join(listed)
