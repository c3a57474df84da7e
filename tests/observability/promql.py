"""What an expression of PromQL asks for: which series, by which labels."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import promql_parser
from promql_parser import AggregateExpr, VectorSelector

Exported = Mapping[str, Mapping[str, Collection[str]]]
"""Names of series as Prometheus keeps them; for each the labels, and for each of these the values that it may have."""

OF_PROMETHEUS = {"up": {"job": (), "instance": ()}, "ALERTS": {"alertname": (), "alertstate": ()}}
GIVEN_BY_PROMETHEUS = ("job", "instance")
"""Labels that every series has of its target."""

_CHILDREN = ("lhs", "rhs", "expr", "args", "param", "vector_selector")


def parsed(expression: str) -> Any:
    """Raises ValueError for what is none. Grafana's own variable stands for a minute."""
    return promql_parser.parse(expression.replace("$__rate_interval", "1m"))


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for name in _CHILDREN:
        child = getattr(node, name, None)
        for one in child if isinstance(child, list) else [child]:
            if one is not None:
                yield from _nodes(one)


def selectors(node: Any) -> list[Any]:
    return [one for one in _nodes(node) if isinstance(one, VectorSelector)]


def grouped_by(node: Any) -> set[str]:
    """The labels that are left by what is summed up; those of all of it together."""
    return {label for one in _nodes(node) for label in _labels(one)}


def _labels(node: Any) -> list[str]:
    modifier = node.modifier if isinstance(node, AggregateExpr) else None
    return list(modifier.labels) if modifier is not None else []


def wrong(expression: str, exported: Exported) -> list[str]:
    """What the expression names that there is not: series, labels, and values of labels that have only some."""
    tree, found = parsed(expression), []
    known = {**exported, **OF_PROMETHEUS}
    for one in selectors(tree):
        if one.name not in known:
            found.append(f"no series {one.name}")
            continue
        labels = known[one.name]
        for matcher in one.matchers.matchers:
            if matcher.name not in labels and matcher.name not in GIVEN_BY_PROMETHEUS:
                found.append(f"{one.name} has no label {matcher.name}")
            elif values := labels.get(matcher.name):
                wanted = matcher.value.split("|")
                found += [f"{one.name}: {matcher.name} is never {value}" for value in wanted if value not in values]
    for node in _nodes(tree):
        there = {label for one in selectors(node) for label in known.get(one.name, ())} | {*GIVEN_BY_PROMETHEUS}
        found += [f"nothing has a label {label}" for label in _labels(node) if label not in there]
    return found
