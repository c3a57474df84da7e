"""The rules of the house that a machine can check. Each rule is also shown to catch what it forbids."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "orderkit"
MODULES = sorted(PACKAGE.rglob("*.py"))

Rule = Callable[[ast.Module], Iterator[int]]
"""Gives the lines of a module that break the rule."""


def ends_transactions(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("commit", "rollback")
        ):
            yield node.lineno


WALL_CLOCKS = {"datetime": {"now", "utcnow", "today"}, "date": {"today"}, "time": {"time", "time_ns"}}


def reads_the_wall_clock(tree: ast.Module) -> Iterator[int]:
    """`datetime.now`, `date.today`, `time.time` and their like, called or passed on. Monotonic clocks are fine."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if node.attr in WALL_CLOCKS.get(owner, ()):
                yield node.lineno
        elif (
            isinstance(node, ast.ImportFrom)
            and node.module == "time"
            and any(name.name in WALL_CLOCKS["time"] for name in node.names)
        ):
            yield node.lineno


def offenders(rule: Rule, *, allowed: Path) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line}"
        for path in MODULES
        if path != allowed
        for line in rule(ast.parse(path.read_text()))
    ]


def test_only_the_database_module_commits_or_rolls_back() -> None:
    assert offenders(ends_transactions, allowed=PACKAGE / "db.py") == []


def test_only_the_clock_module_reads_the_time_of_day() -> None:
    assert offenders(reads_the_wall_clock, allowed=PACKAGE / "clock.py") == []


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (ends_transactions, "session.commit()"),
        (ends_transactions, "with open_session() as s:\n    s.connection().rollback()"),
        (reads_the_wall_clock, "import datetime\ndatetime.datetime.now(datetime.UTC)"),
        (reads_the_wall_clock, "from datetime import datetime\nField(default_factory=datetime.utcnow)"),
        (reads_the_wall_clock, "import datetime as d\nd.date.today()"),
        (reads_the_wall_clock, "import time\nstarted = time.time()"),
        (reads_the_wall_clock, "from time import time"),
    ],
)
def test_a_rule_catches_what_it_forbids(rule: Rule, code: str) -> None:
    assert list(rule(ast.parse(code))) != []


@pytest.mark.parametrize("code", ["import time\ntime.monotonic()", "from orderkit import clock\nclock.now()"])
def test_the_clock_rule_leaves_monotonic_time_and_our_own_clock_alone(code: str) -> None:
    assert list(reads_the_wall_clock(ast.parse(code))) == []


def name_of(module: Path) -> str:
    parts = module.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.Module, known: set[str]) -> set[str]:
    """Which of the modules `known` must have been imported before this one has: not those that functions import."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            wholes = {f"{node.module}.{one.name}" for one in node.names}
            found |= wholes if wholes <= known else {str(node.module), *wholes}
        elif isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
    return found & known


def test_whichever_module_is_imported_first_can_be() -> None:
    known = {name_of(path) for path in MODULES}
    needs = {name_of(path): imported(ast.parse(path.read_text()), known) - {name_of(path)} for path in MODULES}
    TopologicalSorter(needs).prepare()  # raises CycleError, which names the modules


def test_a_circle_of_imports_is_found() -> None:
    codes = {"a.b": "from a import c", "a.c": "import os\nfrom a.d import thing", "a.d": "import a.b"}
    needs = {name: imported(ast.parse(code), {*codes}) for name, code in codes.items()}
    with pytest.raises(CycleError):
        TopologicalSorter(needs).prepare()
    needs["a.d"] = imported(ast.parse("def later():\n    import a.b"), {*codes})
    TopologicalSorter(needs).prepare()


def test_modules_are_named_by_what_they_do() -> None:
    vague = {"utils", "util", "common", "helpers", "helper", "manager", "managers", "misc"}
    named = {path.stem if path.stem != "__init__" else path.parent.name: path for path in MODULES}
    assert [str(path) for name, path in named.items() if vague & set(name.split("_"))] == []


def test_imports_point_one_way(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    # Without its cache, so that two test processes do not write it at once.
    status = lint_imports(config_filename="pyproject.toml", no_cache=True)
    assert status == 0, capsys.readouterr().out
