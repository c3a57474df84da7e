"""Gathering and collecting evidence: what goes wrong is told as it is, and the rest is made all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orderkit.db import Database
from orderkit.errors import Unavailable
from orderkit.explain import verdicts
from orderkit.print_pack import collecting, gathering
from orderkit.print_pack.collecting import MAKERS, NotMade
from orderkit.print_pack.evidence import DEAR, Piece, Store, stamped
from orderkit.settings import Settings


@pytest.fixture
def engine_name() -> str:
    """One engine will do: nothing here is asked of it."""
    return "sqlite"


def test_what_goes_wrong_while_plans_are_asked_for_is_told_as_it_is(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no other database is asked instead."""

    def away(*_: Any) -> None:
        raise Unavailable("the database went away")

    monkeypatch.setattr(verdicts, "explain", away)
    monkeypatch.setattr(gathering, "seeded", lambda *_: pytest.fail("another database was made"))
    with pytest.raises(Unavailable, match="the database went away"):
        gathering.plans(settings)


def test_evidence_that_cannot_be_made_says_why_and_the_rest_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(_name: str) -> Piece:
        raise NotMade("no room")

    monkeypatch.setattr(collecting, "MAKERS", {"load": cannot, "demo": lambda name: stamped(name, {"agree": True})})
    store, told = Store(tmp_path, None), list[str]()
    assert collecting.collect(store, ["load", "demo"], told.append) == {"load": "no room"}
    assert told == ["load", "demo"]
    assert store.find("load") is None
    assert (store.find("demo") or pytest.fail("not kept")).data == {"agree": True}


def test_whatever_a_command_makes_can_be_collected() -> None:
    assert MAKERS.keys() == {name for name, command in DEAR.items() if command}
