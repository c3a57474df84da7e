"""The diagrams show what the code has: nothing is missing, nothing is made up, and it can be read when it is printed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from functools import cache
from html import unescape

import pytest

from orderkit.cli.main import COMMANDS
from orderkit.print_pack.diagrams import DIAGRAMS, erd
from orderkit.print_pack.diagrams.description import JOURNEY, LANES, MESSAGES, PARTS, WATCHING, Step
from orderkit.print_pack.diagrams.drawing import FAMILIES, SMALLEST, WIDTH
from orderkit.print_pack.diagrams.processes import PLACES, ROUTES
from orderkit.print_pack.diagrams.states import MACHINES, mermaid
from orderkit.schema import metadata

pytestmark = pytest.mark.unit

drawn = cache(lambda name: DIAGRAMS[name]())


def words(name: str) -> list[str]:
    """What a diagram says, text by text."""
    return [unescape(found).strip() for found in re.findall(r"<text [^>]*>([^<]*)</text>", drawn(name))]


def test_every_table_is_drawn_once() -> None:
    titles = re.findall(r'font-size="7.4" font-weight="bold">(\w+)</text>', drawn("erd"))
    assert sorted(titles) == sorted(metadata.tables)


def test_every_column_of_a_key_or_an_index_is_drawn_and_the_others_are_counted() -> None:
    for table in metadata.tables.values():
        shown = [name for name, _marks in erd.lines(table)]
        keys = {column.name for index in table.indexes for column in index.columns}
        keys |= {column.name for column in table.columns if column.primary_key or column.foreign_keys}
        assert keys <= set(shown), table.name
        more = re.fullmatch(r"\+ (\d+) more", shown[-1])
        assert len(table.columns) == (len(shown) - 1 + int(more[1]) if more else len(shown)), table.name
    said = Counter(words("erd"))
    for line, number in Counter(name for table in metadata.tables.values() for name, _ in erd.lines(table)).items():
        assert said[line] >= number, line


def test_every_foreign_key_is_a_line() -> None:
    keys = {
        (table.name, element.parent.name, element.target_fullname)
        for table in metadata.tables.values()
        for key in table.foreign_key_constraints
        for element in key.elements
    }
    assert {(one.table, one.column, f"{one.parent}.{one.key}") for one in erd.relations()} == keys
    # A fork, at each end that has many, is two strokes to points; all else goes straight across or down.
    ends = "".join(re.findall(r' d="([^"]*)"', drawn("erd"))).count("L")
    assert ends == 2 * sum(not one.one for one in erd.relations())


@pytest.mark.parametrize(
    ("column", "marks"),
    [
        ("orders.id", "PK"),
        ("orders.user_id", "FK U"),
        ("orders.number", "U"),
        ("orders.status", ""),
        ("order_items.order_id", "PK FK"),
    ],
)
def test_columns_are_marked_as_what_they_are(column: str, marks: str) -> None:
    table, name = column.split(".")
    assert erd.marks(metadata.tables[table].columns[name]) == marks


def test_a_parcel_is_one_for_an_order_and_an_event_may_have_none() -> None:
    known = {(one.table, one.column): one for one in erd.relations()}
    assert known["fulfillments", "order_id"].one
    assert not known["order_items", "order_id"].one
    assert known["outbox", "order_id"].optional
    assert not known["fulfillments", "order_id"].optional


def test_a_table_without_a_place_stands_below_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erd, "LANES", tuple(tuple(name for name in lane if name != "rollups") for lane in erd.LANES))
    assert "rollups" in erd.draw()


@pytest.mark.parametrize("name", MACHINES)
def test_every_transition_has_a_cause_and_no_other(name: str) -> None:
    machine = MACHINES[name]
    allowed = {(origin, reached) for origin, all_of in machine.transitions.items() for reached in all_of}
    assert set(machine.arrows()) == allowed == set(machine.causes)


@pytest.mark.parametrize("name", MACHINES)
def test_every_state_begins_or_is_reached(name: str) -> None:
    machine = MACHINES[name]
    assert set(machine.transitions) == set(machine.states)
    assert {*machine.begins, *(reached for _origin, reached in machine.arrows())} == set(machine.states)


def test_every_transition_is_an_arrow_and_no_other() -> None:
    titles = [unescape(title) for title in re.findall(r"<title>([^<]*)</title>", drawn("states"))]
    found = Counter(title for title in titles if "->" in title)
    meant = Counter(f"{origin}->{reached}" for one in MACHINES.values() for origin, reached in one.arrows())
    meant.update(f"to {state}->{state}" for one in MACHINES.values() for state in one.begins)
    assert found == meant


def test_mermaid_says_the_same_transitions() -> None:
    for machine in MACHINES.values():
        arrows = re.findall(r"    (\w+) --> (\w+)\n", mermaid(machine))
        assert arrows == [(str(origin), str(reached)) for origin, reached in machine.arrows()]


def test_every_process_that_is_named_is_a_command() -> None:
    named = {part.command for part in PARTS if part.command}
    assert {"serve", "worker", "simulate"} <= named <= set(COMMANDS)
    assert all(f"orderkit {command}" in words("processes") for command in named)


def test_every_part_talks_and_every_message_and_step_is_between_parts() -> None:
    parts = {part.name for part in PARTS}
    talking = {name for one in (*MESSAGES, *WATCHING) for name in (one.caller, one.called)}
    assert talking == parts
    assert set(LANES) <= parts
    assert {(one.caller, one.called) for one in MESSAGES} == set(ROUTES)
    assert set(PLACES) == {name for one in MESSAGES for name in (one.caller, one.called)}


def test_who_takes_a_step_of_the_journey_talks_to_whom_the_processes_say() -> None:
    allowed = {(one.caller, one.called) for one in MESSAGES}
    for step in (one for one in JOURNEY if isinstance(one, Step)):
        way = (step.called, step.caller) if step.kind == "answer" else (step.caller, step.called)
        assert way in allowed, step
        assert (step.called == "database") == (step.kind == "transaction"), step


def test_the_journey_says_all_steps_and_why_each_is_safe() -> None:
    said = words("journey")
    for one in JOURNEY:
        meant = (*one.what, *one.safe) if isinstance(one, Step) else (one,)
        assert set(meant) <= set(said), one


@pytest.mark.parametrize("name", DIAGRAMS)
def test_a_diagram_fits_between_the_margins_of_a_page_and_no_letter_is_too_small(name: str) -> None:
    found = re.match(r'<svg [^>]*width="([\d.]+)pt" height="([\d.]+)pt"', drawn(name))
    assert found is not None
    assert float(found[1]) <= WIDTH
    assert float(found[2]) <= 610, "a heading and a few sentences stand on the page too"
    assert min(float(size) for size in re.findall(r'font-size="([\d.]+)"', drawn(name))) >= SMALLEST


@pytest.mark.parametrize("name", DIAGRAMS)
def test_a_diagram_is_black_and_white_and_names_only_fonts_that_are_there(name: str) -> None:
    colours = set(re.findall(r'(?:fill|stroke)="([^"]*)"', drawn(name)))
    assert colours <= {"black", "white", "none", "#e4e4e4", "#bdbdbd"}
    assert set(re.findall(r'font-family="([^"]*)"', drawn(name))) <= set(FAMILIES.values())


def test_no_line_of_the_journey_runs_off_the_page() -> None:
    for x, size, line in re.findall(
        r'<text x="([\d.]+)"[^>]*font-size="([\d.]+)"[^>]*>([^<]*)</text>', drawn("journey")
    ):
        assert float(x) + len(unescape(line)) * float(size) * 0.42 <= WIDTH, line


def test_diagrams_are_the_same_in_every_process() -> None:
    """Not even the order of a set, which the seed of hashes decides, shows."""
    code = "from orderkit.print_pack.diagrams import DIAGRAMS; print(*(draw() for draw in DIAGRAMS.values()), sep='', end='')"
    for seed in ("1", "2"):
        again = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, **_path()},
        )
        assert again.stdout == "".join(drawn(name) for name in DIAGRAMS)


def _path() -> dict[str, str]:
    return {"PYTHONPATH": ":".join(path for path in sys.path if path)}


def test_listing_the_diagrams_needs_no_package_of_the_extra() -> None:
    code = "import sys; import orderkit.print_pack.diagrams; sys.exit('easydot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, env=_path()).returncode == 0
