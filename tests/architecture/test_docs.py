"""Pages that are drawn from the code say what the code says."""

from __future__ import annotations

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from orderkit.orders.reading import FAR, NEAR, WALKS
from orderkit.payments.gateways.builtin import TEST_METHODS
from orderkit.print_pack.diagrams import DIAGRAMS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def diagrams() -> ModuleType:
    """docs/draw_diagrams.py, which is a script and no part of the package."""
    spec = importlib.util.spec_from_file_location("draw_diagrams", ROOT / "docs" / "draw_diagrams.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_state_diagrams_are_those_of_the_transition_tables(diagrams: ModuleType) -> None:
    page = diagrams.PAGE.read_text(encoding="utf-8")
    assert page.count("<!-- states: ") == len(diagrams.MACHINES) == page.count("```mermaid")
    assert diagrams.drawn(page) == page, "run: python docs/draw_diagrams.py"


def test_an_arrow_that_is_missing_is_drawn(diagrams: ModuleType) -> None:
    page = diagrams.PAGE.read_text(encoding="utf-8")
    assert "    pending --> paid\n" in page
    assert diagrams.drawn(page.replace("    pending --> paid\n", "")) == page


def test_the_pictures_of_the_docs_are_those_that_the_code_draws(diagrams: ModuleType) -> None:
    assert set(diagrams.IMAGES) == set(DIAGRAMS)
    for name, image in diagrams.IMAGES.items():
        assert image.read_text(encoding="utf-8") == DIAGRAMS[name](), f"{image.name}: run: python docs/draw_diagrams.py"


def test_the_simulator_page_names_every_payment_method_and_postal_code() -> None:
    page = (ROOT / "docs" / "simulator.md").read_text()
    named = set(re.findall(r"`(pm_\w+)`", page))
    assert named == set(TEST_METHODS)
    assert {"FAIL-2", "FAIL-ALWAYS", "SLOW"} <= set(re.findall(r"`([A-Z0-9-]+)`", page))


def test_the_page_of_lists_names_every_query_and_the_index_that_it_rides() -> None:
    page = (ROOT / "docs" / "lists.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"(?m)^\| `(orders\.\w+)` \| `(\w+)` \|", page))
    assert rows == {walk.name: walk.rides for walk in WALKS} | {"orders.by_number": "uq_orders_number"}
    assert f"looks at {NEAR} rows, which" in page
    assert f"no more than {FAR:,} rows" in page
    assert f"more than {NEAR + FAR + FAR + 1:,}" in page


def requirements() -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """Each row of the table of requirements: what is required, and the tests that hold it, by file."""
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if re.match(r"\| \d* ?\| ", line)]
    files = r"`(tests/[\w/]+\.py)`: ((?:`\w+`(?:, )?)+)"
    return [
        (row[1], [(file, re.findall(r"`(\w+)`", names)) for file, names in re.findall(files, row[3])])
        for row in rows[1:]
    ]


@pytest.mark.parametrize(
    ("requirement", "tests"), requirements(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_requirement_of_security_names_tests_that_exist_and_give_their_source(
    requirement: str, tests: list[tuple[str, list[str]]]
) -> None:
    assert tests, requirement
    for file, names in tests:
        found = docstrings(file)
        assert {name for name in names if not found.get(name)} == set(), f"missing, or without a source, in {file}"


@cache
def docstrings(file: str) -> dict[str, str | None]:
    """Those of all functions of a file, by name."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name: ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
