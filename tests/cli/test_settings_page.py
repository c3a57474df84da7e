"""docs/configuration.md: every setting, with its bounds, and no process that does not read it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from orderkit.cli import settings_page
from orderkit.settings import PREFIX, Settings
from tests.cli.conftest import Cli

ROOT = Path(__file__).resolve().parents[2]
STARTED_BY = {
    settings_page.API: "orderkit.cli.serve",
    settings_page.WORKER: "orderkit.cli.worker",
    settings_page.SIMULATOR: "orderkit.cli.simulate",
}
"""The module of the command that is the process."""

JUDGED_AT_START = ("env", "allow_test_providers")
"""By these the settings themselves decide what is refused, for whoever reads them."""

TOLD = {name: told for group in settings_page.GROUPS for name, told in group.settings.items()}


def test_the_committed_page_is_the_one_that_is_written(cli: Cli, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == settings_page.text(), "run: orderkit config docs -o docs/configuration.md"
    assert cli("config", "docs") == (0, page, "")
    assert cli("config", "docs", "-o", str(tmp_path / "page.md")) == (0, "", "")
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == page


def test_every_setting_is_told_of_once_and_nothing_else() -> None:
    headings = re.findall(rf"(?m)^### ({PREFIX}\w+)$", settings_page.text())
    assert sorted(headings) == sorted(PREFIX + name.upper() for name in Settings.model_fields)
    rows = re.findall(rf"(?m)^\| \[`({PREFIX}\w+)`\]", settings_page.text())
    assert rows == headings


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lease", "A number over 0, at most 3,600. Default: `10.0`. Read by: API, worker, commands."),
        ("carrier_attempts", "A whole number of 1 or more, at most 50. Default: `5`. Read by: worker."),
        ("env", "One of `development`, `production`. Default: `development`."),
        ("secret_key", "A secret. Default: unset."),
        ("mail_url", "A secret URL. Default: unset."),
        ("allow_test_providers", "`0` or `1`. Default: `0`."),
        ("mail_from", "Text of 3 characters or more, at most 254 characters."),
    ],
)
def test_what_may_be_written_is_told(name: str, said: str) -> None:
    _, _, entry = settings_page.text().partition(f"\n### {PREFIX}{name.upper()}\n")
    assert said in entry.partition("\n##")[0]


@pytest.mark.parametrize("name", [name for name in TOLD if name not in JUDGED_AT_START])
def test_no_process_is_said_to_read_a_setting_that_none_of_its_modules_names(name: str) -> None:
    for process in TOLD[name].read_by:
        if process in STARTED_BY:
            assert any(spellings(name) & names(module) for module in reached(STARTED_BY[process])), process


@pytest.mark.parametrize("name", list(TOLD))
def test_a_setting_that_modules_name_is_read_by_somebody(name: str) -> None:
    assert TOLD[name].read_by
    only_here = {process for process, start in STARTED_BY.items() if reads_by_itself(start, name)}
    assert only_here <= set(TOLD[name].read_by)


def reads_by_itself(start: str, name: str) -> bool:
    """Whether a module names it that no other process has."""
    others = set().union(*(reached(one) for one in STARTED_BY.values() if one != start))
    return any(spellings(name) & names(module) for module in reached(start) - others)


@cache
def spellings(name: str) -> frozenset[str]:
    """The setting and the properties of Settings that are made of it."""
    tree = ast.parse((ROOT / "orderkit" / "settings.py").read_text(encoding="utf-8"))
    [settings] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings"]
    found = {name}
    for _ in range(2):
        for node in settings.body:
            if isinstance(node, ast.FunctionDef) and found & attributes(node):
                found.add(node.name)
    return frozenset(found)


@cache
def names(module: str) -> frozenset[str]:
    """Attributes that the module names."""
    return frozenset(attributes(tree(module)))


def attributes(node: ast.AST) -> set[str]:
    return {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}


@cache
def reached(start: str) -> frozenset[str]:
    """The modules of orderkit that `start` imports, itself or through others; not the settings."""
    found, new = set(), {start}
    while new:
        module = new.pop()
        found.add(module)
        new |= imports(module) - found
    return frozenset(found - {"orderkit.settings"})


def imports(module: str) -> set[str]:
    named: set[str] = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            named |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            named |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
    # What the command line can do besides is no part of a process.
    return {one for one in named if file(one) and not one.startswith(("orderkit.cli", "orderkit.doctor"))}


@cache
def tree(module: str) -> ast.Module:
    path = file(module)
    assert path is not None
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def file(module: str) -> Path | None:
    if module != "orderkit" and not module.startswith("orderkit."):
        return None
    path = ROOT.joinpath(*module.split("."))
    return next((one for one in (path.with_suffix(".py"), path / "__init__.py") if one.exists()), None)
