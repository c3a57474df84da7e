"""The circuit breaker, on a clock that the tests move."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderkit.breaker import PROBE_S, Breaker

pytestmark = pytest.mark.unit


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("provider", failures=3, open_for=2.0, monotonic=clock)


def open_up(breaker: Breaker) -> None:
    while breaker.state == "closed":
        assert breaker.acquire() == 0.0
        breaker.failed()


def test_failures_in_a_row_open_it_and_a_success_between_them_starts_the_count_again(breaker: Breaker) -> None:
    for succeeded in (False, False, True, False, False):
        assert breaker.acquire() == 0.0
        if succeeded:
            breaker.succeeded()
        else:
            breaker.failed()
    states = [breaker.state]
    breaker.failed()
    assert [*states, breaker.state] == ["closed", "open"]
    assert breaker.acquire() == 2.0


def test_an_open_breaker_tells_how_long_it_stays_so(breaker: Breaker, clock: Clock) -> None:
    open_up(breaker)
    clock.now += 1.5
    assert breaker.acquire() == breaker.open_for_seconds() == 0.5
    assert breaker.state == "open"


def test_calls_under_way_when_it_opened_do_not_keep_it_open_when_they_fail_too(breaker: Breaker, clock: Clock) -> None:
    open_up(breaker)
    clock.now += 1.9
    breaker.failed()
    clock.now += 0.1
    assert breaker.acquire() == 0.0


def test_one_probe_of_many_callers_at_once_may_pass(breaker: Breaker, clock: Clock) -> None:
    open_up(breaker)
    clock.now += 2.0
    start = threading.Barrier(16)
    waits: list[float] = []

    def call() -> None:
        start.wait()
        waits.append(breaker.acquire())

    threads = [threading.Thread(target=call) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert waits.count(0.0) == 1
    assert all(wait > 0 for wait in sorted(waits)[1:])
    assert breaker.state == "half_open"


def test_looking_does_not_take_the_probe(breaker: Breaker, clock: Clock) -> None:
    open_up(breaker)
    clock.now += 2.0
    assert [breaker.open_for_seconds() for _ in range(3)] == [0.0] * 3
    assert breaker.acquire() == 0.0
    assert breaker.open_for_seconds() > 0


def test_a_probe_that_succeeds_closes_it_and_one_that_fails_opens_it_again(breaker: Breaker, clock: Clock) -> None:
    open_up(breaker)
    clock.now += 2.0
    assert breaker.acquire() == 0.0
    breaker.failed()
    assert (breaker.state, breaker.acquire()) == ("open", 2.0)
    clock.now += 2.0
    assert breaker.acquire() == 0.0
    breaker.succeeded()
    assert [breaker.acquire() for _ in range(3)] == [0.0] * 3
    breaker.failed()
    assert breaker.state == "closed", "the failures before it closed count no more"


def test_a_probe_whose_result_never_comes_does_not_block_for_ever(breaker: Breaker, clock: Clock) -> None:
    open_up(breaker)
    clock.now += 2.0
    assert breaker.acquire() == 0.0
    clock.now += PROBE_S - 0.5
    assert breaker.acquire() == 0.5
    clock.now += 0.5
    assert breaker.acquire() == 0.0
    assert breaker.acquire() > 0


@given(
    st.lists(
        st.one_of(st.sampled_from(["succeeded", "failed", "acquire"]), st.floats(min_value=0.01, max_value=15.0)),
        max_size=60,
    )
)
def test_whatever_happens_somebody_may_call_again_soon(story: list[str | float]) -> None:
    clock = Clock()
    breaker = Breaker("provider", failures=2, open_for=2.0, monotonic=clock)
    for event in story:
        if isinstance(event, float):
            clock.now += event
        elif event == "acquire":
            assert 0.0 <= breaker.acquire() <= 2.0
        else:
            getattr(breaker, event)()
    if breaker.state == "closed":
        assert breaker.acquire() == 0.0
    else:
        clock.now += PROBE_S + 2.0
        assert breaker.acquire() == 0.0
        assert breaker.acquire() > 0.0
