"""Sharing a transaction: who waits for whom, and who gets what."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from orderkit.errors import Unavailable
from orderkit.gatherer import MAX_BATCH, Gatherer

WITHIN_S = 10.0


class Act:
    """Doubles numbers, an odd one excepted; notes each list, and can be held up."""

    def __init__(self) -> None:
        self.lists: list[list[int]] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, numbers: Sequence[int]) -> Sequence[int | Exception]:
        self.lists.append(list(numbers))
        assert self.go_on.wait(WITHIN_S)
        if 0 in numbers:
            raise ZeroDivisionError
        return [ValueError(number) if number % 2 else 2 * number for number in numbers]


@pytest.fixture
def act() -> Act:
    return Act()


@pytest.fixture
def gatherer(act: Act) -> Gatherer[int, int]:
    return Gatherer("test", act)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another thread
            await asyncio.sleep(0.001)


def submitted(gatherer: Gatherer[int, int], numbers: Sequence[int]) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(gatherer.submit(number)) for number in numbers]


def test_who_comes_alone_waits_for_nobody(gatherer: Gatherer[int, int], act: Act) -> None:
    async def story() -> None:
        assert await gatherer.submit(2) == 4
        assert await gatherer.submit(4) == 8

    asyncio.run(story())
    assert act.lists == [[2], [4]]


def test_those_who_come_in_one_turn_of_the_loop_go_together(gatherer: Gatherer[int, int], act: Act) -> None:
    async def story() -> list[int]:
        return await asyncio.gather(*submitted(gatherer, [2, 4, 6]))

    assert asyncio.run(story()) == [4, 8, 12]
    assert act.lists == [[2, 4, 6]]


def test_those_who_come_while_a_list_is_under_way_go_together_in_the_next(
    gatherer: Gatherer[int, int], act: Act
) -> None:
    async def story() -> list[int]:
        act.go_on.clear()
        first = submitted(gatherer, [2])
        await until(lambda: bool(act.lists))
        rest: list[asyncio.Task[int]] = []
        for number in (4, 6, 8):
            rest += submitted(gatherer, [number])
            await asyncio.sleep(0.001)
        act.go_on.set()
        return await asyncio.gather(*first, *rest)

    assert asyncio.run(story()) == [4, 8, 12, 16]
    assert act.lists == [[2], [4, 6, 8]]


def test_no_list_is_longer_than_the_bound_and_the_order_of_arrival_is_kept(
    gatherer: Gatherer[int, int], act: Act
) -> None:
    numbers = [2 * n for n in range(1, 2 * MAX_BATCH + 2)]

    async def story() -> list[int]:
        return await asyncio.gather(*submitted(gatherer, numbers))

    assert asyncio.run(story()) == [2 * number for number in numbers]
    assert [len(one) for one in act.lists] == [MAX_BATCH, MAX_BATCH, 1]
    assert sum(act.lists, []) == numbers  # noqa: RUF017 - three short lists


def test_an_error_is_its_own_submitters_only(gatherer: Gatherer[int, int]) -> None:
    async def story() -> list[int | BaseException]:
        return await asyncio.gather(*submitted(gatherer, [2, 3, 4]), return_exceptions=True)

    two, three, four = asyncio.run(story())
    assert (two, four) == (4, 8)
    assert isinstance(three, ValueError)


def test_when_the_act_fails_all_hear_of_it_and_the_next_list_goes_on(gatherer: Gatherer[int, int]) -> None:
    async def story() -> list[int | BaseException]:
        failed = await asyncio.gather(*submitted(gatherer, [0, 2]), return_exceptions=True)
        return [*failed, await gatherer.submit(4)]

    *failed, four = asyncio.run(story())
    assert [type(one) for one in failed] == [ZeroDivisionError, ZeroDivisionError]
    assert four == 8


def test_what_was_submitted_is_done_though_its_submitter_left(gatherer: Gatherer[int, int], act: Act) -> None:
    async def story() -> None:
        act.go_on.clear()
        first = submitted(gatherer, [2])
        await until(lambda: bool(act.lists))
        leaver, stayer = submitted(gatherer, [4, 6])
        await asyncio.sleep(0)
        leaver.cancel()
        act.go_on.set()
        assert await asyncio.gather(*first, stayer) == [4, 12]
        assert leaver.cancelled()

    asyncio.run(story())
    assert act.lists == [[2], [4, 6]]


def test_closing_waits_for_the_list_under_way(gatherer: Gatherer[int, int], act: Act) -> None:
    async def story() -> int:
        act.go_on.clear()
        (task,) = submitted(gatherer, [2])
        await until(lambda: bool(act.lists))
        asyncio.get_running_loop().call_later(0.05, act.go_on.set)
        await asyncio.to_thread(gatherer.close)
        assert act.go_on.is_set()
        return await task

    assert asyncio.run(story()) == 4


def test_whoever_would_wait_behind_too_many_is_told_so_and_the_others_are_served() -> None:
    async def overwhelmed() -> list[Any]:
        gatherer: Gatherer[int, int] = Gatherer("test", list, max_waiting=5)
        outcomes = await asyncio.gather(*(gatherer.submit(n) for n in range(8)), return_exceptions=True)
        gatherer.close()
        return list(outcomes)

    outcomes = asyncio.run(overwhelmed())
    assert outcomes[:5] == [0, 1, 2, 3, 4]
    assert [type(one) for one in outcomes[5:]] == [Unavailable] * 3


def test_who_waits_behind_a_list_that_failed_for_all_hears_the_same_and_the_next_is_tried(
    gatherer: Gatherer[int, int], act: Act
) -> None:
    hopeless: Gatherer[int, int] = Gatherer("test", act, hopeless=lambda error: isinstance(error, ZeroDivisionError))

    async def story(one: Gatherer[int, int]) -> list[type]:
        act.lists.clear()
        act.go_on.clear()
        first = submitted(one, [0])
        await until(lambda: bool(act.lists))
        rest = submitted(one, [2, 4])
        await asyncio.sleep(0.01)
        act.go_on.set()
        outcomes = await asyncio.gather(*first, *rest, return_exceptions=True)
        return [type(each) for each in (*outcomes, await one.submit(6))]

    assert asyncio.run(story(hopeless)) == [ZeroDivisionError] * 3 + [int]
    assert act.lists == [[0], [6]]
    assert asyncio.run(story(gatherer)) == [ZeroDivisionError, int, int, int]
