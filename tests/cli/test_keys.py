"""`orderkit keys`: a new key takes over without logging anybody out, and what that means is said."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from orderkit.auth import audit_log, signing_keys
from orderkit.auth.audit_log import Entry
from orderkit.db import Database
from orderkit.ids import new_id
from tests.cli.conftest import Cli

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@pytest.fixture(autouse=True)
def _on_the_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERKIT_DATABASE_URL", database.url.render_as_string(hide_password=False))


def listed(cli: Cli) -> list[dict[str, Any]]:
    found = json.loads(cli("keys", "list", "--json").out)
    assert isinstance(found, list)
    return found


def entries(database: Database) -> list[Entry]:
    with database.reading() as session:
        return list(audit_log.page(session.connection(), limit=100))


def made(cli: Cli) -> str:
    """The id of a key that `rotate` made."""
    told = cli("keys", "rotate")
    assert told.code == 0
    return str(re.findall(UUID, told.out)[0])


def test_before_the_first_start_there_is_no_key(cli: Cli) -> None:
    assert cli("keys", "list").out == "none; the first is made when orderkit serve starts\n"
    assert listed(cli) == []


def test_rotate_makes_the_key_that_signs_and_says_what_becomes_of_the_others(cli: Cli, database: Database) -> None:
    old = made(cli)
    told = cli("keys", "rotate")
    new = re.findall(UUID, told.out)[0]
    assert "within a second" in told.out
    assert "stay good" in told.out
    assert "expire in 15 minutes" in told.out
    assert [(one["id"], one["signs"], one["retired_at"]) for one in listed(cli)] == [
        (new, True, None),
        (old, False, None),
    ]
    assert [(one.action, one.subject, one.actor_id) for one in entries(database)] == [
        ("signing_key.made", f"signing_key:{new}", None),
        ("signing_key.made", f"signing_key:{old}", None),
    ]


def test_retire_ends_all_keys_but_the_one_that_signs(cli: Cli, database: Database) -> None:
    old = [made(cli), made(cli)]
    signing = made(cli)
    told = cli("keys", "retire")
    assert re.findall(r"(?m)^retired (\S+)$", told.out) == old[::-1]
    assert "refuses their access tokens within a second" in told.out
    assert "Refresh tokens still work" in told.out
    assert [key.id for key in signing_keys.load(database, "secret")] == [signing]
    assert [one["id"] for one in listed(cli) if one["retired_at"]] == old[::-1]
    assert {one.subject for one in entries(database) if one.action == "signing_key.retired"} == {
        f"signing_key:{one}" for one in old
    }
    again = cli("keys", "retire")
    assert (again.code, again.out) == (0, "nothing to retire: the key that signs is the only one that is good\n")


def test_one_key_can_be_retired_by_its_id_but_not_the_one_that_signs(cli: Cli) -> None:
    """Else the one before it would sign again, though it was to be given up."""
    old, new = made(cli), made(cli)
    refused = cli("keys", "retire", new)
    assert (refused.code, "orderkit keys rotate" in refused.err) == (1, True)
    assert cli("keys", "retire", old).code == 0
    assert [(one["id"], one["signs"]) for one in listed(cli)] == [(new, True), (old, False)]


def test_the_table_shows_when_each_was_made_and_retired_and_which_signs(cli: Cli) -> None:
    old, new = made(cli), made(cli)
    cli("keys", "retire", old)
    head, first, second = cli("keys", "list").out.splitlines()
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert head.split() == ["id", "made", "retired", "signs"]
    assert re.fullmatch(rf"{new}  {time}\s+yes", first)
    assert re.fullmatch(rf"{old}  {time}  {time}", second)


def test_no_secret_is_ever_shown(cli: Cli, database: Database) -> None:
    cli("keys", "rotate")
    [key] = signing_keys.load(database, "secret")
    shown = cli("keys", "list").out + cli("keys", "list", "--json").out + cli("roles", "history").out
    assert "salt" not in shown
    assert key.secret.hex() not in shown
    assert {name for one in listed(cli) for name in one} == {"id", "created_at", "retired_at", "signs"}


def test_what_cannot_be_retired_is_told_in_one_line(cli: Cli) -> None:
    only = made(cli)
    for argument, code, said in (
        (only, 1, "make another first: orderkit keys rotate"),
        (str(new_id()), 1, "see orderkit keys list"),
        ("nonsense", 2, "valid UUID"),
    ):
        told = cli("keys", "retire", argument)
        assert (told.code, told.out) == (code, "")
        assert said in told.err
        assert told.err.count("\n") == 1
    assert [one["signs"] for one in listed(cli)] == [True]


def test_there_are_never_more_keys_than_are_read(cli: Cli) -> None:
    for _ in range(signing_keys.MAX_KEYS):
        made(cli)
    told = cli("keys", "rotate")
    assert (told.code, told.out) == (1, "")
    assert "orderkit keys retire" in told.err
