"""Running every check against a stack that is started for them, within a bounded time, whatever any of them does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import TypedDict

from sqlalchemy.exc import SQLAlchemyError

from orderkit import http_client, migrating
from orderkit.db import Database, is_away, missing_file
from orderkit.demo.processes import Died, Processes, without_settings
from orderkit.errors import OrderkitError
from orderkit.print_pack import stamps
from orderkit.print_pack.checks import of_tests
from orderkit.print_pack.checks.checking import Check, Fails, NotChecked
from orderkit.print_pack.checks.site import PACE, Live, Site, Where
from orderkit.print_pack.checks.table import CHECKS
from orderkit.print_pack.evidence import Piece
from orderkit.settings import Settings

WITHIN_S = 180.0
"""Then whatever has not ended has failed. It takes about a tenth of this on an idle machine."""
AT_ONCE = 4
"""More only wait for each other: API, worker and provider share the machine with them."""
ANSWER_WITHIN_S = 15.0
LONGEST = 220
"""Characters of what is said."""


class Result(TypedDict):
    """Whether it holds, and what was seen, on one line."""

    ok: bool
    said: str


def run(
    settings: Settings,
    *,
    evidence: Mapping[str, Piece | None] | None = None,
    only: Iterable[str] | None = None,
    within_s: float = WITHIN_S,
    each: Callable[[str], None] = lambda _name: None,
) -> dict[str, Result]:
    """Runs the checks, or `only` those named: what came of each, by name, in the order of the table.

    A stack is started for them in a folder of its own, on free ports, and stopped and removed in the end. Of the settings
    only the database is looked at, and only read. `evidence` may have `coverage` and `demo`. `each` is told a name that is
    done. Blocks; never raises for what a check finds.
    """
    wanted = [CHECKS[name] for name in (CHECKS if only is None else dict.fromkeys(only))]
    known = evidence or {}
    site = Site(settings, coverage=known.get("coverage"), demo=known.get("demo"))
    with own_database(site), without_settings():
        found = asyncio.run(_Run(site, wanted, each).all(within_s))
    return {check.name: found[check.name] for check in wanted}


@contextmanager
def own_database(site: Site) -> Iterator[None]:
    """Opens the database of the settings for the site, if it is there and was ever migrated."""
    if missing_file(site.settings) is not None:
        yield
        return
    database = Database(site.settings.model_copy(update={"slow_query": 0.0}))
    try:
        try:
            there = migrating.current(database) is not None
        except SQLAlchemyError:
            there = True  # each check says that it does not answer
        if there:
            site.database, site.whose = database, "the database of this installation"
        yield
    finally:
        database.dispose()


class _Run:
    """One run, on its event loop."""

    def __init__(self, site: Site, wanted: list[Check], each: Callable[[str], None]) -> None:
        self._site = site
        self._wanted = wanted
        self._each = each
        self._found: dict[str, Result] = {}

    async def all(self, within_s: float) -> dict[str, Result]:
        try:
            async with asyncio.timeout(within_s), AsyncExitStack() as stack:
                testing = asyncio.create_task(self._test())
                stack.push_async_callback(_over, testing)
                await self._start(stack)
                await self._look(testing)
        except TimeoutError:
            pass
        late = Result(ok=False, said=f"not checked: it was not its turn within {within_s:g} s")
        return {check.name: self._found.get(check.name, late) for check in self._wanted}

    async def _start(self, stack: AsyncExitStack) -> None:
        """The stack. Where it cannot be started, the checks that need it say why."""
        http = await stack.enter_async_context(http_client.open_session(ANSWER_WITHIN_S))
        where = Where.free()
        try:
            processes = stack.enter_context(Processes(PACE | where.settings))
            live = Live(processes, http, where)
            await live.open()
        except Died as died:
            last = died.log[-1] if died.log else ""
            self._site.why_not_live = f"the stack did not start: {died.detail.partition(',')[0]}: {last}"
        except (OrderkitError, Fails, TimeoutError, OSError) as error:
            self._site.why_not_live = f"the stack did not start: {str(error) or type(error).__name__}"
        else:
            self._site.stack = live
            if self._site.database is None:
                self._site.database = Database(live.settings)
                stack.callback(self._site.database.dispose)

    async def _test(self) -> None:
        """Runs the tests that checks name, once, if there is a checkout."""
        self._site.has_tests = stamps.is_checkout()
        ids = [
            place for check in self._wanted if check in of_tests.CHECKS for place in check.places if "tests/" in place
        ]
        if not self._site.has_tests or not ids:
            return
        try:
            async with asyncio.timeout(of_tests.WITHIN_S):
                self._site.outcomes = await of_tests.outcomes(stamps.ROOT, list(dict.fromkeys(ids)))
        except (NotChecked, TimeoutError, OSError) as error:
            self._site.why_no_tests = str(error) or f"pytest took longer than {of_tests.WITHIN_S:g} s"

    async def _look(self, testing: asyncio.Task[None]) -> None:
        """First those that can go on at once, a few at a time; then, one by one, those that cannot; then what the tests said."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def take_turn(check: Check) -> None:
            async with turns:
                await self._one(check)

        tests = [check for check in self._wanted if check in of_tests.CHECKS]
        others = [check for check in self._wanted if check not in tests]
        await asyncio.gather(*(take_turn(check) for check in others if not check.alone))
        for check in others:
            if check.alone:
                await self._one(check)
        await testing
        for check in tests:
            await self._one(check)

    async def _one(self, check: Check) -> None:
        self._found[check.name] = await judge(check, self._site)
        self._each(check.name)


async def judge(check: Check, site: Site) -> Result:
    """What came of one check. It never raises: what does, or takes too long, has failed."""
    deadline = asyncio.timeout(check.within_s)
    try:
        async with deadline:
            return Result(ok=True, said=_line(await check.look(site)))
    except NotChecked as reason:
        return Result(ok=False, said=_line(f"not checked: {reason}"))
    except Fails as reason:
        return Result(ok=False, said=_line(str(reason)))
    except TimeoutError:
        if deadline.expired():
            return Result(ok=False, said=f"took longer than {check.within_s:g} s")
        return Result(ok=False, said="was not answered in time")
    except SQLAlchemyError as error:
        return Result(ok=False, said=_line(_of_database(error)))
    except OrderkitError as error:
        return Result(ok=False, said=_line(error.detail))
    except Exception as error:  # noqa: BLE001 - a check that is broken is one line of the page, not the end of it
        return Result(ok=False, said=_line(f"{type(error).__name__}: {error}"))


def _of_database(error: SQLAlchemyError) -> str:
    """What is wrong, and of a database that is away no more: the driver would tell where it is."""
    if is_away(error):
        return "the database does not answer"
    told = str(getattr(error, "orig", None) or error).strip().splitlines()
    return f"the database refuses: {told[0] if told else type(error).__name__}"


def _line(told: str) -> str:
    first = " ".join(told.split())
    return first if len(first) <= LONGEST else f"{first[: LONGEST - 1]}…"


async def _over(task: asyncio.Task[None]) -> None:
    """Ends a task and whatever it waits for."""
    task.cancel()
    await asyncio.wait([task])
