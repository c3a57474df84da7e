"""The state of the system as numbers for Prometheus: found out when they are asked for, and the same from every process."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from orderkit import __version__
from orderkit.observability.metrics import BOTH, Metric
from orderkit.system.reader import Reader
from orderkit.system.state import KINDS, MOST, UNSHIPPED, Backlog, SystemState


def _gauge(name: str, help_: str, **labels: Sequence[str]) -> Metric:
    return Metric(name, "gauge", help_, labels, BOTH)


_KINDS = tuple(KINDS)
UP = _gauge("orderkit_database_up", "Whether the database answers within 2 s. Where it is 0, what follows is absent.")
BUILD = _gauge("orderkit_build_info", "Always 1.", version=(), python=())
WAITING = _gauge(
    "orderkit_backlog_rows",
    f"Rows that wait to be done; counted up to {MOST:,}. Dead letters wait for a person.",
    kind=_KINDS,
)
DUE = _gauge("orderkit_backlog_due_rows", "Those of them that may be done now.", kind=_KINDS)
OLDEST = _gauge("orderkit_backlog_oldest_seconds", "How long the oldest row has been waiting.", kind=_KINDS)
OVERDUE = _gauge(
    "orderkit_backlog_overdue_seconds", "How long ago the row that is due longest could have been done.", kind=_KINDS
)
FULFILLMENTS = _gauge("orderkit_fulfillments", "Parcels that are still to be shipped, by status.", status=UNSHIPPED)
LAG = _gauge("orderkit_rollup_lag_seconds", "How far the reports are behind: the age of the oldest event not in them.")

METRICS = (UP, BUILD, WAITING, DUE, OLDEST, OVERDUE, FULFILLMENTS, LAG)

_OF_BACKLOGS: tuple[tuple[Metric, Callable[[SystemState, Backlog], float]], ...] = (
    (WAITING, lambda _, backlog: backlog.waiting),
    (DUE, lambda _, backlog: backlog.due),
    (OLDEST, lambda state, backlog: state.age(backlog.oldest)),
    (OVERDUE, lambda state, backlog: state.age(backlog.due_since)),
)


class Numbers(Collector):
    """What `reader` finds, as METRICS. A database that is away makes them fewer; it never makes a scrape fail."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def collect(self) -> Iterator[GaugeMetricFamily]:
        state = self._reader.state()
        yield _family(BUILD, {(__version__, platform.python_version()): 1})
        yield _family(UP, {(): 0 if state is None else 1})
        if state is None:
            return
        for metric, value in _OF_BACKLOGS:
            yield _family(metric, {(kind,): value(state, backlog) for kind, backlog in state.backlogs.items()})
        yield _family(FULFILLMENTS, {(status,): number for status, number in state.fulfillments.items()})
        yield _family(LAG, {(): state.age(state.rollups_since)})


def _family(metric: Metric, values: Mapping[tuple[str, ...], float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(metric.name, metric.help, labels=list(metric.labels))
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family
