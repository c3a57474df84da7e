"""Reports as charts: SVG by matplotlib, which is an extra. The same report is the same file, byte by byte."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from orderkit import money
from orderkit.cli.report_table import MEASURES
from orderkit.errors import ConfigurationError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from orderkit.api.report_answers import Answer

NET, REFUNDED, INK, QUIET = "#2b6cb0", "#e2a3a3", "#1a202c", "#718096"
MOST_BARS = 40
"""Rows of a chart that lie side by side; more would be hairs. Days are on an axis of time, and may be more."""
ROW, BAR = 0.24, 0.72
"""Inches from one such row to the next, and how much of that is bar."""
LEAST_SLOTS = 8
"""An axis of time has room for so many bars at least, so that one day is no wall."""
MOST_DAYS, MOST_MONTHS = 9, 13
"""Names that fit below an axis of time."""
DAYS_NAMED = 100
"""Of more days than these it names the months."""

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
        figure = Figure(figsize=(9, 0.5 + sum(heights)), layout="constrained")
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
    previous = beside.get("previous")
    return f"{_when(beside)}, {beside['tz']}" + (f", compared with {_when(previous)}" if previous else "")


def _when(period: Mapping[str, Any]) -> str:
    start, end = period["from"], period["to"]
    return "all there is" if start is None and end is None else f"{start or '…'} until before {end or '…'}"


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
    return 3.0 if _by_time(answer) or not rows else 0.65 + ROW * min(len(rows), MOST_BARS)


def _draw_panel(axes: Axes, answer: Answer, currency: str | None, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        axes.text(0.5, 0.5, "nothing", ha="center", color=QUIET, transform=axes.transAxes)
        axes.set_axis_off()
        return
    amounts = answer.measure in ("net", "revenue")
    if _by_time(answer):
        _draw_time(axes, answer.columns[0], rows)
        value_axis: Any = axes.yaxis
    else:
        _draw_rows(axes, answer, rows[:MOST_BARS])
        axes.margins(y=0.02)
        value_axis = axes.xaxis
    if currency is not None:
        axes.set_title(_heading(answer, currency), loc="left", fontsize=9, fontweight="bold")
    value_axis.set_major_formatter(lambda value, _place: _written(value, currency if amounts else None))
    value_axis.grid(visible=True, color="#e2e8f0", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)


def _heading(answer: Answer, currency: str) -> str:
    """The currency that things were sold in and, compared, what they came to in all, and before."""
    if (previous := answer.beside.get("previous")) is None:
        return currency if answer.measure != "quantity" else f"sold in {currency}"
    now, then = (_net(totals, currency) for totals in (answer.beside["totals"], previous["totals"]))
    told = [f"{Decimal(amount).scaleb(-money.exponent(currency)):,f}" for amount in (now, then)]
    return f"{currency}: net {told[0]}, before {told[1]}"


def _net(totals: Sequence[Mapping[str, Any]], currency: str) -> int:
    return next((int(one["net"]) for one in totals if one["currency"] == currency), 0)


def _draw_time(axes: Axes, column: str, rows: Sequence[Mapping[str, Any]]) -> None:
    from matplotlib.dates import date2num

    days: list[date] = [one[column] if column == "date" else date.fromisoformat(f"{one[column]}-01") for one in rows]
    by_day = column == "date"

    def middle(day: date) -> float:
        return float(date2num(day)) + _length(day, by_day) / 2  # type: ignore[no-untyped-call]

    middles = [middle(day) for day in days]
    gap = 0.9 if len(days) < 100 else 1.0
    widths = [_length(day, by_day) * gap for day in days]
    axes.bar(middles, [one["net"] for one in rows], widths, color=NET, label="net")
    bottoms = [max(one["net"], 0) for one in rows]
    gone = [one["gross"] - bottom for one, bottom in zip(rows, bottoms, strict=True)]
    axes.bar(middles, gone, widths, bottom=bottoms, color=REFUNDED, label="refunded")
    axes.axhline(0, color=QUIET, linewidth=0.8)
    left, right = middles[0] - widths[0] / 2, middles[-1] + widths[-1] / 2
    beside = max(right - left, LEAST_SLOTS * widths[0]) / 2 * 1.02
    axes.set_xlim((left + right) / 2 - beside, (left + right) / 2 + beside)
    named = _named(days[0], days[-1], by_day=by_day)
    axes.set_xticks([middle(day) for day in named], list(named.values()))


def _length(day: date, by_day: bool) -> int:
    """Of the bar of a day, or of the month that begins then, in days."""
    return 1 if by_day else (_month_after(day) - day).days


def _named(first: date, last: date, *, by_day: bool) -> dict[date, str]:
    """Which days, or firsts of months, are named on the axis, and how: as in tables, and so few that there is room."""
    if by_day and (last - first).days < DAYS_NAMED:
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        return {day: day.isoformat() for day in days[:: -(-len(days) // MOST_DAYS)]}
    month = first if first.day == 1 else _month_after(first)
    months = [month]
    while (month := _month_after(month)) <= last:
        months.append(month)
    least = -(-len(months) // MOST_MONTHS)
    step = next((one for one in (1, 2, 3, 6) if one >= least), -(-least // 12) * 12)
    return {one: f"{one:%Y-%m}" for one in months if (one.year * 12 + one.month - 1) % step == 0}


def _month_after(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def _draw_rows(axes: Axes, answer: Answer, rows: Sequence[Mapping[str, Any]]) -> None:
    name = answer.measure
    places = range(len(rows))
    axes.barh(places, [one[name] for one in rows], BAR, color=NET, label=MEASURES.get(name, name))
    if name == "net":
        lefts = [max(one["net"], 0) for one in rows]
        gone = [one["gross"] - left for one, left in zip(rows, lefts, strict=True)]
        axes.barh(places, gone, BAR, left=lefts, color=REFUNDED, label="refunded")
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
