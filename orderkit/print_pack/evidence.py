"""Evidence: what a run of the software found, with when, of which commit, on which machine, and how to find it again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orderkit import __version__, assets
from orderkit.clock import now
from orderkit.errors import Invalid
from orderkit.print_pack import stamps

PACK = "orderkit print-pack"
CHEAP = {
    "openapi": PACK,
    "models": PACK,
    "plans": PACK,
    "checks": PACK,
    "versions": PACK,
    "commands": PACK,
    "settings": PACK,
}
"""Gathered at every run, and the command that does it."""
DEAR = {
    "coverage": "./check",
    "load": "python -m loadtests.against_pgbench --evidence .orderkit/evidence/load.json",
    "overload": "python -m loadtests.overload --evidence .orderkit/evidence/overload.json",
    "reports": "python -m loadtests.reports --evidence .orderkit/evidence/reports.json",
    "seeding": "python -m loadtests.seeding --evidence .orderkit/evidence/seeding.json",
    "demo": "orderkit print-pack --collect",
    "faults": "",
}
"""Made by commands that take minutes, and kept. "": this version has no command that makes it."""
HOW: Mapping[str, str] = CHEAP | DEAR


@dataclass(frozen=True, slots=True)
class Piece:
    """What one command found. `data` is JSON: objects, lists, texts, numbers."""

    name: str
    made_at: datetime
    commit: str
    version: str
    machine: str
    command: str
    data: Any

    @property
    def at(self) -> str:
        """When, to the minute."""
        return f"{self.made_at:%Y-%m-%d %H:%M} UTC"

    @property
    def stamp(self) -> str:
        """When, what and where, on one line."""
        return f"{self.at}, orderkit {self.version} ({self.commit}), {self.machine}"

    def told(self) -> str:
        """As the file has it."""
        fields = asdict(self) | {"made_at": f"{self.made_at:%Y-%m-%dT%H:%M:%SZ}"}
        return json.dumps(fields, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def stamped(name: str, data: Any, command: str | None = None) -> Piece:
    """What was found just now, by this program on this machine."""
    plain = json.loads(json.dumps(data, default=str))  # as a file gives it back
    made_at = now().replace(microsecond=0)
    return Piece(name, made_at, stamps.revision(), __version__, stamps.machine(), command or HOW[name], plain)


def read(path: Path) -> Piece:
    """Raises Invalid for a file that is no evidence."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        at = datetime.strptime(fields.pop("made_at"), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        return Piece(made_at=at, **fields)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Invalid(f"{path} is no evidence ({type(error).__name__}: {error}); delete it and make it again") from None


def write(piece: Piece, path: Path) -> None:
    """Raises Invalid where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(piece.told(), encoding="utf-8")
    except OSError as error:
        raise Invalid(f"cannot write {path}: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class Store:
    """Evidence of this installation in `home`, and what came with orderkit. The newer of the two counts."""

    home: Path
    bundled: Path | None

    @classmethod
    def of(cls, home: Path) -> Store:
        """`home` is ORDERKIT_HOME."""
        try:
            bundled = assets.asset("print-pack") / "evidence"
        except FileNotFoundError:
            bundled = None
        return cls(home / "evidence", bundled)

    def find(self, name: str) -> Piece | None:
        """None where there is none yet. Raises Invalid for a file that is no evidence."""
        found = [read(path) for path in self._paths(name) if path.exists()]
        return max(found, key=lambda piece: piece.made_at, default=None)

    def keep(self, piece: Piece) -> Piece:
        """Writes it to `home`, unless the same was found before by the same program: then gives back that one, so that a pack
        built again is the same, byte for byte.
        """
        before = self.find(piece.name)
        if before is not None and _sameness(before) == _sameness(piece):
            return before
        write(piece, self.home / f"{piece.name}.json")
        return piece

    def _paths(self, name: str) -> Iterator[Path]:
        yield self.home / f"{name}.json"
        if self.bundled is not None:
            yield self.bundled / f"{name}.json"


def _sameness(piece: Piece) -> tuple[Any, ...]:
    return piece.commit, piece.version, piece.machine, piece.command, piece.data
