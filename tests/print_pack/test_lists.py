"""The tracker, the acceptance criteria, the checklist and the map: every line has its check, every place is there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from orderkit.print_pack import evidence, stamps
from orderkit.print_pack.checks import ACCEPTANCE, CHECKS, OBSERVABILITY, PLACES, TRACKER, context, places, weeks
from orderkit.print_pack.checks.pages import Item
from orderkit.print_pack.evidence import Piece
from orderkit.print_pack.filling import Pack, environment_of, filled

ROOT = stamps.ROOT
TEMPLATES = ROOT / "print-pack" / "templates"
PAGES = ("tracker.md", "acceptance.md", "observability/checklist.md", "where-is-it.md")


def items() -> Iterator[Item]:
    for module in TRACKER:
        yield from module.items
    for week in weeks.SIX_WEEKS:
        yield from week.build
    for stretch in (*weeks.FOUR_WEEKS, *weeks.THIRTEEN_WEEKS):
        yield from stretch.items
    yield from weeks.CHECKPOINT
    for criterion in ACCEPTANCE:
        yield from criterion.items
    for those in OBSERVABILITY.values():
        yield from those


@cache
def functions(file: Path) -> frozenset[str]:
    return frozenset(
        node.name for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef)
    )


def missing(place: str) -> bool:
    file, _, test = place.partition("::")
    path = ROOT / file
    return not path.exists() or bool(test and test not in functions(path))


# ── the lists ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_place_of_a_check_is_there() -> None:
    assert [(name, place) for name, check in CHECKS.items() for place in check.places if missing(place)] == []


def test_every_place_of_the_map_is_there() -> None:
    assert [path for place in PLACES for path in place.at if missing(path)] == []
    assert [name for name, _said in places.AROUND if not (ROOT / name).is_dir()] == []


def test_a_place_that_is_not_there_is_seen() -> None:
    assert missing("orderkit/nothing.py")
    assert missing("tests/api/test_health.py::test_nothing")


def test_every_item_names_a_check_and_every_check_is_named_by_an_item() -> None:
    named = {item.check for item in items()}
    assert named - CHECKS.keys() == set()
    assert CHECKS.keys() - named == set()


def test_every_check_but_that_of_what_is_not_written_has_a_place_and_says_in_a_sentence_what_it_shows() -> None:
    assert [name for name, check in CHECKS.items() if not check.places] == ["assistant"]
    assert [name for name, check in CHECKS.items() if not check.shows.endswith(".") or len(check.shows) > 110] == []


def test_the_lists_have_what_they_must() -> None:
    assert [module.number for module in TRACKER] == list(range(1, 9))
    assert [criterion.number for criterion in ACCEPTANCE] == list(range(1, 8))
    assert [week.number for week in weeks.SIX_WEEKS] == list(range(1, 7))
    assert [stretch.when for stretch in weeks.THIRTEEN_WEEKS] == [str(number) for number in range(1, 14)]
    assert len(weeks.FOUR_WEEKS) == 4
    assert [(what, minutes) for what, minutes, _of in weeks.ROTATION] == [
        ("Code", 45),
        ("Notes", 20),
        ("Draw", 15),
        ("Explain aloud", 10),
    ]
    assert {"Logs", "Metrics", "Traces"} <= OBSERVABILITY.keys()
    assert min(len(module.items) for module in TRACKER) >= 5


def test_the_tree_says_of_every_package_what_it_is_and_fits_the_page() -> None:
    lines = places.tree().splitlines()
    packages = {path.parent.name for path in (ROOT / "orderkit").glob("*/__init__.py")}
    assert packages <= {line.split("/")[0].strip() for line in lines}
    assert all(len(line.split("/", 1)[1].strip()) > 20 for line in lines)
    assert max(map(len, lines)) <= places.WIDTH
    assert "settings.py" in places.modules()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Short.", "Short."),
        ("From a paid order to a parcel: booking, retries", "From a paid order to a parcel: booking."),
        ("A sentence without any place to end it at all, or so", "A sentence without any place to end it at…"),
    ],
)
def test_a_sentence_that_has_no_room_ends_where_it_can(said: str, told: str) -> None:
    assert places.brief(said, 42) == told


# ── the pages ────────────────────────────────────────────────────────────────────────────────────────────────────────


def page(file: str, checks: dict[str, Any] | None) -> str:
    pieces: dict[str, Piece | None] = dict.fromkeys(evidence.HOW)
    pieces["versions"] = evidence.stamped("versions", {})
    if checks is not None:
        pieces["checks"] = evidence.stamped("checks", checks)
    return filled(environment_of(Pack(pieces, context()), TEMPLATES), file)


WELL = {name: {"ok": True, "said": "seen"} for name in CHECKS}
LISTS = {
    "tracker.md": [item for module in TRACKER for item in module.items],
    "acceptance.md": [item for criterion in ACCEPTANCE for item in criterion.items],
    "observability/checklist.md": [item for those in OBSERVABILITY.values() for item in those],
}


@pytest.mark.parametrize("file", LISTS)
def test_what_holds_is_ticked(file: str) -> None:
    told = page(file, WELL)
    for item in LISTS[file]:
        assert f"- [x] {item.text} · {item.where}\n" in told or not item.where
    unticked = [line for line in told.splitlines() if line.startswith("- [ ]")]
    assert len(unticked) == (len(weeks.CHECKPOINT) if file == "tracker.md" else 0)


@pytest.mark.parametrize("file", LISTS)
def test_a_line_whose_check_fails_is_not_ticked_and_says_why_and_no_other_is(file: str) -> None:
    broken = LISTS[file][2]
    told = page(file, WELL | {broken.check: {"ok": False, "said": "lacks ix_a_b; run <it> --now"}}).splitlines()
    reason = r"(**does not hold:** lacks ix\_a\_b; run \<it\> \-\-now)"
    lines = [line for line in told if line.startswith(f"- [ ] {broken.text} · ")]
    assert lines
    assert all(line.endswith(reason) for line in lines)
    assert all(
        line.endswith(reason) for line in told if line.startswith("- [ ]") and "· `" in line and "I can" not in line
    )


@pytest.mark.parametrize("file", LISTS)
def test_what_was_not_checked_says_so(file: str) -> None:
    gone = LISTS[file][0]
    told = page(file, WELL | {gone.check: {"ok": False, "said": "not checked: there is no such page"}})
    assert f"- [ ] {gone.text} · {gone.where} (not checked: there is no such page)\n" in told


@pytest.mark.parametrize("file", LISTS)
def test_without_evidence_nothing_is_ticked_and_the_command_is_told(file: str) -> None:
    told = page(file, None)
    assert "- [x]" not in told
    assert "**No evidence yet** (`checks`). To make it: `orderkit print-pack`" in told


@pytest.mark.parametrize("file", PAGES)
def test_a_page_is_the_same_each_time_and_begins_with_its_title(file: str) -> None:
    assert page(file, WELL) == page(file, WELL)
    assert page(file, WELL).lstrip().startswith("# ")
    assert "\n\n\n" not in page(file, WELL).strip(), "no line is left of what was left out"


def test_the_map_names_every_place() -> None:
    told = page("where-is-it.md", WELL)
    for place in PLACES:
        assert place.sought in told
        assert all(f"`{path}`" in told for path in place.at)
    assert places.tree() in told


def test_an_item_shows_where_it_is_by_code_and_tests() -> None:
    item = Item("Liveness", "health.live")
    assert item.where == "`orderkit/api/health.py`, `tests/api/test_health.py`"
    assert replace(item, check="pages.decisions").where == "`docs/decisions`"
