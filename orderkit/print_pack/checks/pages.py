"""What the lists of the pack are made of: items that name a check, and modules and weeks of them."""

from __future__ import annotations

from dataclasses import dataclass

from orderkit.print_pack.checks.table import CHECKS


@dataclass(frozen=True, slots=True)
class Item:
    """A line with a box. `check` says whether it is ticked."""

    text: str
    check: str

    @property
    def where(self) -> str:
        """Where this software shows it: the code, and the tests of it, as files."""
        return where(self.check)


@dataclass(frozen=True, slots=True)
class Module:
    """A part of the tracker. `rebuilds` are the skills that doing it brings back."""

    number: int
    title: str
    goal: str
    items: tuple[Item, ...]
    rebuilds: str


@dataclass(frozen=True, slots=True)
class Week:
    """A week of the six. `build` is done at the machine, `offline` without one; `bored` is what to switch to."""

    number: int
    title: str
    outcome: str
    build: tuple[Item, ...]
    offline: tuple[str, ...]
    bored: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """A week, or several, of a plan with a checklist and nothing else."""

    when: str
    title: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Criterion:
    """One of what the whole is accepted by. `items` are what it comes down to, `bring` the evidence to have at hand."""

    number: int
    title: str
    items: tuple[Item, ...]
    bring: str

    @property
    def checks(self) -> tuple[str, ...]:
        return tuple(item.check for item in self.items)


def where(check: str) -> str:
    """The first file that holds a check, and the last, which is of its tests."""
    files = [place.partition("::")[0] for place in CHECKS[check].places]
    return ", ".join(f"`{file}`" for file in dict.fromkeys((*files[:1], *files[-1:])))
