"""What a run of the tests showed, as evidence for the print pack: `pytest --cov --evidence FILE`."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "./check"
STORY = ROOT / "tests" / "regressions" / "test_lost_commits.py"
"""The bug that the pack tells of: its file begins with its story."""
SHOWN = "test_a_call_is_recorded_once_however_often_it_is_settled"


@dataclass(slots=True)
class Run:
    """Counts what became of the tests of a run, in the process that hears of all of them."""

    kinds: Counter[str] = field(default_factory=Counter)
    folders: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    skipped: int = 0

    def count(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed += 1
        elif report.skipped:
            self.skipped += 1
        elif report.when == "call":
            self.kinds["integration" if "integration" in report.keywords else "unit"] += 1
            self.folders[Path(report.nodeid).parts[1]] += 1


def data(run: Run, seconds: float, floor: float, covered: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """Of the run, and of each measured file its lines and how many of them were run."""
    parts = _parts(covered)
    lines, hit = sum(part["lines"] for part in parts), sum(part["covered"] for part in parts)
    return {
        "passed": run.kinds.total(),
        "failed": run.failed,
        "skipped": run.skipped,
        "seconds": round(seconds),
        "kinds": {name: run.kinds[name] for name in ("unit", "integration")},
        "folders": dict(sorted(run.folders.items())),
        "floor": floor,
        "lines": lines,
        "covered": hit,
        "percent": _percent(hit, lines),
        "parts": parts,
        "regression": regression(),
    }


def _parts(covered: Mapping[str, tuple[int, int]]) -> Sequence[dict[str, Any]]:
    """By domain: the folder or module under `orderkit`."""
    lines: Counter[str] = Counter()
    hit: Counter[str] = Counter()
    for file, (there, run) in covered.items():
        name = f"orderkit.{Path(file).relative_to('orderkit').parts[0].removesuffix('.py')}"
        lines[name] += there
        hit[name] += run
    return [
        {"name": name, "lines": lines[name], "covered": hit[name], "percent": _percent(hit[name], lines[name])}
        for name in sorted(lines)
    ]


def _percent(hit: int, lines: int) -> float:
    return round(100 * hit / lines, 1) if lines else 0.0


def regression() -> dict[str, Any]:
    """The story, the tests that hold it, and the text of one."""
    source = STORY.read_text(encoding="utf-8")
    tree = ast.parse(source)
    tests = [one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name.startswith("test_")]
    shown = next(one for one in tests if one.name == SHOWN)
    return {
        "place": str(STORY.relative_to(ROOT)),
        "story": (ast.get_docstring(tree) or "").strip(),
        "tests": [one.name for one in tests],
        "code": ast.get_source_segment(source, shown),
    }


def measured(data_file: Path) -> dict[str, tuple[int, int]]:
    """Of each file of the domains, relative to the checkout: its lines, and those that were run, as `coverage` wrote it."""
    from coverage import Coverage

    found = {}
    coverage = Coverage(data_file=str(data_file), config_file=str(ROOT / "pyproject.toml"))
    coverage.load()
    for file in sorted(coverage.get_data().measured_files()):
        _name, statements, _excluded, missing, _told = coverage.analysis2(file)
        found[str(Path(file).relative_to(ROOT))] = len(statements), len(statements) - len(missing)
    return found


def counted(reports: Iterable[pytest.TestReport]) -> Run:
    run = Run()
    for report in reports:
        run.count(report)
    return run
