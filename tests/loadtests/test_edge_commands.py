"""The load tests of the edge: what they make of what they see, and that bad requests are the same for the same seed."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest

from loadtests import hostile, overload
from loadtests.crowd import Told, due_times
from loadtests.overload import Outcome
from loadtests.stack import Counts


def outcome(*, taken: int, refused_s: float = 0.01, kept: int | None = None, strange: int = 0) -> Outcome:
    """Four seconds of a crowd, of which `taken` orders a second were taken; the peak is 100."""
    due, took, status = [], [], []
    for second in range(4):
        for number in range(300):
            due.append(second + number / 300)
            took.append(0.1 if number < taken else refused_s)
            status.append(201 if number < taken else 503)
    status[:strange] = [500] * strange
    orders = status.count(201) if kept is None else kept
    counts = Counts(orders=orders, paid=orders, captured=orders, answered=orders, events=orders, taken=orders)
    return Outcome(100, 300, 0.0, 4.0, Told(due, took, status), counts)


def test_goodput_near_the_peak_and_quick_refusals_are_good(capsys: pytest.CaptureFixture[str]) -> None:
    assert overload.verdict([outcome(taken=90)], 0.8, 0.25) == 0
    assert "goodput 0.9" in capsys.readouterr().out
    assert overload.verdict([outcome(taken=70)], 0.8, 0.25) == 1
    assert "less goodput than wanted" in capsys.readouterr().err
    assert overload.verdict([outcome(taken=90, refused_s=0.4)], 0.8, 0.25) == 1
    assert "refused later than wanted" in capsys.readouterr().err


def test_no_goodput_makes_up_for_an_order_that_went_wrong() -> None:
    right = outcome(taken=90)
    for wrong in (outcome(taken=90, kept=1), outcome(taken=90, strange=1), replace(right, kept=outcome(taken=1).kept)):
        assert overload.verdict([right, wrong, right], 0.8, 0.25) == 1


def test_a_crowd_comes_evenly_in_each_phase() -> None:
    assert due_times([(1.0, 2.0), (0.5, 4.0)]) == [0.0, 0.5, 1.0, 1.25]


def test_bad_requests_are_the_same_for_the_same_seed_and_differ_for_others() -> None:
    first, again, other = (list(islice(hostile.sequences(seed), 50)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert len(set(first)) > 40
