"""The page of limits and deadlines says what the code says, and all of it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from orderkit.api import connections, edge
from orderkit.api.connections import Limits
from orderkit.settings import Settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "edge.md").read_text(encoding="utf-8")
UNITS = {"": 1, " s": 1, " KB": 1024, " MB": 1024 * 1024}


def rows() -> list[tuple[str, str, str]]:
    """What is bounded, by how much, and what says so."""
    found = re.findall(r"(?m)^\| ([^|]+) \| ([^|]*) \| `([\w.]+)` \|", PAGE)
    assert len(found) > 30
    return found


def number(told: str) -> float:
    """The value that a cell begins with."""
    found = re.match(r"([\d.]+)( s| KB| MB)?", told)
    assert found is not None, told
    return float(found[1]) * UNITS[found[2] or ""]


@pytest.mark.parametrize(("bound", "told", "where"), [row for row in rows() if row[1] not in ("twice that",)])
def test_each_bound_is_what_the_page_says(bound: str, told: str, where: str) -> None:
    if where == "ORDERKIT_RATE_LIMIT":
        assert Settings(_env_file=None).requests_per_minute == 0
        assert told == f"none, in production {Settings(_env_file=None, env='production').requests_per_minute}"
        return
    assert number(told) == value(where), bound


def value(where: str) -> Any:
    if where.startswith("ORDERKIT_"):
        return Settings.model_fields[where.removeprefix("ORDERKIT_").lower()].default
    module, _, name = where.rpartition(".")
    return getattr(importlib.import_module(f"orderkit.{module}"), name)


def test_the_page_names_every_bound_of_connections_and_of_the_edge() -> None:
    named = {where for _, _, where in rows()}
    for module, others in ((connections, {"IN_FLIGHT", "RETRY_AFTER_S", "FILES_BESIDES"}), (edge, {"CLIENT_GONE"})):
        short = module.__name__.removeprefix("orderkit.")
        bounds = {
            name for name, value in vars(module).items() if re.fullmatch(r"[A-Z][A-Z_]+", name) and is_number(value)
        }
        quiet = {name for name in bounds if name.startswith("QUIET")}  # how often it is logged, which bounds nobody
        assert {f"{short}.{name}" for name in bounds - others - quiet} <= named
    assert f"leave\nit {connections.FILES_BESIDES} files" in PAGE


def is_number(value: object) -> bool:
    return isinstance(value, int | float)


def test_what_a_process_allows_is_what_the_page_says_unless_it_is_told_otherwise() -> None:
    assert Limits() == Limits(
        in_flight=value("ORDERKIT_MAX_IN_FLIGHT"),
        connections=connections.CONNECTIONS,
        head_bytes=connections.HEAD_BYTES,
        head_within_s=connections.HEAD_WITHIN_S,
        idle_s=connections.IDLE_S,
        rest_within_s=connections.REST_WITHIN_S,
        read_within_s=connections.READ_WITHIN_S,
    )
