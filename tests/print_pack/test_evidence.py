"""Evidence: what is kept of a run, and that the same finding stays the same piece."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from orderkit import clock
from orderkit.errors import Invalid
from orderkit.print_pack import evidence, stamps
from orderkit.print_pack.evidence import DEAR, HOW, Store, read, stamped, write

pytestmark = pytest.mark.unit


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home", tmp_path / "bundled")


def test_a_piece_is_read_as_it_was_written(tmp_path: Path) -> None:
    piece = stamped("plans", {"holds": True, "ms": [1.5, None], "said": "ü ✓"})
    write(piece, tmp_path / "a" / "plans.json")
    assert read(tmp_path / "a" / "plans.json") == piece
    assert piece.command == HOW["plans"]


def test_a_piece_says_when_what_and_where(store: Store) -> None:
    piece = stamped("plans", [])
    for part in (f"{piece.made_at:%Y-%m-%d %H:%M} UTC", piece.version, piece.commit, piece.machine):
        assert part in piece.stamp
    assert "cores" in piece.machine


def test_found_again_the_same_it_keeps_its_time(store: Store) -> None:
    first = store.keep(stamped("plans", {"a": 1}))
    with clock.moved(timedelta(hours=1)):
        assert store.keep(stamped("plans", {"a": 1})) == first
        changed = store.keep(stamped("plans", {"a": 2}))
    assert changed.made_at > first.made_at
    assert store.find("plans") == changed


def test_found_by_another_program_it_is_new(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = store.keep(stamped("plans", {"a": 1}))
    monkeypatch.setattr(stamps, "revision", lambda: "abcdef")
    with clock.moved(timedelta(hours=1)):
        assert store.keep(stamped("plans", {"a": 1})).made_at > first.made_at


def test_the_newer_counts_whether_it_came_along_or_was_made_here(store: Store, tmp_path: Path) -> None:
    assert store.find("load") is None
    old, new = stamped("load", 1, "old"), stamped("load", 2, "new")
    with clock.moved(timedelta(hours=-1)):
        old = stamped("load", 1, "old")
    for here, there in ((old, new), (new, old)):
        write(here, store.home / "load.json")
        write(there, tmp_path / "bundled" / "load.json")
        assert store.find("load") == new


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"made_at": "yesterday"}', '{"made_at": 5}'])
def test_a_file_that_is_no_evidence_says_so(tmp_path: Path, text: str) -> None:
    path = tmp_path / "load.json"
    path.write_text(text)
    with pytest.raises(Invalid, match="is no evidence"):
        read(path)


def test_what_is_kept_names_no_host_and_no_place(tmp_path: Path) -> None:
    told = stamped("plans", {}).told()
    assert str(Path.home()) not in told.replace('"/"', "")
    assert set(json.loads(told)) == {"name", "made_at", "commit", "version", "machine", "command", "data"}


def test_what_came_along_can_be_read_and_is_what_it_says() -> None:
    paths = sorted((stamps.ROOT / "print-pack" / "evidence").glob("*.json"))
    assert {"load", "overload", "reports", "seeding", "demo"} <= {path.stem for path in paths}
    for path in paths:
        piece = read(path)
        assert piece.name == path.stem
        assert piece.name in DEAR
        assert "with changes" not in piece.commit, "evidence that goes along is of a commit"


def test_every_load_test_that_is_named_can_be_told_to_keep_what_it_finds() -> None:
    for name, command in evidence.DEAR.items():
        if "loadtests." in command:
            module = command.split()[2].removeprefix("loadtests.")
            source = (stamps.ROOT / "loadtests" / f"{module}.py").read_text()
            assert f'keeping.keep(chosen, "{name}"' in source
            assert "keeping.offer(parser)" in source
