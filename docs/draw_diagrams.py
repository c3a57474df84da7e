"""Draws the diagrams of the docs from the code: python docs/draw_diagrams.py

Those in docs/images are SVG; the states in docs/journey.md are Mermaid and stand between `<!-- states: NAME -->` and
`<!-- end of states -->`. Tests compare both with the code.
"""

from __future__ import annotations

import re
from pathlib import Path

from orderkit.print_pack.diagrams import DIAGRAMS
from orderkit.print_pack.diagrams.states import MACHINES, mermaid

DOCS = Path(__file__).parent
PAGE = DOCS / "journey.md"
IMAGES = {name: DOCS / "images" / f"{name}.svg" for name in DIAGRAMS}

_DIAGRAM = re.compile(r"(<!-- states: (\w+) -->\n).*?(<!-- end of states -->)", re.DOTALL)


def drawn(page: str) -> str:
    """The page with its diagrams drawn anew. Raises KeyError for a diagram that has no table."""
    return _DIAGRAM.sub(lambda found: found[1] + mermaid(MACHINES[found[2]]) + found[3], page)


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    for name, image in IMAGES.items():
        image.write_text(DIAGRAMS[name](), encoding="utf-8")
