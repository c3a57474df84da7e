"""The demo from start to end: set up, play, judge, show, and leave nothing behind."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from orderkit import http_client, migrating
from orderkit.auth import accounts
from orderkit.auth.models import ADMIN
from orderkit.db import Database
from orderkit.demo import script, watching
from orderkit.demo.acting import Acting
from orderkit.demo.customers import Login, Shop, new_login
from orderkit.demo.evidence import read_facts, read_ledger
from orderkit.demo.narrating import Narrator
from orderkit.demo.processes import HOST, Processes, free_port, require_free, without_settings
from orderkit.demo.story import Story
from orderkit.demo.verdict import Check, judge
from orderkit.errors import Unavailable
from orderkit.settings import Settings

SEED = 1
READY_WITHIN_S = 40.0
SETTLED_WITHIN_S = 60.0
"""And a second for every 20 orders; then the verdict is spoken over what there is. It takes about a sixth of this."""

ANSWER_WITHIN_S = 20.0
FRAMES_PER_S = 8
LOOK_EVERY_S = 0.2

PACE = {
    "ORDERKIT_GATEWAY": "simulator",
    "ORDERKIT_GATEWAY_TIMEOUT": "3",
    "ORDERKIT_RETRY_BASE": "0.3",
}
"""Settings of the demo's processes. Waits are shorter than by default, so that the whole story is told in seconds."""


@dataclass(frozen=True, slots=True)
class Access:
    """What opens doors, for whoever wants to look while it is up."""

    database: Path
    staff: Login


@dataclass(frozen=True, slots=True)
class Ending:
    """How it came out. `token` is the staff's, good for an hour; `pids` are the processes'."""

    story: Story
    access: Access
    checks: Sequence[Check]
    token: str
    pids: dict[str, int]

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.checks)


class Interrupted(BaseException):
    """A signal came before the end. Not an Exception, so that nothing on the way takes it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def play(
    *,
    orders: int,
    port: int | None,
    narrator: Narrator,
    show: Callable[[Ending], None],
    leave: Callable[[], None] | None,
) -> bool:
    """Plays the demo, shows its ending, and gives whether everything agreed.

    With `leave` it stays up until a signal comes, and then calls that before it takes everything down.

    Blocks, and has the process's signals meanwhile. Raises Unavailable when it cannot go on (Died, if a process of it
    cannot), Interrupted when a signal came before the verdict. In no case is anything left behind.
    """
    if port is not None:
        require_free(port)
    ports = {"serve": free_port() if port is None else port, "simulate": free_port()}
    api, simulator = (f"http://{HOST}:{number}" for number in ports.values())
    story = Story(script.write(orders, SEED), api=api, simulator=simulator)
    with (
        without_settings(),
        _Signals() as signals,
        Processes(PACE | {"ORDERKIT_SIMULATOR_URL": simulator, "ORDERKIT_PUBLIC_URL": api}) as processes,
    ):
        signals.second = processes.hurry
        access = Access(processes.home / "orderkit.db", new_login("staff"))
        try:
            return asyncio.run(_Demo(story, access, processes, narrator, signals, ports).run(show, leave))
        except asyncio.CancelledError:
            raise Interrupted(signals.first) from None


class _Demo:
    """One run, on its event loop."""

    def __init__(
        self,
        story: Story,
        access: Access,
        processes: Processes,
        narrator: Narrator,
        signals: _Signals,
        ports: dict[str, int],
    ) -> None:
        self._story = story
        self._access = access
        self._processes = processes
        self._narrator = narrator
        self._signals = signals
        self._ports = ports

    async def run(self, show: Callable[[Ending], None], leave: Callable[[], None] | None) -> bool:
        self._signals.cancels(asyncio.current_task())
        self._narrator.open(self._story)
        # No `.env`: the one that may lie here is the user's.
        settings = Settings(
            _env_file=None, home=self._processes.home, database_url=f"sqlite:///{self._access.database}"
        )
        database = Database(settings)
        try:
            ending = await self._until_the_end(database)
        finally:
            self._narrator.close()
            database.dispose()
        if leave is None:
            self._story.stage = "over"
        show(ending)
        if leave is not None:
            await self._stay()
            leave()
        return ending.holds

    async def _until_the_end(self, database: Database) -> Ending:
        """As `_story_and_verdict`, while frames are drawn and processes watched; raises the one error that came first."""
        try:
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(self._processes.watch()), group.create_task(self._draw())]
                ending = await self._story_and_verdict(database)
                for task in beside:
                    task.cancel()
        except BaseExceptionGroup as errors:
            # Who meets the silence of a process that died may be quicker than who finds it dead, and knows less.
            await asyncio.sleep(0.3)
            self._processes.check()
            raise _first(errors) from None
        return ending

    async def _story_and_verdict(self, database: Database) -> Ending:
        async with http_client.open_session(ANSWER_WITHIN_S) as http:
            shop = Shop(http, self._story.api, self._story.simulator, self._access.staff)
            await self._open(database, shop)
            patience = SETTLED_WITHIN_S + len(self._story.journeys) / 20
            try:
                async with asyncio.timeout(patience), asyncio.TaskGroup() as group:
                    observing = group.create_task(self._observe(database))
                    await Acting(shop, self._story).play()
                    await self._settled(database)
                    observing.cancel()
            except TimeoutError:
                self._story.tell(f"not at its end after {patience:.0f} s; this is the verdict on what there is")
            self._story.end()
            self._story.observe(await asyncio.to_thread(watching.look, database))
            facts = await asyncio.to_thread(read_facts, database)
            checks = judge(self._story.told(), facts, read_ledger(await shop.ledger()))
            return Ending(self._story, self._access, checks, shop.staff_token, self._processes.pids)

    async def _open(self, database: Database, shop: Shop) -> None:
        """Starts everything and waits until it is ready; fills the shop."""
        home = self._processes.home
        self._story.tell("starting the simulator of payment provider and carrier, and migrating a fresh database")
        self._processes.start("simulate", "--port", str(self._ports["simulate"]), "--store", str(home / "simulator.db"))
        await asyncio.to_thread(migrating.migrate, database)
        staff = self._access.staff
        await asyncio.to_thread(accounts.create, database, staff.email, "Demo staff", staff.password, ADMIN)
        self._story.tell("starting API and worker")
        self._processes.start("serve", "--port", str(self._ports["serve"]))
        self._processes.start("worker")
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                while not await shop.ready():  # noqa: ASYNC110 - other processes are waited for
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise Unavailable(
                f"the demo's processes were not ready after {READY_WITHIN_S:.0f} s; is the machine very busy?"
            ) from None
        await shop.open()
        self._story.stage = "up"
        self._story.tell("all up, the shelves are full: customers come in")

    async def _draw(self) -> None:
        while True:
            self._narrator.refresh()
            await asyncio.sleep(1 / FRAMES_PER_S)

    async def _observe(self, database: Database) -> None:
        while True:
            began = self._story.seconds
            self._story.observe(await asyncio.to_thread(watching.look, database))
            # A look at thousands of orders is long, and the customers need the time more.
            await asyncio.sleep(max(LOOK_EVERY_S, 4 * (self._story.seconds - began)))

    async def _settled(self, database: Database) -> None:
        """Waits until every journey is over and nothing is left to be done."""
        while True:
            facts = await asyncio.to_thread(read_facts, database)
            if not facts.under_way and all(scene.done for scene in self._story.scenes):
                return
            await asyncio.sleep(LOOK_EVERY_S)

    async def _stay(self) -> None:
        """Until a signal comes. Raises Died when a process ends by itself."""
        try:
            await self._processes.watch()
        except asyncio.CancelledError:
            if task := asyncio.current_task():
                task.uncancel()  # what we have waited for


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of all, however deep."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class _Signals:
    """SIGINT, SIGTERM and SIGHUP: the first cancels what runs, every further one is for the impatient."""

    NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.first = 0
        self.second: Callable[[], None] = _nothing
        self._cancel: Callable[[], object] | None = None

    def __enter__(self) -> _Signals:
        self._before = {number: signal.signal(number, self._handle) for number in self.NUMBERS}
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def cancels(self, task: asyncio.Task[object] | None) -> None:
        """From now on the first signal cancels `task`, which is the current one; before, it raises Interrupted."""
        assert task is not None  # noqa: S101 - called from within it
        loop = asyncio.get_running_loop()
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.first:
            self.second()
            return
        self.first = number
        if self._cancel is None:
            _raise(Interrupted(number))
        self._cancel()


def _nothing() -> None:
    """There is nothing to hurry yet."""


def _raise(error: BaseException) -> NoReturn:
    raise error
