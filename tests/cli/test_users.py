"""`orderkit users`: how the first admin comes to be."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest
import typer

from orderkit.auth import accounts
from orderkit.cli import users
from orderkit.cli.main import main
from orderkit.db import Database
from tests.cli.conftest import Cli


@pytest.fixture(autouse=True)
def _on_the_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERKIT_DATABASE_URL", database.url.render_as_string(hide_password=False))


def logs_in(database: Database, email: str, password: str) -> bool:
    return accounts.authenticate(database, email, password) is not None


def test_nobody_is_there_by_default(cli: Cli) -> None:
    assert cli("users", "list", "--json").out == "[]\n"


def test_a_made_up_password_is_shown_once_and_works(cli: Cli, database: Database) -> None:
    told = cli("users", "create", "Ada@example.com", "--admin")
    assert told.code == 0
    first, second = told.out.splitlines()
    assert first == "created ada@example.com (admin)"
    password = second.removeprefix("password: ").partition(" ")[0]
    assert len(password) >= 20
    assert logs_in(database, "ada@example.com", password)
    assert password not in cli("users", "list").out


def test_a_given_password_is_taken_from_stdin_and_never_shown(cli: Cli, database: Database) -> None:
    told = cli("users", "create", "ada@example.com", "--password-stdin", "--json", stdin="correct horse\nmore\n")
    made = json.loads(told.out)
    assert made.keys() == {"id", "email", "name", "role"}
    assert (made["name"], made["role"]) == ("ada", "customer")
    assert "correct horse" not in told.out + told.err
    assert logs_in(database, "ada@example.com", "correct horse")


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "said"),
    [
        (["nonsense"], "", 2, "e-mail address"),
        (["ada@example.com", "--password-stdin"], "", 2, "no password on stdin"),
        (["ada@example.com", "--password-stdin"], "\n", 2, "no password on stdin"),
        (["ada@example.com", "--password-stdin"], "short\n", 2, "8 to 128 characters"),
        (["ada@example.com", "--role", "king"], "", 2, "no role king"),
        (["taken@example.com"], "", 1, "already"),
    ],
)
def test_what_cannot_be_made_is_told_in_one_line(
    cli: Cli, database: Database, arguments: list[str], stdin: str, code: int, said: str
) -> None:
    accounts.create(database, "taken@example.com", "T", None)
    told = cli("users", "create", *arguments, stdin=stdin)
    assert (told.code, told.out) == (code, "")
    assert said in told.err
    assert told.err.count("\n") == 1
    assert len(accounts.page(database, limit=10)) == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "code", "works"), [(["correct horse", "correct horse"], 0, True), (["correct horse", "other"], 2, False)]
)
def test_in_a_terminal_a_password_is_typed_twice(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: list[str],
    code: int,
    works: bool,
) -> None:
    answers = iter(typed)

    def prompt(*_: Any, hide_input: bool, **__: Any) -> str:
        assert hide_input
        return next(answers)

    monkeypatch.setattr(typer, "prompt", prompt)
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys, "argv", ["orderkit", "users", "create", "ada@example.com"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    assert "correct horse" not in capsys.readouterr().out
    assert logs_in(database, "ada@example.com", "correct horse") == works


def test_made_up_passwords_differ_and_are_long() -> None:
    made = {users._generated() for _ in range(50)}
    assert len(made) == 50
    assert all(len(password) == 24 for password in made)


def test_the_list_goes_on_where_it_stopped(cli: Cli, database: Database) -> None:
    for name in "cab":
        accounts.create(database, f"{name}@example.com", name, None)
    first = cli("users", "list", "--limit", "2")
    assert [line.split()[0] for line in first.out.splitlines()] == ["email", "a@example.com", "b@example.com"]
    assert "--after b@example.com" in first.err
    rest = json.loads(cli("users", "list", "--after", "b@example.com", "--json").out)
    assert [one["email"] for one in rest] == ["c@example.com"]


@pytest.mark.usefixtures("narrow_terminal")
def test_a_narrow_terminal_shows_whole_addresses_and_ids(cli: Cli, database: Database) -> None:
    made = [accounts.create(database, f"{name}@a-rather-long-name.example.com", name, None) for name in "ab"]
    told = cli("users", "list").out
    for user in made:
        assert user.email in told
        assert str(user.id) in told
    assert "…" not in told
    assert max(map(len, told.splitlines())) <= 80
