"""Reports as charts: SVG by matplotlib, which is an extra. The same report is the same file, byte by byte."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from orderkit import money
from orderkit.errors import ConfigurationError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from orderkit.api.report_answers import Answer

NET, REFUNDED, INK, QUIET = "#2b6cb0", "#e2a3a3", "#1a202c", "#718096"
MOST_BARS = 40
"""Rows of a chart that lie side by side; more would be hairs. Days are on an axis of time, and may be more."""

_STYLE: Any = {
    "svg.hashsalt": "orderkit",  # else ids are random
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
}


def require() -> None:
    """Raises ConfigurationError where there is nothing to draw with."""
    if find_spec("matplotlib") is None:
        raise ConfigurationError("charts need matplotlib; run: pip install 'orderkit[charts]'")


def draw(title: str, answer: Answer) -> str:
    """The chart as SVG, a panel for each currency."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    panels = _panels(answer)
    with mpl.rc_context(_STYLE):
        heights = [_height(answer, rows) for _currency, rows in panels]
        figure = Figure(figsize=(9, 0.9 + sum(heights)), layout="constrained")
        figure.suptitle(f"{title}\n{_about(answer.beside)}", x=0.01, ha="left", fontsize=11)
        grid = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
        for axes, (currency, rows) in zip(grid[:, 0], panels, strict=True):
            _draw_panel(axes, answer, currency, rows)
        # The solver of the layout is off by a last bit now and then, which would be another file.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for axes in grid[:, 0]:
            axes.set_position([round(one, 4) for one in axes.get_position().bounds])
        file = io.StringIO()
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Creator": "orderkit", "Title": title})  # type: ignore[no-untyped-call]
    return file.getvalue()


def _about(beside: Mapping[str, Any]) -> str:
    start, end = beside["from"], beside["to"]
    when = "all there is" if start is None and end is None else f"{start or '…'} until before {end or '…'}"
    return f"{when}, {beside['tz']}"


def _panels(answer: Answer) -> list[tuple[str | None, list[Mapping[str, Any]]]]:
    if "currency" not in answer.columns:
        return [(None, [*answer.items])]
    named = dict.fromkeys(item["currency"] for item in answer.items)
    found = [(one, [item for item in answer.items if item["currency"] == one]) for one in sorted(named)]
    return [*found] or [(None, [])]


def _by_time(answer: Answer) -> bool:
    return answer.columns[0] in ("date", "month")


def _height(answer: Answer, rows: Sequence[Mapping[str, Any]]) -> float:
    """In inches."""
    return 2.6 if _by_time(answer) or not rows else 0.7 + 0.24 * min(len(rows), MOST_BARS)


def _draw_panel(axes: Axes, answer: Answer, currency: str | None, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        axes.text(0.5, 0.5, "nothing", ha="center", color=QUIET, transform=axes.transAxes)
        axes.set_axis_off()
        return
    name = next(one for one in ("net", "quantity", "orders") if one in answer.columns)
    amounts = name == "net"
    if _by_time(answer):
        _draw_time(axes, answer.columns[0], rows)
        value_axis: Any = axes.yaxis
    else:
        _draw_rows(axes, answer, name, rows[:MOST_BARS])
        value_axis = axes.xaxis
    if currency is not None:
        axes.set_title(currency, loc="left", fontsize=9, fontweight="bold")
    value_axis.set_major_formatter(lambda value, _place: _written(value, currency if amounts else None))
    value_axis.grid(visible=True, color="#e2e8f0", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(x=0.01) if _by_time(answer) else axes.margins(y=0.02)
    if amounts and any(one["refunded"] for one in rows):
        axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)


def _draw_time(axes: Axes, column: str, rows: Sequence[Mapping[str, Any]]) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

    days: list[date] = [one[column] if column == "date" else date.fromisoformat(f"{one[column]}-01") for one in rows]
    lengths = [
        1.0 if column == "date" else float(((day + timedelta(days=32)).replace(day=1) - day).days) for day in days
    ]
    lefts = [float(date2num(day)) for day in days]  # type: ignore[no-untyped-call]
    gap = 0.9 if len(days) < 100 else 1.0
    widths = [length * gap for length in lengths]
    axes.bar(lefts, [one["net"] for one in rows], widths, align="edge", color=NET, label="net")
    bottoms = [max(one["net"], 0) for one in rows]
    gone = [one["gross"] - bottom for one, bottom in zip(rows, bottoms, strict=True)]
    axes.bar(lefts, gone, widths, bottom=bottoms, align="edge", color=REFUNDED, label="refunded")
    axes.axhline(0, color=QUIET, linewidth=0.8)
    locator = AutoDateLocator(minticks=3, maxticks=10)  # type: ignore[no-untyped-call]
    axes.xaxis_date()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _draw_rows(axes: Axes, answer: Answer, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    places = range(len(rows))
    axes.barh(places, [one[name] for one in rows], 0.72, color=NET, label=name)
    if name == "net":
        lefts = [max(one["net"], 0) for one in rows]
        gone = [one["gross"] - left for one, left in zip(rows, lefts, strict=True)]
        axes.barh(places, gone, 0.72, left=lefts, color=REFUNDED, label="refunded")
    axes.set_yticks(places, [_label(one, answer.columns) for one in rows], parse_math=False)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.invert_yaxis()


def _label(item: Mapping[str, Any], columns: Sequence[str]) -> str:
    first = next((item[name] for name in ("name", "email", *columns) if name in item and item[name] is not None), "")
    text = "unknown" if columns[0] == "country" and item["country"] is None else str(first)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _written(value: float, currency: str | None) -> str:
    whole = Decimal(round(value))
    amount = whole if currency is None else whole.scaleb(-money.exponent(currency))
    return f"{amount:,.0f}" if amount == amount.to_integral_value() else f"{amount:,f}"
