"""What the tests of fulfillment share."""

from __future__ import annotations

import pytest

from orderkit.db import Database
from orderkit.settings import Settings
from tests.shop import Shop


@pytest.fixture
def shop(database: Database, settings: Settings) -> Shop:
    return Shop(database, settings)
