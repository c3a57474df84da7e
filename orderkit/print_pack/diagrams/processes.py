"""Which processes there are and who talks to whom: the parts of `description`, each in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orderkit.print_pack.diagrams.description import MESSAGES, PARTS, WATCHING, Message, Part
from orderkit.print_pack.diagrams.drawing import WIDTH, Box, arrow_head, path, rect, svg, text

_LEFT, _MIDDLE, _RIGHT = 1.0, 160.0, WIDTH - 119
_HIGH = 54.0
PLACES: Mapping[str, Box] = {
    "command line": Box(_LEFT, 1, 118, _HIGH),
    "client": Box(_MIDDLE, 1, 134, _HIGH),
    "API": Box(_MIDDLE, 106, 134, _HIGH),
    "database": Box(_LEFT, 212, 118, _HIGH),
    "provider": Box(_MIDDLE + 19, 212, 96, _HIGH),
    "carrier": Box(_RIGHT, 212, 118, _HIGH),
    "queue": Box(_LEFT, 318, 118, _HIGH),
    "worker": Box(_MIDDLE, 318, 134, _HIGH),
    "mail server": Box(_RIGHT, 318, 118, _HIGH),
}
"""Where each part stands that takes part in the work."""

_DOWN = 227.0  # the middle of the middle lane
_WEST, _EAST = _MIDDLE + 9, _MIDDLE + 125
Route = tuple[Sequence[tuple[float, float]], tuple[float, float]]
ROUTES: Mapping[tuple[str, str], Route] = {
    ("client", "API"): (((_DOWN, 55), (_DOWN, 106)), (_DOWN + 5, 76)),
    ("command line", "database"): (((60, 55), (60, 212)), (65, 112)),
    ("API", "database"): (((_WEST, 160), (_WEST, 231), (119, 231)), (121, 188)),
    ("API", "provider"): (((_DOWN, 160), (_DOWN, 212)), (_DOWN + 5, 182)),
    ("worker", "provider"): (((_DOWN, 318), (_DOWN, 266)), (_DOWN + 5, 284)),
    ("worker", "database"): (((_WEST, 318), (_WEST, 247), (119, 247)), (121, 264)),
    ("worker", "queue"): (((_MIDDLE, 345), (119, 345)), (122, 331)),
    ("worker", "carrier"): (((_EAST, 318), (_EAST, 247), (_RIGHT, 247)), (_EAST + 5, 280)),
    ("carrier", "API"): (((_RIGHT, 231), (_EAST, 231), (_EAST, 160)), (_EAST + 5, 182)),
    ("worker", "mail server"): (((_MIDDLE + 134, 345), (_RIGHT, 345)), (_MIDDLE + 139, 341)),
}
"""The way of each message, from corner to corner, and where its words begin."""

_BOTTOM = 372.0


def draw() -> str:
    """The diagram as SVG. Raises KeyError for a part or a message that has no place."""
    watching = {name for one in WATCHING for name in (one.caller, one.called)} - set(PLACES)
    body = "".join(_message(one, ROUTES[one.caller, one.called]) for one in MESSAGES)
    body += "".join(_part(part, PLACES[part.name]) for part in PARTS if part.name not in watching)
    return svg(WIDTH, _BOTTOM + 78, "Processes, stores, and who talks to whom", body + _watching() + _legend())


def _part(part: Part, box: Box) -> str:
    middle = box.x + box.width / 2
    said = [(part.name, 10.0, False)] + [(line, 7.6, False) for line in part.lines]
    if part.command is not None and part.kind == "process":
        said.insert(1, (f"orderkit {part.command}", 7.4, True))
    elif part.command is not None:
        said += [("to try things out:", 7.2, False), (f"orderkit {part.command}", 7.2, True)]
    drawn = _shape(part, box)
    y = box.y + (box.height - 10.5 * len(said)) / 2 + 9 + (4 if part.kind == "store" else 0)
    for number, (words, size, mono) in enumerate(said):
        drawn += text(middle, y, words, size=size, mono=mono, bold=number == 0, anchor="middle")
        y += 10.5
    return drawn


def _shape(part: Part, box: Box) -> str:
    if part.kind == "outside":
        return rect(box, dashes="4 2.5", corner=9)
    if part.kind == "process":
        return rect(box, line=1.6)
    return _cylinder(box)


def _cylinder(box: Box) -> str:
    bend = min(6.0, box.width / 8)
    over = f"a{box.width / 2:.2f},{bend:.2f} 0 0 1 {box.width:.2f},0"
    back = f"a{box.width / 2:.2f},{bend:.2f} 0 0 1 {-box.width:.2f},0"
    sides = f"M{box.x:.2f},{box.y + bend:.2f}{over}v{box.height - 2 * bend:.2f}{back}z"
    return path(sides, fill="white", line=1) + path(f"M{box.x + box.width:.2f},{box.y + bend:.2f}{back}", line=1)


def _message(one: Message, route: Route) -> str:
    corners, (x, y) = route
    way = "M" + "L".join(f"{right:.2f},{down:.2f}" for right, down in corners)
    drawn = path(way, line=0.9) + arrow_head(corners[-2], corners[-1])
    drawn += text(x, y, one.protocol, size=7.8, bold=True)
    for number, words in enumerate(one.about, start=1):
        drawn += text(x, y + 8.8 * number, words, size=7.6)
    return drawn


def _watching() -> str:
    drawn = path(f"M1,{_BOTTOM + 16:.2f}H{WIDTH - 1:.2f}", line=0.5)
    drawn += text(1, _BOTTOM + 30, "Watching, which may fail without harm", size=8, bold=True)
    said = [f"{one.caller} to {one.called}: {one.protocol}, {', '.join(one.about)}" for one in WATCHING]
    return drawn + "".join(text(1, _BOTTOM + 41 + 9.5 * number, line, size=7.8) for number, line in enumerate(said))


def _legend() -> str:
    x, y = _RIGHT, 2.0
    drawn = rect(Box(x, y, 24, 10), line=1.6) + text(x + 32, y + 8, "process of orderkit", size=7.8)
    drawn += _cylinder(Box(x, y + 16, 24, 14)) + text(x + 32, y + 27, "store", size=7.8)
    drawn += rect(Box(x, y + 37, 24, 10), dashes="4 2.5", corner=4)
    return drawn + text(x + 32, y + 45, "somebody else's", size=7.8)
