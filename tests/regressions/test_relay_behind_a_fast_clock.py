"""A worker whose clock was an hour ahead could keep all others from relaying for an hour after it was gone.

The lease said until when it was good, by the clock of its holder. Now it is a row lock, which ends with its transaction.
"""

from __future__ import annotations

from datetime import timedelta

from orderkit import clock
from orderkit.db import Database
from orderkit.settings import Settings
from orderkit.worker.relay import Relay
from tests.shop import Shop


def test_a_worker_whose_clock_is_fast_keeps_nobody_from_relaying(database: Database, settings: Settings) -> None:
    shop = Shop(database, settings)
    fast, right = Relay(database), Relay(database)
    shop.paid()
    with clock.moved(timedelta(hours=1)):
        assert fast.turn() == 1
    shop.paid()
    assert right.turn() == 1
