"""The docs as a site: built strictly, whole, and in need of nothing from elsewhere."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-n", "-b", "html"]


def build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [*BUILD, "-d", str(site / ".doctrees"), "-c", str(source / "docs" / "site"), str(source), str(site)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT, folder)
    assert (built.returncode, built.stderr) == (0, "")
    return folder


class Needed(HTMLParser):
    """What a browser fetches to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        place = given.get("src") or (given.get("href") if tag == "link" else None)
        if place and given.get("rel") not in ("index", "search", "next", "prev", "canonical", "author"):
            self.found.append(place)


def test_every_page_is_there_and_its_parts_come_with_it(site: Path) -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        built = site / page.relative_to(ROOT).with_suffix(".html")
        needed = Needed()
        needed.feed(built.read_text(encoding="utf-8"))
        assert needed.found
        for place in needed.found:
            assert not re.match(r"(https?:)?//", place), f"{page.name} fetches {place}"
            assert (built.parent / place.partition("?")[0]).exists(), f"{page.name} lacks {place}"
    assert 'url=README.html"' in (site / "index.html").read_text(encoding="utf-8")


def test_style_and_scripts_fetch_nothing_from_elsewhere(site: Path) -> None:
    for file in (site / "_static").rglob("*.css"):
        assert re.findall(r"url\(\s*['\"]?(?:https?:)?//", file.read_text(encoding="utf-8")) == [], file.name


def test_state_diagrams_are_drawn(site: Path) -> None:
    page = (site / "docs" / "journey.html").read_text(encoding="utf-8")
    assert "stateDiagram" not in page
    drawn = re.findall(r'<svg role="img".*?</svg>', page, re.DOTALL)
    assert len(drawn) == (ROOT / "docs" / "journey.md").read_text(encoding="utf-8").count("```mermaid")
    for state in ("payment_failed", "retrying"):
        assert any(f">{state}<" in one for one in drawn)


def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "docs" / "decisions").mkdir(parents=True)
    (source / "pyproject.toml").write_text('[project]\nversion = "1"\n')
    shutil.copytree(ROOT / "docs" / "site", source / "docs" / "site")
    (source / "docs" / "decisions" / "README.md").write_text("# D\n")
    (source / "docs" / "README.md").write_text("# Docs\n\n## One\n\n- [Decisions](decisions/README.md)\n")
    (source / "README.md").write_text("# Front\n\n[there](docs/README.md#one)\n")
    assert build(source, tmp_path / "good").stderr == ""
    (source / "README.md").write_text("# Front\n\n[there](docs/README.md#two) [and](none.md)\n")
    built = build(source, tmp_path / "bad")
    assert built.returncode != 0
    assert "two" in built.stderr
    assert "none.md" in built.stderr


@pytest.mark.parametrize("diagram", ["graph LR\n a --> b", "stateDiagram-v2\n a --> b: told"])
def test_a_diagram_that_is_not_understood_is_refused(diagram: str) -> None:
    state_diagrams = runpy.run_path(str(ROOT / "docs" / "site" / "state_diagrams.py"))
    with pytest.raises(ValueError, match=r"no state diagram|not understood"):
        state_diagrams["dot"](diagram)
