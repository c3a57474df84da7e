"""Plots of evidence, in shades of grey and by kinds of line: they are printed. The same evidence is the same file."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from orderkit.print_pack.evidence import Piece

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE: Any = {
    "svg.hashsalt": "orderkit",  # else ids are random
    "svg.fonttype": "path",  # whoever prints it has its letters
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "0.85",
    "grid.linewidth": 0.5,
}


def drawn(evidence: Mapping[str, Piece | None]) -> dict[str, str]:
    """SVG by name, of what there is evidence for."""
    return {name: draw(piece.data) for name, draw in PLOTS.items() if (piece := evidence.get(name)) is not None}


def _load(data: Any) -> str:
    """Orders a second of each round, next to what the database alone writes; and how long orders took."""
    rounds = data["rounds"]
    names = [f"round {number}" for number in range(1, len(rounds) + 1)]

    def paint(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        places = range(len(rounds))
        database = [one["database_orders_a_second"] for one in rounds]
        ours = [one["orders_a_second"] for one in rounds]
        left.bar([at - 0.2 for at in places], database, 0.38, color="0.8", edgecolor="0", label="database alone")
        left.bar([at + 0.2 for at in places], ours, 0.38, color="0.35", edgecolor="0", label="orderkit")
        for at, one in zip(places, rounds, strict=True):
            left.annotate(
                f"{one['ratio']:.2f}", (at + 0.2, one["orders_a_second"]), ha="center", va="bottom", fontsize=8
            )
        for axes in (left, right):
            axes.set_axisbelow(True)
            axes.set_xlim(-0.6, len(rounds) - 0.4)
        left.set_xticks(list(places), names)
        left.set_title("orders a second, and their ratio", loc="left", fontsize=9)
        left.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=2, fontsize=8)
        for what, style in (("p50", "-o"), ("p95", "--s"), ("p99", ":^")):
            right.plot(
                list(places), [one[f"{what}_ms"] for one in rounds], style, color="0.1", markersize=4, label=what
            )
        right.set_xticks(list(places), names)
        right.set_ylim(bottom=0)
        right.set_title("time of an order, ms", loc="left", fontsize=9)
        right.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=3, fontsize=8)

    return _svg("Load", (7.2, 2.2), paint)


def _overload(data: Any) -> str:
    """What a crowd asked for and what became of it, over time."""
    series = data["series"]

    def paint(figure: Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        at = series["seconds"]
        above.plot(at, series["asked"], color="0.65", linewidth=1, label="asked for")
        above.plot(at, series["refused"], color="0.35", linewidth=1, linestyle="--", label="refused (503)")
        above.plot(at, series["taken"], color="0", linewidth=1.6, label="taken (201)")
        above.axhline(data["peak"], color="0", linestyle=":", linewidth=1, label="peak without a crowd")
        above.set_ylabel("orders a second", fontsize=8)
        above.legend(frameon=False, loc="upper right", fontsize=7)
        for name, style in (("taken", "-"), ("refused", "--")):
            late = [float("nan") if one is None else one for one in series[f"{name}_p95_ms"]]
            below.plot(at, late, color="0" if name == "taken" else "0.35", linestyle=style, linewidth=1.2, label=name)
        below.set_ylabel("p95, ms", fontsize=8)
        below.set_xlabel("seconds", fontsize=8)
        below.set_ylim(bottom=0)
        below.legend(frameon=False, loc="upper right", fontsize=7)
        for axes in (above, below):
            axes.axvspan(data["began"], data["ended"], color="0.94", zorder=0)

    return _svg("Overload", (7.2, 2.5), paint)


PLOTS: Mapping[str, Callable[[Any], str]] = {"load": _load, "overload": _overload}


def _svg(title: str, size: tuple[float, float], paint: Callable[[Figure], None]) -> str:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size)
        paint(figure)
        figure.subplots_adjust(left=0.08, right=0.99, top=0.92, bottom=0.2, wspace=0.16, hspace=0.12)
        file = io.StringIO()
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Creator": "orderkit", "Title": title})  # type: ignore[no-untyped-call]
    return file.getvalue()
