"""Lists the decisions in docs/decisions/README.md, by their titles: python docs/list_decisions.py

A test compares the page with the folder.
"""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent / "decisions"
PAGE = FOLDER / "README.md"

HEAD = """\
# Decisions

What is hard to take back, each with what was weighed, what was measured, and what is lost.

| decision | |
| --- | --- |
"""


def page() -> str:
    """The page, records in their order. Raises ValueError for a record whose first line is no title with its number."""
    rows = []
    for record in sorted(FOLDER.glob("[0-9]*.md")):
        first = record.read_text(encoding="utf-8").partition("\n")[0]
        if (found := re.fullmatch(r"# (\d+)\W+ ?(.+)", first)) is None or int(found[1]) != int(record.name[:4]):
            raise ValueError(f"{record.name} begins with {first!r}")
        rows.append(f"| [{record.name[:4]}]({record.name}) | {found[2]} |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
