"""What the demo looks like: the table of acts, the header above it, the verdict and where to go from there."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orderkit.demo.story import REFUSED, Journey, Scene, Story
from orderkit.demo.verdict import Check, Figure
from orderkit.demo.watching import PAID_BACK, PART_BACK

WIDE = 100
"""From this many columns on, an order shows every state it has been in, and a call what came of it and how often it was made;
below, an order its latest state, and calls one of the two."""

NARROW = 78
"""Below this many columns there is no room for the time that an act took."""

PATH_WIDTH = 20
"""pending→paid→shipped, and of longer paths the end."""

MAX_WIDTH = 110
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
SPIN_PER_S = 8

_STYLES = {
    "shipped": "green",
    "delivered": "green",
    "captured": "green",
    "succeeded": "green",
    "paid": "cyan",
    "pending": "yellow",
    "created": "yellow",
    "unknown": "yellow",
    "queued": "yellow",
    "running": "yellow",
    "retrying": "yellow",
    "dead": "bold red",
    "declined": "magenta",
    "payment_failed": "magenta",
    "cancelled": "magenta",
    PART_BACK: "magenta",
    PAID_BACK: "magenta",
    REFUSED: "magenta",
}
_SHORT = {"payment_failed": "failed"}


def width_of(console: Console) -> int:
    return min(console.width, MAX_WIDTH)


def frame(console: Console, story: Story) -> RenderableType:
    """All there is to see while it plays, never more lines than the terminal has."""
    width, height = width_of(console), console.height
    above = header(story, width)
    rows = max(3, min(len(story.scenes), height - 8))
    table = acts(story, width, _most_telling(story.scenes, rows))
    # The header's lines, the table's heading, and an empty one before the story.
    room = height - 3 - 1 - rows - 1
    return Group(*above, table, Text(), *_latest(console, story, width, room))


def header(story: Story, width: int) -> list[RenderableType]:
    """Three lines: what this is, what runs where, how far it is."""
    title = Text.assemble(("orderkit demo", "bold"), ("  on SQLite, with no service installed", "dim"))
    clock = f"{story.seconds:5.1f} s"
    first = Text.assemble(title, " " * max(1, width - title.cell_len - len(clock)), (clock, "bold"))
    ended = sum(journey.outcome is not None for journey in story.journeys)
    words = f" {ended:,} of {len(story.journeys):,} orders at their end"
    bar = Table.grid(expand=False)
    done = ended == len(story.journeys)
    bar.add_row(
        ProgressBar(
            total=max(1, len(story.journeys)),
            completed=ended,
            width=max(10, width - len(words)),
            complete_style="green" if done else "cyan",
            finished_style="green",
        ),
        words,
    )
    return [first, _running(story), bar]


def _running(story: Story) -> Text:
    dot = {"starting": ("○ ", "yellow"), "up": ("● ", "green"), "over": ("○ ", "dim")}[story.stage]
    processes = (
        dot,
        "serve ",
        (story.api, "dim"),
        "   ",
        dot,
        "worker",
        "   ",
        dot,
        "simulate ",
        (story.simulator, "dim"),
    )
    return Text.assemble(*processes, no_wrap=True, overflow="ellipsis")


def acts(story: Story, width: int, scenes: Sequence[Scene] | None = None) -> Table:
    """One row for each act."""
    wide = width >= WIDE
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim", width=width)
    table.add_column("  what happens", no_wrap=True, width=23)
    table.add_column("HTTP", no_wrap=True, width=11)
    table.add_column("order", no_wrap=True, width=PATH_WIDTH if wide else 10, overflow="ellipsis")
    table.add_column("payment", no_wrap=True, width=17 if wide else 11, overflow="ellipsis")
    table.add_column("parcel", no_wrap=True, width=18 if wide else 12, overflow="ellipsis")
    if width >= NARROW:
        table.add_column("time", no_wrap=True, justify="right", width=6)
    for scene in story.scenes if scenes is None else scenes:
        table.add_row(*_row(scene, story.seconds, wide=wide)[: len(table.columns)])
    return table


def _row(scene: Scene, seconds: float, *, wide: bool) -> tuple[Text, ...]:
    if not scene.begun:
        return (Text(f"· {scene.act.title}", style="dim"),)
    order = _path(scene.journeys[0], wide=wide) if len(scene.journeys) == 1 else _crowd(scene, wide=wide)
    return (
        Text.assemble(_mark(scene, seconds), " ", title(scene)),
        _http(scene),
        order,
        _calls(scene, "payment", "charges", "captured", wide=wide),
        _calls(scene, "parcel", "bookings", "succeeded", wide=wide),
        _time(scene, seconds),
    )


def title(scene: Scene) -> str:
    """Its title, and how many orders it is, where that is not said already."""
    return (
        scene.act.title
        if len(scene.journeys) == 1 or scene.act.refused
        else f"{scene.act.title} ×{len(scene.journeys)}"
    )


def _mark(scene: Scene, seconds: float) -> Text:
    if not scene.done:
        return Text(SPINNER[int(seconds * SPIN_PER_S) % len(SPINNER)], style="yellow")
    return tick(scene.as_foretold)


def tick(holds: bool) -> Text:
    return Text("✓", style="bold green") if holds else Text("✗", style="bold red")


def _http(scene: Scene) -> Text:
    parts = []
    for status, count in scene.answers.items():
        style = {2: "green", 4: "magenta"}.get(status // 100, "bold red") if status != 202 else "yellow"
        parts.append(Text(f"{status}" + (f"×{count}" if count > 1 else ""), style))
    return Text(" ").join(parts)


def _path(journey: Journey, *, wide: bool) -> Text:
    if journey.seen is None:
        return _state(journey.outcome or "")
    if not wide:
        return _state(journey.seen.status)
    *before, status = journey.seen.path
    path = "".join(f"{state}→" for state in before)
    room = PATH_WIDTH - len(_SHORT.get(status, status))
    while len(path) > room:
        path = f"…→{path.removeprefix('…→').partition('→')[2]}"
    return Text.assemble((path, "dim"), _state(status))


def _state(state: str) -> Text:
    return Text(_SHORT.get(state, state), style=_STYLES.get(state, ""))


def _crowd(scene: Scene, *, wide: bool) -> Text:
    """Several orders in one row: how many have come to which end."""
    parts = [Text(f"{count:,} {state}", style=_STYLES.get(state, "")) for state, count in scene.outcomes.items()]
    parts.sort(key=lambda part: part.plain.endswith(REFUSED))
    return Text(", ").join(parts if wide else parts[:1])


def _calls(scene: Scene, member: str, calls: str, good: str, *, wide: bool) -> Text:
    """What became of the calls to a provider, and how many it took where it took more than one."""
    if len(scene.journeys) > 1:
        count = sum(getattr(journey.seen, member, None) == good for journey in scene.journeys)
        return Text(f"{count:,} {good}", style=_STYLES[good]) if count else Text()
    seen = scene.journeys[0].seen
    state: str | None = getattr(seen, member, None)
    if state is None:
        return Text()
    made: int = getattr(seen, calls)
    told = state if made <= 1 else f"{state}, {made} calls" if wide else f"{made} calls" if state == good else state
    return Text(told, style=_STYLES.get(state, ""))


def _time(scene: Scene, seconds: float) -> Text:
    if scene.done and scene.seconds is not None:
        return Text(f"{scene.seconds:.1f} s")
    began = min(journey.began for journey in scene.journeys if journey.began is not None)
    return Text(f"{seconds - began:.1f} s", style="dim")


def _most_telling(scenes: Sequence[Scene], rows: int) -> Sequence[Scene]:
    """The scenes there is room for: those under way, then what ended last, then what is still to come."""
    if len(scenes) <= rows:
        return scenes

    def rank(scene: Scene) -> tuple[int, float]:
        if not scene.begun:
            return 2, 0
        ended = max((journey.ended or 0 for journey in scene.journeys), default=0)
        return (1, -ended) if scene.done else (0, 0)

    chosen = sorted(scenes, key=rank)[:rows]
    return [scene for scene in scenes if scene in chosen]


def told(console: Console, at: float, text: str, width: int) -> list[RenderableType]:
    """One line of the story, wrapped beside its time."""
    lines = Text(text).wrap(console, width - 9)
    return [
        Text.assemble((f"{at:5.1f} s  " if number == 0 else " " * 9, "dim"), line) for number, line in enumerate(lines)
    ]


def _latest(console: Console, story: Story, width: int, room: int) -> list[RenderableType]:
    shown: list[RenderableType] = []
    for at, text in reversed(story.lines):
        lines = told(console, at, text, width)
        if len(lines) + len(shown) > room:
            break
        shown = [*lines, *shown]
    return shown


def verdict(checks: Sequence[Check], width: int) -> list[RenderableType]:
    """The witnesses side by side, what is wrong in words, and the sum of it."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("  counted by")
    for witness in ("customers", "database", "provider"):
        table.add_column(witness, justify="right", no_wrap=True)
    for check in checks:
        table.add_row(
            Text.assemble(tick(check.holds), " ", (check.what, "" if check.holds else "red")),
            *(_figure(figure) for figure in (check.customers, check.database, check.provider)),
        )
    wrong = [check for check in checks if not check.holds]
    reasons = [Text(f"✗ {check.what}: {check.why}", style="red") for check in wrong]
    if wrong:
        return [table, *reasons, Text(), Text(f"{len(wrong)} of {len(checks)} do not agree.", style="bold red")]
    sentence = "The counts agree: nothing lost, doubled, charged twice or oversold."
    return [table, Text(), Text(sentence, style="bold green")]


def _figure(figure: Figure) -> Text:
    if figure is None:
        return Text("–", style="dim")
    return Text(f"{figure:,}" if isinstance(figure, int) else figure)
