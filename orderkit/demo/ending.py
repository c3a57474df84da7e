"""The end of the demo: on the terminal, as JSON, and as a picture."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from orderkit.demo import painting
from orderkit.demo.playing import Ending

PICTURE_WIDTH = 100


def show(console: Console, ending: Ending, *, told_already: bool, stays: bool) -> None:
    """Prints the story, unless it was told line by line, the verdict, and where to go from here."""
    width = painting.width_of(console)
    if not told_already:
        console.print(*_story(console, ending, width), sep="\n")
    console.print(Text(), *painting.verdict(ending.checks, width), Text(), sep="\n")
    for line in _next_steps(ending) if stays else _next_commands():
        # Soft, so that a long line can be copied as the one line it is.
        console.print(line, soft_wrap=True)


def _story(console: Console, ending: Ending, width: int) -> list[RenderableType]:
    told = [line for at, text in ending.story.lines for line in painting.told(console, at, text, width)]
    return [
        *painting.header(ending.story, width),
        Text(),
        painting.acts(ending.story, width),
        Text(),
        *told,
    ]


def _next_steps(ending: Ending) -> list[Text]:
    story, access = ending.story, ending.access
    see = {
        "API, to try out": f"{story.api}/docs",
        "metrics": f"{story.api}/metrics",
        "provider's ledger": f"{story.simulator}/ledger",
        "staff's login": f"{access.staff.email}  {access.staff.password}",
    }
    return [
        Text("Still running, until Ctrl-C:", style="bold"),
        *(Text.assemble((f"  {what:<19}", "dim"), it) for what, it in see.items()),
        Text(),
        Text("An order as staff sees it (the token is good for an hour):", style="bold"),
        Text(f"  curl -s '{story.api}/orders?limit=1' -H 'Authorization: Bearer {ending.token}'"),
        Text(),
        *_next_commands(),
    ]


def _next_commands() -> list[Text]:
    me = _called_by()
    commands = {
        f"{me} migrate": "a database, in .orderkit/",
        f"{me} users create you@example.com --admin": "its first account",
        f"{me} serve": "the API; and elsewhere",
        f"{me} worker": "what ships its orders",
    }
    width = max(map(len, commands)) + 4
    return [
        Text("Next, one that stays:", style="bold"),
        *(Text.assemble(f"  {command:<{width}}", (what, "dim")) for command, what in commands.items()),
    ]


def _called_by() -> str:
    """`orderkit`, or the path that this one was called by where the shell would find another one or none."""
    me = Path(sys.argv[0])
    if me.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m orderkit"
    found = shutil.which("orderkit")
    if me.name != "orderkit" or (found is not None and (me.parent == Path() or Path(found).resolve() == me.resolve())):
        return "orderkit"
    return shlex.quote(sys.argv[0])


def as_dict(ending: Ending) -> dict[str, Any]:
    """What was counted and where everything is; it names the staff's password, which dies with the demo."""
    journeys = ending.story.journeys
    return {
        "agree": ending.holds,
        "seconds": round(ending.story.seconds, 1),
        "orders": len(journeys),
        "outcomes": dict(Counter(journey.outcome or "unfinished" for journey in journeys)),
        "checks": [check.as_dict() for check in ending.checks],
        "acts": [
            {
                "name": scene.act.name,
                "title": scene.act.title,
                "orders": len(scene.journeys),
                "answers": dict(scene.answers),
                "outcomes": dict(scene.outcomes),
                "as_foretold": scene.as_foretold,
            }
            for scene in ending.story.scenes
        ],
        "story": [text for _, text in ending.story.lines],
        "api": ending.story.api,
        "simulator": ending.story.simulator,
        "database": str(ending.access.database),
        "staff": {"email": ending.access.staff.email, "password": ending.access.staff.password},
        "token": ending.token,
        "pids": ending.pids,
    }


def picture(ending: Ending) -> str:
    """The end as an SVG that needs nothing from elsewhere: rich's own frame, less the fonts it would fetch."""
    console = Console(record=True, width=PICTURE_WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
    width = painting.width_of(console)
    console.print(Group(*_story(console, ending, width), Text(), *painting.verdict(ending.checks, width)))
    drawn = console.export_svg(title="orderkit demo", unique_id="demo")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)
