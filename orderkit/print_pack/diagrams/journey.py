"""An order's journey, step by step from lane to lane, and beside each step what makes it safe to die there."""

from __future__ import annotations

from orderkit.print_pack.diagrams.description import JOURNEY, LANES, Pause, Step
from orderkit.print_pack.diagrams.drawing import WIDTH, Box, arrow_head, path, rect, svg, text

_FIRST = 24.0
_APART = 47.4
_NOTES = 288.0
_LINE = 9.2
_STEP = 44.0
_PAUSE = 24.0
_TOP = 20.0


def draw() -> str:
    """The diagram as SVG."""
    y, number, steps = _TOP + 4, 0, ""
    for one in JOURNEY:
        if isinstance(one, Pause):
            steps += _pause(one, y)
            y += _PAUSE
        else:
            number += 1
            steps += _step(one, number, y)
            y += _STEP
    lanes = "".join(_lane(lane, y) for lane in LANES)
    heading = text(_NOTES, _TOP - 6, "what makes it safe", size=8.6, bold=True)
    return svg(WIDTH, y + 24, "The journey of an order", lanes + heading + steps + _legend(y + 14))


def _x(lane: str) -> float:
    return _FIRST + _APART * LANES.index(lane)


def _lane(lane: str, bottom: float) -> str:
    x = _x(lane)
    drawn = path(f"M{x:.2f},{_TOP:.2f}V{bottom:.2f}", line=0.5, dashes="1 2.5")
    return drawn + rect(Box(x - 21.5, 1, 43, 17)) + text(x, 12.5, lane, size=8.6, bold=True, anchor="middle")


def _step(step: Step, number: int, y: float) -> str:
    here, there = _x(step.caller), _x(step.called)
    level = y + 20
    drawn = _words(step, min(here, there), y)
    edge = there
    if step.kind == "transaction":
        edge += 4 if here > there else -4
        drawn += rect(Box(there - 4, level - 7.5, 8, 15), fill="#bdbdbd", line=1.2)
    dashes = "4 2.5" if step.kind == "outside" else ""
    drawn += path(f"M{here:.2f},{level:.2f}H{edge:.2f}", line=1.1, dashes=dashes) + arrow_head(
        (here, level), (edge, level)
    )
    drawn += f'<circle cx="{here:.2f}" cy="{level:.2f}" r="6" fill="black"/>\n'
    drawn += text(here, level + 2.6, str(number), size=7.6, bold=True, anchor="middle", fill="white")
    above = y + 17 - _LINE * (len(step.safe) - 2) / 2
    for at, line in enumerate(step.safe):
        drawn += text(_NOTES, above + _LINE * at, line, size=7.4)
    return drawn


def _words(step: Step, left: float, y: float) -> str:
    drawn = ""
    for line, down in zip(step.what, (9.5, 35.5), strict=False):
        width = len(line) * 3.45 + 2
        start = min(left + 9, _NOTES - 8 - width)
        drawn += rect(Box(start - 1.5, y + down - 7, width + 3, 9.2), line=0)
        drawn += text(start, y + down, line, size=7.6)
    return drawn


def _pause(words: str, y: float) -> str:
    drawn = path(f"M1,{y + 12:.2f}H{WIDTH - 1:.2f}", line=0.5)
    width = len(words) * 3.7 + 12
    drawn += rect(Box(20, y + 4, width, 16), line=0)
    return drawn + text(26, y + 14.6, words, size=8.2, italic=True)


def _legend(y: float) -> str:
    drawn = rect(Box(2, y - 9, 8, 14), fill="#bdbdbd", line=1.2)
    drawn += text(15, y + 1, "one transaction: all of it or nothing", size=7.8)
    drawn += path(f"M150,{y - 2:.2f}h24", line=1.1, dashes="4 2.5") + arrow_head((150, y - 2), (176, y - 2))
    return drawn + text(181, y + 1, "a call to somebody else, while no transaction is open", size=7.8)
