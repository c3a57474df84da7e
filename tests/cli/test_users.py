"""`orderkit users`: how the first admin comes to be, and what becomes of accounts."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from typing import Any

import pytest
import typer
from sqlmodel import col, select

from orderkit.auth import accounts, callers, sessions
from orderkit.auth.models import AuditEntry, User
from orderkit.cli import users
from orderkit.cli.main import main
from orderkit.db import Database
from tests.cli.conftest import Cli
from tests.factories import all_users, logs_in


@pytest.fixture(autouse=True)
def _on_the_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERKIT_DATABASE_URL", database.url.render_as_string(hide_password=False))


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
        (["ada@example.com", "--admin", "--role", "customer"], "", 2, "two roles"),
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
    assert len(all_users(database)) == 1


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
    assert bool(logs_in(database, "ada@example.com", "correct horse")) is works


def test_made_up_passwords_differ_and_are_long() -> None:
    made = {users._generated() for _ in range(50)}
    assert len(made) == 50
    assert all(len(password) == 24 for password in made)


def test_the_list_goes_on_where_it_stopped(cli: Cli, database: Database) -> None:
    for name in "cab":
        accounts.create(database, f"{name}@example.com", name, None)
    first = cli("users", "list", "--limit", "2")
    assert [line.split()[0] for line in first.out.splitlines()] == ["email", "a@example.com", "b@example.com"]
    assert "--after=b@example.com" in first.err
    rest = json.loads(cli("users", "list", "--after", "b@example.com", "--json").out)
    assert [one["email"] for one in rest] == ["c@example.com"]


@pytest.mark.parametrize("local", ["`id`", "$home", "a|b", "a&b", "--json", "o'brien", "*"])
def test_what_the_list_says_to_run_can_be_pasted_whatever_the_address(cli: Cli, database: Database, local: str) -> None:
    for name in (local, "~last"):
        accounts.create(database, f"{name}@example.com", "Somebody", None)
    told = cli("users", "list", "--limit", "1").err.strip()
    program, *arguments = shlex.split(told.removeprefix("more may follow: "))
    assert (program, arguments) == ("orderkit", ["users", "list", f"--after={local}@example.com"])
    assert re.fullmatch(r"more may follow: orderkit users list --after=([\w@.=-]|'[^']*'|\"'\")+", told)
    assert [one["email"] for one in json.loads(cli(*arguments, "--json").out)] == ["~last@example.com"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--after", "\udcff"],
        ["list", "--q", "\udcff"],
        ["show", "\udcff@example.com"],
        ["create", "ada@example.com", "--name", "\udcff\udcfe"],
        ["create", "ada@example.com", "--name", ""],
        ["create", "ada@example.com", "--name", "\u200b"],
        ["create", "ada@example.com", "--name", "a\u202eb"],
        ["create", "ada@example.com", "--name", "x" * 201],
        ["create", "=?utf-8?q?x?=@example.com"],
    ],
    ids=ascii,
)
def test_what_is_no_text_or_no_name_is_wrong_use(cli: Cli, database: Database, arguments: list[str]) -> None:
    """Python gives bytes that it cannot decode as halves of characters."""
    told = cli("users", *arguments)
    assert (told.code, told.out) == (2, "")
    assert told.err.count("\n") == 1
    assert "UnicodeEncodeError" not in told.err
    assert all_users(database) == []


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["--role", "king"], "", "error: there is no role king; roles are admin, analyst, creator, customer"),
        (["--password-stdin"], "short\n", "error: the password has to have 8 to 128 characters"),
    ],
)
def test_nothing_is_said_twice(cli: Cli, arguments: list[str], stdin: str, said: str) -> None:
    told = cli("users", "create", "ada@example.com", *arguments, stdin=stdin).err
    assert told.startswith(said)
    assert told.count("is no role") + told.count("8 to 128") <= 1


@pytest.mark.usefixtures("narrow_terminal")
def test_a_narrow_terminal_shows_whole_addresses_and_ids(cli: Cli, database: Database) -> None:
    made = [accounts.create(database, f"{name}@a-rather-long-name.example.com", name, None) for name in "ab"]
    told = cli("users", "list").out
    for user in made:
        assert user.email in told
        assert str(user.id) in told
    assert "…" not in told
    assert max(map(len, told.splitlines())) <= 80


# ── after they were made ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def ada(database: Database) -> User:
    return accounts.create(database, "ada@example.com", "Ada", "correct horse")


def stored(database: Database, user: User) -> User:
    with database.reading() as session:
        return session.get_one(User, user.id)


def entries(database: Database) -> list[tuple[str, str, dict[str, Any]]]:
    """Of the audit log: what was done, to whom, and how; each by nobody's account, from the command line."""
    with database.reading() as session:
        found = session.scalars(select(AuditEntry).order_by(col(AuditEntry.at))).all()
    assert all(one.actor_id is None and one.source.startswith("command line (") for one in found)
    return [(one.action, one.subject, one.detail) for one in found]


@pytest.mark.parametrize("role", ["support", "operations", "analyst", "creator", "moderator", "admin"])
def test_an_account_can_have_any_role_there_is_and_the_log_says_so(cli: Cli, database: Database, role: str) -> None:
    made = json.loads(cli("users", "create", "ada@example.com", "--role", role, "--json").out)
    assert made["role"] == role
    assert entries(database) == [("user.created", f"user:{made['id']}", {"role": role})]


def test_admin_said_twice_is_admin(cli: Cli) -> None:
    assert "(admin)" in cli("users", "create", "ada@example.com", "--admin", "--role", "admin").out


def test_a_role_is_given_and_taken(cli: Cli, database: Database, ada: User) -> None:
    assert cli("users", "grant", "ADA@example.com", "support").code == 0
    assert stored(database, ada).role == "support"
    assert cli("users", "permissions", "ada@example.com").out.splitlines()[1].startswith("orders:read")
    listed = json.loads(cli("users", "permissions", "ada@example.com", "--json").out)
    assert [one["permission"] for one in listed] == ["orders:read", "orders:refund", "orders:write", "system:read"]
    assert cli("users", "grant", "ada@example.com", "customer").code == 0
    told = cli("users", "permissions", "ada@example.com")
    assert (told.code, told.out) == (0, "")
    assert "nothing but what every account may" in told.err
    assert json.loads(cli("users", "permissions", "ada@example.com", "--json").out) == []
    assert [detail for _action, _subject, detail in entries(database)] == [
        {"from": "customer", "to": "support"},
        {"from": "support", "to": "customer"},
    ]


def test_a_ban_keeps_somebody_out_until_it_is_taken_back(cli: Cli, database: Database, ada: User) -> None:
    granted = sessions.start(database, ada, days=30)
    assert cli("users", "ban", "ada@example.com").code == 0
    assert not logs_in(database, "ada@example.com", "correct horse")
    assert callers.of_session(database, ada.id, granted.session_id) is None
    assert "banned" in cli("users", "list").out
    assert "banned_at    20" in cli("users", "show", "ada@example.com").out
    assert cli("users", "unban", "ada@example.com").code == 0
    assert logs_in(database, "ada@example.com", "correct horse")
    assert [action for action, _subject, _detail in entries(database)] == ["user.banned", "user.unbanned"]


def test_the_command_line_may_ban_the_last_admin(cli: Cli, database: Database, ada: User) -> None:
    """Whoever has the database can make another; over the API nobody could."""
    cli("users", "grant", "ada@example.com", "admin")
    assert cli("users", "ban", "ada@example.com").code == 0
    assert stored(database, ada).banned_at is not None


def test_an_account_is_shown_without_its_password(cli: Cli, database: Database, ada: User) -> None:
    cli("users", "grant", "ada@example.com", "creator")
    told = cli("users", "show", "ada@example.com").out
    assert told.splitlines()[0] == f"id           {ada.id}"
    assert "permissions  catalog:write" in told
    shown = json.loads(cli("users", "show", "ada@example.com", "--json").out)
    assert (shown["name"], shown["permissions"]) == ("Ada", ["catalog:write"])
    assert "argon2" not in told + str(shown)


def test_a_new_password_ends_all_sessions(cli: Cli, database: Database, ada: User) -> None:
    granted = sessions.start(database, ada, days=30)
    told = cli("users", "password", "ada@example.com", "--password-stdin", stdin="battery staple\n")
    assert (told.code, "battery" in told.out + told.err) == (0, False)
    assert logs_in(database, "ada@example.com", "battery staple")
    assert callers.of_session(database, ada.id, granted.session_id) is None
    made_up = cli("users", "password", "ada@example.com").out.splitlines()[1]
    assert logs_in(database, "ada@example.com", made_up.removeprefix("password: ").partition(" ")[0])
    assert [action for action, _subject, _detail in entries(database)] == ["user.password_changed"] * 2


def test_an_account_is_deleted_only_when_that_is_meant(cli: Cli, database: Database, ada: User) -> None:
    refused = cli("users", "delete", "ada@example.com")
    assert (refused.code, "--yes" in refused.err) == (2, True)
    assert stored(database, ada).deleted_at is None
    assert cli("users", "delete", "ada@example.com", "--yes").code == 0
    assert stored(database, ada).name == "deleted user"
    assert cli("users", "list", "--json").out == cli("users", "list", "--q", "deleted", "--json").out == "[]\n"
    assert entries(database) == [("user.deleted", f"user:{ada.id}", {})]
    assert cli("users", "create", "ada@example.com").code == 0, "the address is free"


def test_the_list_can_be_searched(cli: Cli, database: Database, ada: User) -> None:
    accounts.create(database, "zoe@example.com", "ADA Z", None)
    accounts.create(database, "bob@example.com", "Bob", None)
    found = json.loads(cli("users", "list", "--q", "Ada", "--json").out)
    assert [one["email"] for one in found] == ["ada@example.com", "zoe@example.com"]
    assert [one["name"] for one in json.loads(cli("users", "list", "--q", str(ada.id), "--json").out)] == ["Ada"]
    some = cli("users", "list", "--q", "ada", "--limit", "1")
    assert "--limit 10" in some.err
    assert cli("users", "list", "--q", "ada", "--after", "a@example.com").code == 2


@pytest.mark.parametrize(
    "arguments",
    [["show"], ["ban"], ["unban"], ["permissions"], ["delete", "--yes"], ["password"], ["grant", "support"]],
)
def test_who_is_not_there_is_told_in_one_line(cli: Cli, database: Database, arguments: list[str]) -> None:
    command, *more = arguments
    told = cli("users", command, "nobody@example.com", *more)
    assert (told.code, told.out, told.err.count("\n")) == (1, "", 1)
    assert "there is no user nobody@example.com" in told.err
    assert entries(database) == []


def test_a_role_that_is_none_is_wrong_use(cli: Cli, database: Database, ada: User) -> None:
    told = cli("users", "grant", "ada@example.com", "king")
    assert (told.code, told.out) == (2, "")
    assert "there is no role king; roles are admin, analyst" in told.err
    assert stored(database, ada).role == "customer"
