"""The frame of the command line: what is listed, what is imported, and how a failure is told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML
from sqlalchemy.exc import OperationalError

from orderkit.cli import failures, main, version
from orderkit.errors import ConfigurationError, Conflict, Invalid, NotFound, Unavailable
from tests.cli.conftest import Cli

HEAVY = {"sqlmodel", "sqlalchemy", "fastapi", "huey", "alembic", "aiohttp", "psycopg", "redis", "uvicorn"}


def all_commands() -> Iterator[tuple[str, Any]]:
    """Every command that does something, by what one types."""
    for name in main.COMMANDS:
        command = main.load(name)
        inner = getattr(command, "commands", None)
        for sub, one in (inner or {}).items():
            yield f"{name} {sub}", one
        if not inner:
            yield name, command


@pytest.mark.parametrize("name", list(main.COMMANDS))
def test_the_listed_line_is_the_first_of_the_help(name: str) -> None:
    help_text = main.load(name).help or ""
    assert help_text.splitlines()[0] == main.COMMANDS[name][1]


def test_every_command_has_help_and_an_example() -> None:
    for name, command in all_commands():
        assert command.help, name
        assert (command.epilog or "").startswith(f"Example: orderkit {name}"), name


@pytest.mark.parametrize("name", list(main.COMMANDS))
def test_the_help_of_a_group_ends_with_an_example(cli: Cli, name: str) -> None:
    assert f"Example: orderkit {name}" in cli(name, "--help").out


def test_help_tells_no_type_of_a_flag_and_breaks_no_number(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for command in ((), ("demo",), ("orders", "list"), ("stock", "move")):
        told = cli(*command, "--help").out
        assert "--help" in told
        assert "<bool>" not in told
        assert not re.search(r"x<=\d+ *│", told), told
    assert "[1<=x<=10000]" in cli("orders", "list", "--help").out


def test_every_option_and_argument_is_explained() -> None:
    for name, command in all_commands():
        assert [one.name for one in command.params if not one.help] == [], name


def test_help_lists_every_command(cli: Cli) -> None:
    told = cli("--help")
    assert told.code == 0
    for name in main.COMMANDS:
        assert re.search(rf"(?m)^\W*{name}\b", told.out), name
    assert cli() == told


EVERY_HELP = """
import sys
from orderkit.cli.main import COMMANDS, main
for arguments in ["--help"], *([name, "--help"] for name in COMMANDS):
    sys.argv = ["orderkit", *arguments]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code
    print("HEAVY", *arguments, *HEAVY & set(sys.modules))
"""


def test_help_imports_nothing_heavy() -> None:
    script = EVERY_HELP.replace("HEAVY &", f"{HEAVY!r} &")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    imported = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("HEAVY")]
    assert imported == [["--help"], *([name, "--help"] for name in main.COMMANDS)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["confg"], "Did you mean 'config'?"),
        (["version", "--nonsense"], "No such option"),
        (["version", "extra"], "extra"),
        (["users", "create"], "(see orderkit users create --help)"),
        (["users", "nonsense"], "No such command"),
        (["serve", "--port", "x"], "--port"),
        (["serve", "--port", "70000"], "--port"),
        (["serve", "--workers", "0"], "--workers"),
        (["serve", "--workers", "1.0"], "'--workers': 1.0 is not a whole number"),
        (["orders", "list", "--limit", "1.0"], "'--limit': 1.0 is not a whole number"),
        (["seed", "--seed", " 5"], "not a whole number"),
    ],
)
def test_wrong_use_is_one_line_on_stderr_and_exit_2(cli: Cli, arguments: list[str], said: str) -> None:
    told = cli(*arguments)
    assert (told.code, told.out) == (2, "")
    assert said in told.err
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Has `orderkit version` fail with `error`."""
    app = typer.Typer()

    @app.command()
    def fail() -> None:
        raise error

    monkeypatch.setattr(version, "app", app)


REFUSED = Exception('connection failed: connection to server at "127.0.0.1", port 1 failed: refused\n\tIs it running?')


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigurationError("ORDERKIT_X is wrong"), 2, "error: ORDERKIT_X is wrong"),
        (Invalid("no good", pointers=[("#/a", "too short")]), 2, "error: no good; too short"),
        (Invalid("it is too short", pointers=[("#/a", "is too short")] * 2), 2, "error: it is too short\n"),
        (Invalid("no good", pointers=[("#/a", "too short"), ("#/b", "too short")]), 2, "error: no good; too short\n"),
        (UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "surrogates not allowed"), 2, "no text in UTF-8"),
        (UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range"), 1, "error: UnicodeEncodeError"),
        (Conflict("there is one already"), 1, "error: there is one already"),
        (NotFound("there is none"), 1, "error: there is none"),
        (Unavailable("not now"), 1, "error: not now"),
        (OperationalError("SELECT secret", {}, REFUSED), 1, "refused); check ORDERKIT_DATABASE_URL"),
        (OperationalError("SELECT", {}, Exception("no such table: users")), 1, "run: orderkit migrate"),
        (KeyError("boom"), 1, "error: KeyError: 'boom'; orderkit --debug"),
        (RuntimeError(), 1, "error: RuntimeError: "),
        (typer.Abort(), 1, "error: given up"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(32, "Broken pipe"), 1, ""),
        (typer.Exit(7), 7, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_a_failure_is_one_line_that_says_what_to_do(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # what a broken pipe puts in its place is put back
    failing(monkeypatch, error)
    told = cli("version")
    assert (told.code, told.out) == (code, "")
    assert said in told.err
    assert told.err.count("\n") == (1 if said else 0)
    assert "Traceback" not in told.err
    assert "SELECT" not in told.err


def test_debug_shows_the_trace(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, KeyError("boom"))
    monkeypatch.setattr(sys, "argv", ["orderkit", "--debug", "version"])
    with pytest.raises(KeyError):
        main.main()


def test_version(cli: Cli) -> None:
    assert re.fullmatch(r"orderkit \d+\.\d+\.\d+\S*\n", cli("version").out)
    assert cli("--version") == cli("version")
    assert cli("version", "--json").out.startswith('{\n  "orderkit": "')


def test_openapi_is_written_without_a_database(cli: Cli, tmp_path: Path) -> None:
    told = cli("openapi")
    assert (told.code, told.err) == (0, "")
    assert '"openapi": "3.' in told.out
    assert cli("openapi", "-o", str(tmp_path / "openapi.json")).out == ""
    assert (tmp_path / "openapi.json").read_text() == told.out
    assert cli("openapi", "-o", str(tmp_path / "none" / "openapi.json")).code == 2


@pytest.mark.parametrize("name", ["openapi.yaml", "openapi.YML"])
def test_openapi_is_yaml_in_a_file_that_is_called_so(cli: Cli, tmp_path: Path, name: str) -> None:
    assert cli("openapi", "-o", str(tmp_path / name)).out == ""
    written = YAML(typ="safe", pure=True).load((tmp_path / name).read_text(encoding="utf-8"))
    assert written == json.loads(cli("openapi").out)


def test_openapi_prints_a_collection_for_postman(cli: Cli) -> None:
    collection = json.loads(cli("openapi", "--postman").out)
    assert collection["info"]["schema"].endswith("/v2.1.0/collection.json")
    assert collection["item"][0]["name"] == "The whole journey"


def test_openapi_prints_one_thing_at_a_time(cli: Cli) -> None:
    told = cli("openapi", "--postman", "--errors")
    assert (told.code, told.out) == (2, "")
    assert "one at a time" in told.err
    assert not Path(".orderkit").exists()


def test_an_explanation_never_has_two_lines() -> None:
    line, _ = failures.explain(ValueError("first\nsecond"))
    assert line == "error: ValueError: first; orderkit --debug … shows the trace"
