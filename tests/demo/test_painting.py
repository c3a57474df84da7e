"""What the demo shows: every frame within the terminal, in each state of the story, and an end that can be kept."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path
from uuid import uuid4
from xml.etree import ElementTree

import pytest
from rich.console import Console, Group

from orderkit.demo import ending as endings
from orderkit.demo import painting, script
from orderkit.demo.customers import new_login
from orderkit.demo.narrating import Lines, Screen
from orderkit.demo.playing import Access, Ending
from orderkit.demo.story import Answer, Journey, Story
from orderkit.demo.verdict import Check
from orderkit.demo.watching import Seen

SIZES = [(80, 24), (100, 30), (120, 50), (60, 15), (40, 12)]
GOOD = Check("orders kept", 36, 36, None, True)
BAD = Check("captured, GBP", None, "1.00 GBP", "2.00 GBP", False, "the sums differ")


def new_story(orders: int = 40) -> Story:
    return Story(script.write(orders, seed=1), api="http://127.0.0.1:20001", simulator="http://127.0.0.1:20002")


def paid(journey: Journey, *path: str, parcel: str | None = None, bookings: int = 0) -> None:
    """Has the journey get to the last state of `path`."""
    order_id = uuid4()
    journey.began = 1.0
    journey.answers.append(Answer(201, False, None, str(order_id)))
    journey.closed = True
    journey.seen = Seen(order_id, path, "captured", 3, parcel, bookings)
    journey.ended = 2.5 if journey.outcome else None


def in_the_middle() -> Story:
    story = new_story()
    story.stage = "up"
    for number, scene in enumerate(story.scenes):
        for journey in scene.journeys[: number + 1]:
            if number % 3 == 0:
                paid(journey, "pending", "paid", "shipped", parcel="succeeded", bookings=6)
            elif number % 3 == 1:
                paid(journey, "pending", "paid", parcel="retrying", bookings=4)
    for number in range(30):
        story.tell(
            f"line {number}, which is long enough to be wrapped in a terminal that has no more than eighty columns"
        )
    return story


def at_the_end() -> Story:
    story = new_story()
    for scene in story.scenes:
        for journey in scene.journeys:
            paid(journey, "pending", "paid", "shipped", parcel="succeeded", bookings=1)
    story.tell("the end")
    story.end()
    return story


def the_ending(*checks: Check) -> Ending:
    access = Access(Path("/nowhere/orderkit.db"), new_login("staff"))
    return Ending(at_the_end(), access, checks, "a.token.here", {"serve": 1})


def terminal(width: int, height: int) -> Console:
    return Console(width=width, height=height, file=io.StringIO(), force_terminal=True, highlight=False)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("story", [new_story, in_the_middle, at_the_end])
def test_a_frame_fits_the_terminal(story: object, width: int, height: int) -> None:
    console = terminal(width, height)
    assert callable(story)
    lines = console.render_lines(painting.frame(console, story()), pad=False)
    assert len(lines) <= height
    assert max(sum(segment.cell_length for segment in line) for line in lines) <= width


def test_a_low_terminal_shows_what_is_under_way_first() -> None:
    story = in_the_middle()
    console = terminal(80, 16)
    console.print(painting.frame(console, story))
    shown = [scene for scene in story.scenes if painting.title(scene) in text_of(console)]
    hidden = [scene for scene in story.scenes if scene not in shown]
    assert hidden
    assert not any(scene.begun and not scene.done for scene in hidden)


def test_a_wide_terminal_shows_every_state_and_a_narrow_one_the_latest() -> None:
    wide, narrow = terminal(100, 30), terminal(80, 30)
    for console in (wide, narrow):
        console.print(painting.acts(at_the_end(), console.width))
    assert "pending→" in text_of(wide)
    assert "→" not in text_of(narrow)
    assert "shipped" in text_of(narrow)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (("pending", "paid", "shipped"), "pending→paid→shipped "),
        (("pending", "paid", "cancelled"), " …→paid→cancelled "),
        (("pending", "paid", "shipped", "delivered"), " …→shipped→delivered "),
    ],
)
def test_of_a_path_that_is_too_long_the_end_is_shown(path: tuple[str, ...], shown: str) -> None:
    story = new_story()
    paid(story.scenes[-1].journeys[0], *path)
    console = Console(width=100, file=io.StringIO())
    console.print(painting.acts(story, 100))
    assert shown in text_of(console)


def test_an_act_is_over_when_the_database_was_seen_as_its_customer_saw_it() -> None:
    story = new_story()
    story.stage = "up"
    scene = next(one for one in story.scenes if one.act.name == "delivered")
    [journey] = scene.journeys
    shipped = Seen(uuid4(), ("pending", "paid", "shipped"), "captured", 1, "succeeded", 1, version=3)
    delivered = replace(shipped, path=(*shipped.path, "delivered"), version=4)
    story.observe({journey.wish.key: shipped})
    assert journey.outcome is None, "the customer wants more"

    journey.closed, journey.last = True, {"status": "delivered", "version": 4}
    over = []
    for seen in (shipped, delivered):
        story.observe({journey.wish.key: seen})
        over.append(scene.done)
    assert over == [False, True]
    assert scene.as_foretold


@pytest.mark.parametrize(
    ("width", "good", "not_yet"),
    [(100, ("captured, 3 calls", "succeeded, 6 calls"), "retrying, 4 calls"), (80, ("3 calls", "6 calls"), "retrying")],
)
def test_more_than_one_call_is_told_as_calls_and_never_as_charges(
    width: int, good: tuple[str, str], not_yet: str
) -> None:
    story = new_story()
    alone = [scene for scene in story.scenes if len(scene.journeys) == 1]
    paid(alone[0].journeys[0], "pending", "paid", "shipped", parcel="succeeded", bookings=6)
    paid(alone[1].journeys[0], "pending", "paid", parcel="retrying", bookings=4)
    console = Console(width=width, file=io.StringIO())
    console.print(painting.acts(story, width))
    said = text_of(console)
    assert [one for one in (*good, not_yet) if one not in said] == []
    assert "d ×" not in said
    assert "…" not in said


def test_a_verdict_that_holds_says_so() -> None:
    console = Console(width=80, file=io.StringIO())
    console.print(Group(*painting.verdict([GOOD], 80)))
    assert "✓ orders kept" in text_of(console)
    assert "The counts agree" in text_of(console)


def test_a_verdict_that_does_not_hold_says_what_and_why() -> None:
    console = Console(width=80, file=io.StringIO())
    console.print(Group(*painting.verdict([GOOD, BAD], 80)))
    assert "✗ captured, GBP: the sums differ" in text_of(console)
    assert "1 of 2 do not agree." in text_of(console)
    assert "The counts agree" not in text_of(console)


def test_a_figure_that_a_witness_does_not_have_is_a_dash_and_not_a_nought() -> None:
    console = Console(width=80, file=io.StringIO())
    console.print(Group(*painting.verdict([Check("x", None, 0, None, True)], 80)))
    assert text_of(console).splitlines()[1].split() == ["✓", "x", "–", "0", "–"]


def test_the_screen_gives_the_terminal_back() -> None:
    console = terminal(80, 24)
    screen = Screen(console)
    screen.open(in_the_middle())
    screen.refresh()
    screen.close()
    screen.close()
    assert text_of(console).startswith("\x1b[?1049h")
    assert text_of(console).count("\x1b[?1049h") == text_of(console).count("\x1b[?1049l") == 1


def test_lines_are_plain_and_each_act_is_told_once() -> None:
    console = Console(width=80, file=io.StringIO())
    lines = Lines(console)
    story = at_the_end()
    lines.open(story)
    lines.refresh()
    lines.refresh()
    lines.close()
    said = text_of(console)
    assert "\x1b" not in said
    for scene in story.scenes:
        assert said.count(f"  {painting.title(scene)}: ") == 1


@pytest.mark.parametrize("stays", [True, False])
def test_the_end_names_addresses_only_while_they_answer(stays: bool) -> None:
    console = Console(width=80, file=io.StringIO())
    ending = the_ending(GOOD)
    endings.show(console, ending, told_already=True, stays=stays)
    said = text_of(console)
    token_line = next((line for line in said.splitlines() if "Bearer a.token.here" in line), None)
    assert ("http://127.0.0.1:20001/docs" in said) == stays
    assert (token_line is not None and "curl" in token_line) == stays
    assert (ending.access.staff.password in said) == stays
    assert "orderkit migrate" in said


def test_the_picture_is_an_svg_that_fetches_nothing() -> None:
    drawn = endings.picture(the_ending(GOOD, BAD))
    root = ElementTree.fromstring(drawn)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "url(http" not in drawn.replace('"', "")
    assert "@font-face" not in drawn
    assert "the&#160;sums&#160;differ" in drawn


def test_the_end_as_json_holds_only_if_every_check_does() -> None:
    assert endings.as_dict(the_ending(GOOD))["agree"] is True
    assert endings.as_dict(the_ending(GOOD, BAD))["agree"] is False


def test_the_json_says_why_only_where_a_check_does_not_hold() -> None:
    good, bad = endings.as_dict(the_ending(replace(GOOD, why="see above"), BAD))["checks"]
    assert "why" not in good
    assert bad["why"] == "the sums differ"


@pytest.mark.parametrize(
    ("called", "on_path", "told"),
    [
        ("venv/bin/orderkit", False, "  venv/bin/orderkit migrate "),
        ("venv/bin/orderkit", True, "  orderkit migrate "),
        ("my venv/bin/orderkit", False, "  'my venv/bin/orderkit' migrate "),
        ("site-packages/orderkit/__main__.py", False, f"  {sys.executable} -m orderkit migrate "),
    ],
)
def test_what_to_do_next_can_be_typed_as_it_stands(
    monkeypatch: pytest.MonkeyPatch, called: str, on_path: bool, told: str
) -> None:
    script = Path(called)
    script.parent.mkdir(parents=True)
    script.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [called, "demo"])
    monkeypatch.setenv("PATH", str(script.parent.absolute()) if on_path else "/nowhere")
    console = Console(width=80, file=io.StringIO())
    endings.show(console, the_ending(GOOD), told_already=True, stays=False)
    assert told in text_of(console)
