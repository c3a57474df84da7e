"""An application that stopped in the middle of reading its signing keys left a connection to the database behind.

The task that reads them was cancelled and waited for, but the thread in which it reads was not: it gave its connection back
to a pool that had been closed meanwhile, and nobody closed it.
"""

from __future__ import annotations

import asyncio
import threading

from orderkit.auth.signing_keys import Key
from orderkit.auth.tokens import Tokens
from orderkit.settings import Settings


def test_a_cancelled_reload_ends_when_its_thread_has_ended() -> None:
    reading, let_go, done = threading.Event(), threading.Event(), threading.Event()

    def load() -> list[Key]:
        reading.set()
        let_go.wait(10)
        done.set()
        return []

    async def stop_while_reading() -> bool:
        task = asyncio.create_task(Tokens(Settings(_env_file=None), load).keep_current())
        await asyncio.to_thread(reading.wait, 10)
        task.cancel()
        asyncio.get_running_loop().call_later(0.05, let_go.set)
        await asyncio.wait([task])
        return task.cancelled() and done.is_set()

    assert asyncio.run(stop_while_reading())
