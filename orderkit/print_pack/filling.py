"""Filling the templates: evidence and templates in, Markdown out. Reads no clock, no database and no git."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orderkit.errors import Invalid
from orderkit.print_pack.artifacts import ARTIFACTS
from orderkit.print_pack.evidence import HOW, Piece

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True, slots=True)
class Pack:
    """What the templates know. `checks` has what each check said, `extra` what programs besides tell them, by name."""

    evidence: Mapping[str, Piece | None]
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def newest(self) -> Piece:
        """Raises Invalid where there is no evidence at all."""
        found = [piece for piece in self.evidence.values() if piece is not None]
        if not found:
            raise Invalid("there is no evidence to make a pack of")
        return max(found, key=lambda piece: (piece.made_at, piece.name))

    @property
    def made_at(self) -> datetime:
        return self.newest.made_at

    @property
    def commit(self) -> str:
        return self.newest.commit

    @property
    def version(self) -> str:
        return self.newest.version

    @property
    def machine(self) -> str:
        return self.newest.machine

    @property
    def checks(self) -> Mapping[str, Any]:
        """Of each check `ok` and `said`; empty where none ran."""
        piece = self.evidence.get("checks")
        return {} if piece is None else dict(piece.data)

    def missing(self) -> list[str]:
        """Names of evidence that a page shows and nobody has."""
        wanted = {name for artifact in ARTIFACTS for name in artifact.needs}
        return sorted(name for name in wanted if self.evidence.get(name) is None)

    def context(self) -> dict[str, Any]:
        return {"pack": self, "evidence": dict(self.evidence), "checks": self.checks, "how": HOW, **self.extra}


def environment_of(pack: Pack, templates: Path) -> Environment:
    """Jinja2 with the pack's context as globals, so that imported macros know it too."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(templates),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown is no HTML
    )
    environment.globals.update(pack.context())
    return environment


def filled(environment: Environment, file: str) -> str:
    """One artifact. Raises Invalid with template and line for what does not go."""
    from jinja2 import TemplateError

    try:
        return environment.get_template(f"{file}.j2").render()
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        raise Invalid(f"{file}.j2{f', line {line}' if line else ''}: {error}") from error
