"""`orderkit roles`: what each role may do, changed in one line, and told with who did it."""

from __future__ import annotations

import getpass
import json
import os
import pwd
import sys
from pathlib import Path
from typing import Any

import pytest

from orderkit.api.access import Access
from orderkit.api.dependencies import ACCOUNT, ANYONE, SESSION
from orderkit.auth import audit_log
from orderkit.auth.audit_log import Actor
from orderkit.auth.roles import Described
from orderkit.cli import access_page
from orderkit.cli.acting import acting
from orderkit.db import Database
from orderkit.ids import new_id
from tests.cli.conftest import Cli
from tests.conftest import ROOT
from tests.factories import GRANTS


@pytest.fixture
def _on_the_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERKIT_DATABASE_URL", database.url.render_as_string(hide_password=False))


pytestmark = pytest.mark.usefixtures("_on_the_database")


def listed(cli: Cli) -> dict[str, tuple[str, ...]]:
    return {one["name"]: tuple(one["permissions"]) for one in json.loads(cli("roles", "list", "--json").out)}


def told(cli: Cli, *options: str) -> list[dict[str, Any]]:
    found = json.loads(cli("roles", "history", "--json", *options).out)
    assert isinstance(found, list)
    return found


def test_the_list_says_what_each_role_may_do(cli: Cli) -> None:
    assert listed(cli) == {"customer": (), **GRANTS}
    lines = cli("roles", "list").out.splitlines()
    assert lines[0].split() == ["role", "permissions", "description"]
    assert "orders:read, orders:refund, orders:write" in next(line for line in lines if line.startswith("support"))


def test_grant_and_revoke_change_a_role_and_say_what_it_may_now(cli: Cli) -> None:
    granted = cli("roles", "grant", "creator", "inventory:write", "orders:read")
    assert (granted.code, granted.out) == (0, "creator may now: catalog:write, inventory:write, orders:read\n")
    revoked = cli("roles", "revoke", "creator", "catalog:write", "orders:read", "inventory:write")
    assert (revoked.code, revoked.out) == (0, "creator may now: nothing but what every account may\n")
    assert listed(cli)["creator"] == ()


def test_history_says_who_when_what_and_from_where(cli: Cli) -> None:
    cli("roles", "grant", "creator", "orders:read")
    cli("roles", "revoke", "creator", "orders:read", "catalog:write")
    cli("roles", "grant", "support", "audit:read")
    newest, second, first = told(cli)
    assert first["detail"] == {"added": ["orders:read"], "removed": []}
    assert second["detail"] == {"added": [], "removed": ["catalog:write", "orders:read"]}
    assert newest["subject"] == "role:support"
    for entry in (newest, second, first):
        assert entry["action"] == "role.permissions_changed"
        assert (entry["actor_id"], entry["source"]) == (None, f"command line ({pwd.getpwuid(os.getuid()).pw_name})")
    assert told(cli, "--subject", "role:creator") == [second, first]

    table = cli("roles", "history", "--limit", "1")
    assert [line.split()[0] for line in table.out.splitlines()] == [
        "at",
        newest["at"][:10] + "T" + newest["at"][11:19] + "Z",
    ]
    assert "--limit 10" in table.err
    some = cli("roles", "history", "--limit", "1", "--subject", "role:creator").err
    assert some.endswith("orderkit roles history --subject=role:creator --limit 10\n")


def test_what_changes_nothing_is_not_in_the_history(cli: Cli) -> None:
    assert cli("roles", "grant", "creator", "catalog:write").code == 0
    assert cli("roles", "revoke", "creator", "orders:read").code == 0
    assert (cli("roles", "history").out, told(cli)) == ("none\n", [])


def test_whoever_acts_is_the_owner_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert getpass.getuser() == "somebody-else"
    assert "somebody-else" not in acting().source
    monkeypatch.setattr(os, "getuid", lambda: 987654)
    assert acting() == Actor(None, "command line (user 987654)")


def test_where_users_have_no_numbers_the_system_is_asked_who_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, which has neither `pwd` nor `os.getuid`."""
    monkeypatch.setitem(sys.modules, "pwd", None)
    monkeypatch.delattr(os, "getuid")
    monkeypatch.setenv("USERNAME", "somebody-else")
    monkeypatch.setattr(os, "getlogin", lambda: "ada")
    assert acting() == Actor(None, "command line (ada)")

    def nobody() -> str:
        raise OSError(22, "no such session")

    monkeypatch.setattr(os, "getlogin", nobody)
    assert acting() == Actor(None, "command line (unknown)")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["grant", "king", "orders:read"], 1, "there is no role king; roles are admin, analyst"),
        (["grant", "support", "orders:read", "orders:eat"], 2, "there is no permission orders:eat; permissions are"),
        (["revoke", "support", "orders:eat"], 2, "there is no permission orders:eat"),
        (["revoke", "admin", "roles:manage"], 1, "admin keeps every permission"),
        (["revoke", "admin", "audit:read", "orders:read"], 1, "admin keeps every permission"),
        (["grant", "support"], 2, "permissions"),
        (["history", "--limit", "0"], 2, "--limit"),
        (["matrix", "-o", "none/access.md"], 2, "cannot write none/access.md"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line_and_changes_nothing(
    cli: Cli, arguments: list[str], code: int, said: str
) -> None:
    told_ = cli("roles", *arguments)
    assert (told_.code, told_.out) == (code, "")
    assert said in told_.err
    assert told_.err.count("\n") == 1
    assert listed(cli) == {"customer": (), **GRANTS}
    assert told(cli) == []


@pytest.mark.usefixtures("narrow_terminal")
def test_a_narrow_terminal_shows_whole_subjects(cli: Cli, database: Database) -> None:
    subject = f"user:{new_id()}"
    with database.transaction() as session:
        audit_log.record(session.connection(), Actor(new_id(), "127.0.0.1"), "user.banned", subject)
    shown = cli("roles", "history").out
    assert subject in shown
    assert max(map(len, shown.splitlines())) <= 80


class TestThePage:
    """docs/access.md, which is printed from the routes and a fresh database."""

    @pytest.fixture
    def engine_name(self) -> str:
        """One engine will do: the page is made of a database of its own."""
        return "sqlite"

    def test_it_is_what_the_routes_and_a_fresh_installation_say(self, cli: Cli) -> None:
        printed = cli("roles", "matrix")
        assert printed.code == 0
        committed = (ROOT / "docs" / "access.md").read_text(encoding="utf-8")
        assert committed == printed.out, "run: orderkit roles matrix -o docs/access.md"
        assert cli("roles", "matrix", "-o", "page.md") == (0, "", "")
        assert Path("page.md").read_text(encoding="utf-8") == committed

    def test_it_says_nothing_of_what_this_installation_changed(self, cli: Cli) -> None:
        before = cli("roles", "matrix").out
        cli("roles", "grant", "creator", "orders:read")
        assert cli("roles", "matrix").out == before

    def test_each_rule_is_a_row_of_marks(self) -> None:
        roles = [Described("b", "B.", ("orders:read",)), Described("a", "A.", ())]
        rules = [
            Access("GET", "/1", ANYONE),
            Access("GET", "/2", ACCOUNT),
            Access("GET", "/3", SESSION),
            Access("GET", "/4", "orders:read"),
            Access("GET", "/5", "orders:own"),
        ]
        page = access_page.page(roles, rules).splitlines()
        rows = [line for line in page if line.startswith("| GET")]
        assert rows == [
            "| GET | `/1` | anyone | ● | ● | ● | ● |",
            "| GET | `/2` | account |  | ● | ● | ● |",
            "| GET | `/3` | session |  | ● | ● |  |",
            "| GET | `/4` | `orders:read` |  |  | ● | *scope* |",
            "| GET | `/5` | `orders:own` |  | ● | ● | *scope* |",
        ]
        assert "| `orders:read` | See everyone's orders. |  | ● |" in page
