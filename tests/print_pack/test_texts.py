"""The texts of the pack: what they point at is there, what is to be said aloud fits its minutes, and no figure is typed in."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from orderkit.errors import Invalid
from orderkit.print_pack.evidence import HOW, Piece
from orderkit.print_pack.filling import Pack, environment_of, filled

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "print-pack" / "templates"
TEXTS = ("interview-brief.md", "decisions-and-tradeoffs.md", "material-notes.md")
WORDS_A_MINUTE = (130, 150)
ROOTS = ("orderkit/", "tests/", "docs/", "loadtests/", "migrations/", "deploy/", "print-pack/", ".github/")
BUILT = ("architecture/", "adrs/", "README.md", "decisions-and-tradeoffs.md", "tests/load-report.md")
"""What the pack itself makes."""

DEMO = """\
orderkit demo on SQLite, with no service installed
 11.0 s  one key, 8 requests at once: 1 order; 7 × 409, come back; asked once more: 201, replayed
 11.3 s  4 buyers at once for the last globe: 1 × 201, 3 × 409 out_of_stock, nothing kept of those
 13.2 s  customer hung up after 0.5 s, asked again: 4 × 409 in use, then 201, the first one's answer
 13.2 s  carrier failed 5 times (server_error): now a dead letter
 14.3 s  carrier healed; staff retries the dead letter, twice at once
 14.4 s  timeout after charge: 202: pending → paid → shipped after 2 calls to the provider
 14.6 s  pays by card ×21: 201 ×21: 21 shipped
 14.7 s  shipped at last, 1 × in the carrier's ledger

  counted by                      customers      database      provider
✓ orders kept, of 53 requests            37            37             –
✓ paid, captured exactly once             –            35            35
✓ products never oversold                 –        7 of 7             –

The counts agree: nothing lost, doubled, charged twice or oversold."""

SAMPLE: dict[str, Any] = {
    "demo": {"text": DEMO, "counts": {}},
    "checks": {"one": {"ok": True, "said": ""}, "two": {"ok": False, "said": "it does not"}},
    "versions": {},
    "load": {"median": {"ratio": 0.456}, "yardstick": "pgbench", "clients": 32, "engine": "PostgreSQL 99.9, fsync=on"},
    "coverage": {"percent": 91.6, "passed": 4321},
    "seeding": {"orders": 765_432, "orders_a_second": 9_876, "memory_mib": 234},
    "reports": {
        "few": 1_111,
        "many": 22_222,
        "engines": [{"reports": [{"ratio": 1.07}, {"ratio": 1.78}]}, {"reports": [{"ratio": 1.2}]}],
    },
}


def rendered(text: str, data: dict[str, Any]) -> str:
    """One page, from evidence that has `data` by its name and nothing else."""
    at = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
    evidence: dict[str, Piece | None] = dict.fromkeys(HOW)
    for name, found in data.items():
        evidence[name] = Piece(name, at, "abc1234567", "9.9.9", "a machine", HOW[name], found)
    return filled(environment_of(Pack(evidence), TEMPLATES), text)


@cache
def page(text: str) -> str:
    return rendered(text, SAMPLE)


def named(text: str) -> set[str]:
    """Every file and folder of the repository that a page names, in its text and in its drawings."""
    shown = page(text)
    quoted = set(re.findall(r"`([^`\s]+)`", shown))
    paths = {
        one for one in quoted if one.startswith((*ROOTS, *BUILT)) or one in ("check", "Dockerfile", "compose.yaml")
    }
    drawn = re.findall(r"(?m)  ((?:\w+/)+\w+\.py)$", "\n".join(re.findall(r"(?s)```\n(.*?)```", shown)))
    return paths | {f"orderkit/{one}" for one in drawn}


@pytest.mark.parametrize("text", TEXTS)
def test_every_file_that_a_page_names_is_there(text: str) -> None:
    found = named(text)
    assert {one for one in found if not one.startswith(BUILT) and not (ROOT / one).exists()} == set()


def test_answers_point_at_code_and_at_a_test() -> None:
    questions = page("interview-brief.md").partition("## Questions to expect")[2].partition("## For the résumé")[0]
    answers = [
        one for one in questions.strip().split("\n\n") if "What is weak?" not in one and "Why not Kafka?" not in one
    ]
    assert len(answers) >= 10
    for answer in answers:
        assert re.search(r"`orderkit/[\w/]+\.py`|`tests/regressions/", answer), answer
        assert re.search(r"`tests/[\w/]+\.py`", answer), answer


def test_drawings_name_files_and_fit_a_printed_line() -> None:
    assert len([one for one in named("material-notes.md") if one.endswith(".py")]) >= 15
    for drawing in re.findall(r"(?s)```\n(.*?)```", page("material-notes.md")):
        assert [line for line in drawing.splitlines() if len(line) > 80 or not line.isascii()] == []


@pytest.mark.parametrize("minutes", [2, 3])
def test_a_pitch_takes_its_minutes(minutes: int) -> None:
    spoken = re.findall(rf"(?s)<!-- pitch: {minutes} -->(.*?)<!-- end of pitch -->", page("interview-brief.md"))
    assert len(spoken) == 1
    slowest, quickest = (minutes * words for words in WORDS_A_MINUTE)
    assert slowest <= len(spoken[0].split()) <= quickest


def test_the_recording_ends_within_three_to_five_minutes() -> None:
    script = page("interview-brief.md").partition("## A recording of three to five minutes")[2]
    begins = [int(minute) * 60 + int(second) for minute, second in re.findall(r"(?m)^\| (\d):(\d\d) \|", script)]
    assert begins == sorted(set(begins))
    assert begins[0] == 0
    assert 180 <= begins[-1] < 300


def test_the_three_steps_show_lines_of_the_demo_and_nothing_else() -> None:
    steps = page("interview-brief.md").partition("## Three steps to show")[2].partition("## The pitch")[0]
    blocks = [block.splitlines() for block in re.findall(r"(?s)```\n(.*?)```", steps)]
    assert [len(block) for block in blocks] == [3, 4, 5]
    assert {line for block in blocks for line in block} < set(DEMO.splitlines())


def test_what_the_steps_look_for_is_what_the_demo_says() -> None:
    template = (TEMPLATES / "interview-brief.md.j2").read_text(encoding="utf-8")
    wanted = {one for words in re.findall(r"shown\(\[(.*?)\]\)", template) for one in re.findall(r'"(.*?)"', words)}
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "orderkit" / "demo").glob("*.py"))
    assert len(wanted) >= 10
    assert {one for one in wanted if one not in source} == set()


def test_figures_of_the_resume_are_those_of_the_evidence() -> None:
    lines = page("interview-brief.md").partition("## For the résumé")[2].partition("**Profile.**")[0]
    for figure in (
        "0.46",
        "pgbench",
        "PostgreSQL 99.9",
        "4,321",
        "92 %",
        "765,432",
        "9,876",
        "234 MiB",
        "1.8",
        "1 of 2",
    ):
        assert figure in lines
    assert "No evidence yet" not in lines


def test_figures_of_the_resume_are_missing_where_nothing_was_measured() -> None:
    shown = rendered("interview-brief.md", {})
    lines = shown.partition("## For the résumé")[2].partition("**Profile.**")[0]
    assert re.findall(r"No evidence yet\*\* \(`(\w+)`\)", lines) == ["load", "coverage", "seeding", "reports", "checks"]
    assert re.findall(r"\d", lines.partition("- **No")[0]) == []
    assert shown.count("**No evidence yet** (`demo`)") == 3


@pytest.mark.parametrize("text", TEXTS)
def test_a_page_without_any_evidence_can_be_filled_all_the_same(text: str) -> None:
    assert rendered(text, {"versions": {}}).startswith(("# ", "\n# "))


def test_a_figure_that_is_not_in_its_evidence_is_an_error_and_no_blank() -> None:
    with pytest.raises(Invalid, match=r"interview-brief\.md\.j2.*percent"):
        rendered("interview-brief.md", SAMPLE | {"coverage": {"passed": 1}})


def test_the_page_of_decisions_names_every_record_and_none_that_is_not_there() -> None:
    shown = page("decisions-and-tradeoffs.md")
    listed = [int(number) for number in re.findall(r"(?m)^\| (\d+) \|", shown)]
    told = {
        int(number) for among in re.findall(r"\(records? ([\d and]+)\)", shown) for number in re.findall(r"\d+", among)
    }
    records = {int(path.name[:4]) for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md")}
    assert listed == sorted(set(listed))
    assert told | set(listed) == records


def test_only_a_person_s_own_facts_are_left_blank() -> None:
    brief = page("interview-brief.md")
    for part in ("**Profile.**", "## If they ask about a gap"):
        assert r"\_\_\_\_" in brief.partition(part)[2].partition("\n\n## ")[0]
    before = brief.partition("**Profile.**")[0]
    assert r"\_" not in before
    assert re.findall(r"(?i)lorem|todo|tbd|xxx|\[your", "".join(page(text) for text in TEXTS)) == []
