"""How every diagram is drawn: as SVG for black and white print, laid out by Graphviz in WebAssembly where a layout is wanted.

Lengths are points (1/72 inch). Line styles and shapes carry the meaning, never colour.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape, unescape
from typing import Literal

WIDTH = 453.5
"""160 mm: what an A4 page has between margins of an inch. A diagram is no wider, so that it is printed at its own size."""

SMALLEST = 7.0
"""No letter is smaller than this, in points, when it is printed at that width."""

FAMILIES = {
    # First what typst brings along, then what a browser has; Graphviz measures Times and Courier, which are as wide.
    "Times": "'Libertinus Serif', 'Times New Roman', Times, serif",
    "Courier": "'DejaVu Sans Mono', Menlo, Consolas, 'Courier New', monospace",
}

_NODE = re.compile(r'<g id="[^"]*" class="node">\n<title>(.*?)</title>\n(.*?)</g>\n', re.DOTALL)
_NUMBERS = re.compile(r"-?\d+(?:\.\d+)?")
_FONT = re.compile(r'font-family="(Times|Courier)[^"]*"')
_HEAD = re.compile(r'^.*?<svg width="([\d.]+)pt" height="([\d.]+)pt"[^>]*>\n', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Box:
    """Where a node is. `x` and `y` are its upper left corner."""

    x: float
    y: float
    width: float
    height: float


def text(
    x: float,
    y: float,
    words: str,
    *,
    size: float = 8.0,
    mono: bool = False,
    bold: bool = False,
    italic: bool = False,
    anchor: Literal["start", "middle", "end"] = "start",
    fill: str = "black",
) -> str:
    """A line of text; `y` is its baseline."""
    looks = [f'font-family="{FAMILIES["Courier" if mono else "Times"]}"', f'font-size="{size:g}"']
    looks += ['font-weight="bold"'] if bold else []
    looks += ['font-style="italic"'] if italic else []
    looks += [f'text-anchor="{anchor}"'] if anchor != "start" else []
    looks += [f'fill="{fill}"'] if fill != "black" else []
    return f'<text x="{x:.2f}" y="{y:.2f}" {" ".join(looks)}>{escape(words, quote=False)}</text>\n'


def rect(box: Box, *, fill: str = "white", line: float = 0.8, dashes: str = "", corner: float = 0.0) -> str:
    """A rectangle; `dashes` as SVG writes them."""
    looks = f' rx="{corner:g}"' if corner else ""
    looks += f' stroke="black" stroke-width="{line:g}"' if line else ""
    looks += f' stroke-dasharray="{dashes}"' if dashes else ""
    place = f'x="{box.x:.2f}" y="{box.y:.2f}" width="{box.width:.2f}" height="{box.height:.2f}"'
    return f'<rect {place} fill="{fill}"{looks}/>\n'


def path(way: str, *, fill: str = "none", line: float = 0.8, dashes: str = "") -> str:
    """A line along `way`, which is the `d` of an SVG path."""
    looks = f' stroke="black" stroke-width="{line:g}"' if line else ""
    looks += f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<path d="{way}" fill="{fill}"{looks}/>\n'


def arrow_head(origin: tuple[float, float], end: tuple[float, float]) -> str:
    """The head of an arrow that runs across or up and down."""
    (x, y), right, down = end, end[0] - origin[0], end[1] - origin[1]
    back = -6 if right + down > 0 else 6
    wings = f"l{back},2.8v-5.6z" if right else f"l2.8,{back}h-5.6z"
    return path(f"M{x:.2f},{y:.2f}{wings}", fill="black", line=0)


def svg(width: float, height: float, title: str, body: str) -> str:
    """A whole drawing on white. `title` is what a screen reader says."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}pt" height="{height:g}pt"'
    head += f' viewBox="0 0 {width:g} {height:g}" role="img">\n'
    ground = f'<rect width="{width:g}" height="{height:g}" fill="white"/>\n'
    return f"{head}<title>{escape(title, quote=False)}</title>\n{ground}{body}</svg>\n"


def laid_out(dot: str, nodes: Mapping[str, Callable[[Box], str]]) -> tuple[float, float, str]:
    """What Graphviz makes of `dot`: width, height and the drawing, with each node that `nodes` names drawn by its function.

    Graphviz measures no letters of such a node: it has shape=box, a width and a height, in inches, and no label.
    """
    import easydot

    drawn = easydot.svg(dot, backend="wasm")
    found = _HEAD.match(drawn)
    if found is None:
        raise ValueError("Graphviz made no SVG")

    def node(group: re.Match[str]) -> str:
        draw = nodes.get(unescape(group[1]))
        return group[0] if draw is None else f"<g>\n{draw(_box(group[2]))}</g>\n"

    body = re.sub(r"<!--.*?-->\n", "", drawn[found.end() :], flags=re.DOTALL).removesuffix("</svg>\n")
    body = re.sub(r'<polygon fill="white" stroke="none" points="[^"]*"/>\n', "", body, count=1)
    body = re.sub(r'<g id="[^"]*" class="(?:node|edge|cluster|graph)"', "<g", _NODE.sub(node, body))
    body = _FONT.sub(lambda font: f'font-family="{FAMILIES[font[1]]}"', body)
    return float(found[1]), float(found[2]), body


def moved(x: float, y: float, drawn: str) -> str:
    """A drawing at another place."""
    return f'<g transform="translate({x:.2f} {y:.2f})">\n{drawn}</g>\n'


def _box(shape: str) -> Box:
    """The box around the polygon that Graphviz drew for a node."""
    points = re.search(r'points="([^"]*)"', shape)
    if points is None:
        raise ValueError("a node that is drawn by a function has shape=box")
    numbers = [float(number) for number in _NUMBERS.findall(points[1])]
    xs, ys = numbers[::2], numbers[1::2]
    return Box(min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))


def inches(points: float) -> str:
    """A length as Graphviz takes it."""
    return f"{points / 72:.4f}"
