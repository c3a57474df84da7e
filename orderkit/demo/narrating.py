"""Telling the story while it happens: a screen that lives in a terminal, one line after the other elsewhere."""

from __future__ import annotations

from typing import Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from orderkit.demo import painting
from orderkit.demo.story import Scene, Story


class Narrator(Protocol):
    """Tells a story. `close` may be called at any time, and again."""

    def open(self, story: Story) -> None: ...

    def refresh(self) -> None:
        """Something may have changed. Called several times a second."""

    def close(self) -> None: ...


class Silent:
    """For programs, which only want the end of it."""

    def open(self, story: Story) -> None:
        """Nothing to see."""

    def refresh(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to leave behind."""


class Screen:
    """Takes the terminal's alternate screen while the story plays, so that no frame stays behind or runs over."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._story: Story | None = None

    def open(self, story: Story) -> None:
        self._story = story
        self._live = Live(self._frame(), console=self._console, screen=True, auto_refresh=False)
        self._live.start()

    def refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._frame(), refresh=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _frame(self) -> RenderableType:
        assert self._story is not None  # noqa: S101 - set before the first frame
        return painting.frame(self._console, self._story)


class Lines:
    """A line for each thing that is told and each act that ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._ended: set[str] = set()
        self._story: Story | None = None

    def open(self, story: Story) -> None:
        self._story = story
        story.listener = self._say
        self._print("orderkit demo on SQLite, with no service installed")
        self._print(f"serve {story.api}, worker, simulate {story.simulator}")

    def refresh(self) -> None:
        for scene in self._story.scenes if self._story is not None else ():
            if scene.done and scene.act.name not in self._ended:
                self._ended.add(scene.act.name)
                self._say(max(journey.ended or 0 for journey in scene.journeys), _summary(scene))

    def close(self) -> None:
        self.refresh()
        self._story = None

    def _say(self, at: float, text: str) -> None:
        self._print(f"{at:5.1f} s  {text}")

    def _print(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)


def _summary(scene: Scene) -> str:
    """An act that has ended, in one line."""
    http = ", ".join(f"{status}" + (f" ×{count}" if count > 1 else "") for status, count in scene.answers.items())
    if len(scene.journeys) > 1:
        ends = ", ".join(f"{count} {state}" for state, count in scene.outcomes.items())
        return f"{painting.title(scene)}: {http}: {ends}"
    seen = scene.journeys[0].seen
    if seen is None:
        return f"{scene.act.title}: {http}: {scene.journeys[0].outcome}"
    calls = f" after {seen.charges} calls to the provider" if seen.charges > 1 else ""
    calls += f" after {seen.bookings} calls to the carrier" if seen.bookings > 1 else ""
    return f"{scene.act.title}: {http}: {' → '.join(seen.path)}{calls}"
