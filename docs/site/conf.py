"""How the docs become a site: sphinx-build -W --keep-going -n -b html -c docs/site . build/site

The pages are README.md and docs/*.md as they are: the folder of sources is the repository, so that links which work there
work on the site, and one that does not ends the build. Nothing is fetched, neither by the build nor by the pages.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

project = "orderkit"
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
root_doc = "README"
source_suffix = {".md": "markdown"}
include_patterns = ["README.md", "CHANGELOG.md", "docs/**.md", "loadtests/README.md"]
exclude_patterns = [".*", "build", "dist", "orderkit", "tests", "migrations", "print-pack", "docs/site", "**/.*"]

extensions = ["myst_parser", "state_diagrams"]
myst_heading_anchors = 6  # those of GitHub
myst_fence_as_directive = ["mermaid"]

smartquotes = False  # it would make one dash of the two of --json

html_theme = "furo"
html_title = "orderkit"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False

CONTENTS = {"README": "docs/README.md", "docs/decisions/README": "docs/decisions/README.md"}
"""Below which page the pages hang that a page links to, section by section."""

_FRONT = """\
<!doctype html>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url=README.html">
<title>orderkit</title>
<a href="README.html">orderkit</a>
"""


def contents(page: str) -> str:
    """Hidden tables of contents, one for each section of the page, of the pages that its lists name."""
    folder = Path(page).parent
    parts = []
    for section in re.split(r"(?m)^## ", (ROOT / page).read_text(encoding="utf-8")):
        caption, _, rest = section.partition("\n")
        if listed := re.findall(r"(?m)^(?:- |\| )\[[^\]]+\]\(([^)#]+)\.md\)", rest):
            places = [f"/{(ROOT / folder / one).resolve().relative_to(ROOT).as_posix()}" for one in listed]
            title = [] if caption.startswith("# ") else [f":caption: {caption}"]
            parts.append("\n".join(("", "```{toctree}", ":hidden:", *title, "", *places, "```", "")))
    return "".join(parts)


def _with_contents(_app: Sphinx, page: str, source: list[str]) -> None:
    if page in CONTENTS:
        if page == root_doc:
            source[0] += "\n```{toctree}\n:hidden:\n\nAll pages <docs/README>\n```\n"
        source[0] += contents(CONTENTS[page])


def _front_page(app: Sphinx, failed: Exception | None) -> None:
    if failed is None:
        (Path(app.outdir) / "index.html").write_text(_FRONT, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", _with_contents)
    app.connect("build-finished", _front_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
