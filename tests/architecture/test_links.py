"""No link between the pages leads nowhere: as they are read in the repository, without any generator."""

from __future__ import annotations

import re
import runpy
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    one.relative_to(ROOT).as_posix()
    for one in (ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "loadtests/README.md", *(ROOT / "docs").rglob("*.md"))
)


def links(text: str) -> list[str]:
    """Where a page's links and pictures lead, those in code excepted."""
    prose = re.sub(r"(?ms)^ *(```+).*?^ *\1$|(`+)[^`].*?\2", "", text)
    return re.findall(r"\]\(([^)\s]+)\)", prose)


def anchors(text: str) -> set[str]:
    """What GitHub makes of the headings: small letters, digits, hyphens for spaces, and a number after one that was there."""
    found: list[str] = []
    for heading in re.findall(r"(?m)^#+ (.+)$", re.sub(r"(?ms)^```.*?^```$", "", text)):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)|`", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return set(found)


@cache
def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def broken(page: str, text: str) -> list[str]:
    """Links that lead nowhere."""
    found = []
    for link in links(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path
        lost = bool(path) and not (target.is_file() and target.resolve().is_relative_to(ROOT))
        if lost or (anchor and anchor not in anchors(read(target) if path else text)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_and_to_a_heading_of_it(page: str) -> None:
    assert broken(page, read(ROOT / page)) == []


def test_a_broken_link_would_be_found() -> None:
    told = "[a](none.md) [b](journey.md#none) [c](journey.md#the-order) [d](decisions) `[e](e.md)`\n"
    told += "```\n[f](f)\n```\n# G\n[g](#g)[h](#h)"
    assert broken("docs/some.md", told) == ["none.md", "journey.md#none", "decisions", "#h"]


def test_every_page_is_in_the_index_of_the_docs_or_of_the_decisions() -> None:
    listed = {
        (ROOT / index).parent.joinpath(link).resolve().relative_to(ROOT).as_posix()
        for index in ("docs/README.md", "docs/decisions/README.md")
        for link in links(read(ROOT / index))
    }
    assert set(PAGES) - listed == {"docs/README.md"}
    assert "docs/README.md" in links(read(ROOT / "README.md"))


def test_the_list_of_decisions_is_the_folder() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "list_decisions.py"))
    assert read(ROOT / "docs/decisions/README.md") == script["page"](), "run: python docs/list_decisions.py"
