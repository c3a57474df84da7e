"""Draws Mermaid's state diagrams while the site is built, so that a page needs no script and no network to show them.

Only `direction LR` and arrows between states are understood, which is what docs/journey.md has. Anything else ends the build.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import easydot
from docutils import nodes
from docutils.parsers.rst import Directive

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_ARROW = re.compile(r"(\[\*\]|\w+) --> (\[\*\]|\w+)")
_FIRST, _LAST = "first", "last"
_LOOK = """\
    rankdir=LR; bgcolor=transparent; nodesep=0.25; ranksep=0.35;
    node [shape=box, style=rounded, fontname="Helvetica", fontsize=12, height=0.35, margin="0.12,0.05"];
    edge [arrowsize=0.7];
    first [shape=circle, style=filled, fillcolor=black, label="", width=0.14, height=0.14];
    last [shape=doublecircle, style=filled, fillcolor=black, label="", width=0.09, height=0.09];
"""


def dot(diagram: str) -> str:
    """The diagram in the language of Graphviz. Raises ValueError for a line that is not understood."""
    head, *lines = (line.strip() for line in diagram.strip().splitlines())
    if head != "stateDiagram-v2":
        raise ValueError(f"{head!r} is no state diagram")
    arrows = []
    for line in lines:
        found = _ARROW.fullmatch(line)
        if found is not None:
            source, target = _FIRST if found[1] == "[*]" else found[1], _LAST if found[2] == "[*]" else found[2]
            arrows.append(f"    {source} -> {target};")
        elif line != "direction LR":
            raise ValueError(f"{line!r} is not understood")
    return "\n".join(("digraph {", _LOOK + "\n".join(arrows), "}"))


def svg(diagram: str) -> str:
    """As a picture that takes its colours from the page."""
    drawn = easydot.svg(dot(diagram), backend="wasm")
    drawn = drawn[drawn.index("<svg") :]
    states = sorted({name for pair in _ARROW.findall(diagram) for name in pair} - {"[*]"})
    drawn = drawn.replace("<svg", f'<svg role="img" aria-label="States: {", ".join(states)}"', 1)
    return re.sub(r'(stroke|fill)="(?:#000000|black)"', r'\1="currentColor"', drawn)


class Mermaid(Directive):
    has_content = True

    def run(self) -> list[nodes.Node]:
        try:
            drawn = svg("\n".join(self.content))
        except ValueError as error:
            raise self.error(str(error)) from None
        return [nodes.raw("", f'<div class="states">{drawn}</div>', format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("mermaid", Mermaid)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
