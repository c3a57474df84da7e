"""The command line, in this process or as one of its own."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from orderkit.cli import printing
from orderkit.cli.main import main


class Told(NamedTuple):
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


Cli = Callable[..., Told]


class Typed(io.StringIO):
    """What is typed in a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """`orderkit …` in this process. `stdin` is what is typed, in a terminal or, unless told so, in none."""

    def run(*arguments: str, stdin: str = "", terminal: bool = False) -> Told:
        monkeypatch.setattr(sys, "argv", ["orderkit", *arguments])
        monkeypatch.setattr(sys, "stdin", Typed(stdin) if terminal else io.StringIO(stdin))
        capsys.readouterr()  # what was logged before is not the command's
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Told(ended.value.code, said.out, said.err)

    return run


@pytest.fixture
def narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What commands print goes to a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(printing, "in_terminal", lambda: True)
