"""docs/adding-an-endpoint.md: what it says to write is written, into a copy of the tree, and does what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "adding-an-endpoint.md").read_text(encoding="utf-8")
COPIED = ("orderkit", "migrations", "tests", "pyproject.toml", "docs/access.md")


def files() -> dict[str, str]:
    """What the page has written, by path."""
    return dict(re.findall(r"(?ms)^<!-- file: (\S+) -->\n```python\n(.*?)^```$", PAGE))


def hunks() -> list[tuple[str, str, str]]:
    """Each place of a file that the page has changed: the file, what stands there, and what shall."""
    found = []
    for path, diff in re.findall(r"(?ms)^<!-- patch: (\S+) -->\n```diff\n(.*?)^```$", PAGE):
        for hunk in re.split(r"(?m)^@@.*\n", diff)[1:]:
            lines = hunk.splitlines(keepends=True)
            before = "".join(line[1:] for line in lines if line[0] in " -")
            found.append((path, before, "".join(line[1:] for line in lines if line[0] in " +")))
    return found


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the tree with all of the page in it."""
    folder = tmp_path_factory.mktemp("tree")
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "_bundled"))
        else:
            shutil.copy(source, target)
    for path, text in files().items():
        assert not (folder / path).exists(), path
        (folder / path).write_text(text, encoding="utf-8")
    for path, before, after in hunks():
        text = (folder / path).read_text(encoding="utf-8")
        assert text.count(before) == 1, f"{path} has no such place: {before}"
        (folder / path).write_text(text.replace(before, after), encoding="utf-8")
    yield folder
    shutil.rmtree(folder)


def run(tree: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(tree)}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_there_is_a_file_for_each_step() -> None:
    assert list(files()) == [
        "orderkit/inventory/availability.py",
        "orderkit/api/availability.py",
        "tests/api/test_availability.py",
    ]
    assert {path for path, _before, _after in hunks()} == {"orderkit/app.py"}


@pytest.mark.integration
def test_its_tests_pass_and_the_rules_for_all_routes_hold(tree: Path) -> None:
    # One engine will do, and each file of tests has its own reasons to be run on both.
    command = ("pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-k", "not postgresql")
    done = run(tree, *command, "tests/api/test_availability.py", "tests/api/test_openapi.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_is_in_the_style_of_the_house(tree: Path) -> None:
    for command in (["ruff", "check"], ["ruff", "format", "--check"]):
        done = run(tree, *command, *files(), "orderkit/app.py")
        assert done.returncode == 0, done.stdout


def test_the_page_of_access_that_its_end_prints_has_it(tree: Path) -> None:
    assert run(tree, "orderkit", "roles", "matrix", "-o", "docs/access.md").returncode == 0
    assert "/products/{sku}/availability" in (tree / "docs" / "access.md").read_text(encoding="utf-8")
